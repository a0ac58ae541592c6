package change

import (
	"cmp"
	"slices"

	"github.com/belay-dev/belay/state"
)

// Commits lists the commits of a Deployment's rows that changed its pod template, or removed it, after it was last the
// wished one, newest first: what a revert has to take back. bare is the digest of the wished template without its
// restartedAt. It is empty when no commit is known that had it: what lies between is then not known either.
func Commits(rows []state.Row, bare string) []string {
	var steps []state.Row
	for _, r := range rows {
		if r.Operation == "" && r.Commit != "" {
			steps = append(steps, r)
		}
	}
	slices.SortStableFunc(steps, func(a, b state.Row) int {
		return cmp.Or(cmp.Compare(b.Past, a.Past), cmp.Compare(a.Number, b.Number))
	})
	var out []string
	for i, r := range slices.Backward(steps) {
		switch {
		case digestOf(r) == bare:
			return out
		case i > 0 && digestOf(steps[i-1]) == digestOf(r), slices.Contains(out, r.Commit):
			continue // it changed something else
		}
		out = append(out, r.Commit)
	}
	return nil
}

// digestOf tells the templates of rows apart; that of a commit without the Deployment is empty.
func digestOf(r state.Row) string { return cmp.Or(r.Bare, r.Template) }
