package ledger

import (
	"crypto/sha256"
	"encoding/base32"
	"strings"

	"github.com/belay-dev/belay/state"
)

var encoding = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// ID derives a row's ID from what it is about: the same parts give the same ID.
func ID(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return encoding.EncodeToString(sum[:10])
}

// RowID is the ID of the row that a rollback of several Deployments has in the history of one of them: all have the
// rollback's ID in their holds and marks, and a row's is given once.
func RowID(rollback, namespace, name string) string { return rollback + "/" + namespace + "/" + name }

// RowOf reports whether a row is the one of a rollback in the history of its Deployment.
func RowOf(r state.Row, rollback string) bool {
	return r.ID == rollback || r.ID == RowID(rollback, r.Namespace, r.Name)
}
