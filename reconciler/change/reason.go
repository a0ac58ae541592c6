package change

import (
	"cmp"
	"strings"

	"github.com/belay-dev/belay/manifests"
)

// Reason says why a change of Git is not made. The list is closed.
type Reason string

const (
	OutsideApp       Reason = "OutsideApp"       // a file outside the app's path
	Unrendered       Reason = "Unrendered"       // a root that the change touches cannot be rendered
	OtherObject      Reason = "OtherObject"      // an object that is no part of the wish
	OtherDeployment  Reason = "OtherDeployment"  // another Deployment
	SecretChanges    Reason = "SecretChanges"    // a Secret
	ConfigMapShared  Reason = "ConfigMapShared"  // a ConfigMap that another Deployment names
	ConfigMapMissing Reason = "ConfigMapMissing" // a ConfigMap that the pod template names and Git does not have
	OtherField       Reason = "OtherField"       // a field of the Deployment that is no part of the wish
	NotAsked         Reason = "NotAsked"         // the Deployment would not be as wished
	NotThere         Reason = "NotThere"         // Git does not have the Deployment, or has it already
	Conflict         Reason = "Conflict"         // git would not revert it cleanly
	NothingToRevert  Reason = "NothingToRevert"  // no commit is known that brought what runs
	Uneditable       Reason = "Uneditable"       // the files cannot be edited surely
	NotWritten       Reason = "NotWritten"       // the manifest leaves the field to others
	NoProposal       Reason = "NoProposal"       // no way to set the fields is known
)

// Refusal is one thing that is wrong with a change.
type Refusal struct {
	Reason  Reason
	File    string       // with :line where it is known; may be empty
	Object  manifests.ID // may be empty
	Message string
	Hint    string // what to do instead; may be empty
}

// String is the refusal in one line: file: object: message (reason).
func (r Refusal) String() string {
	var parts []string
	if r.File != "" {
		parts = append(parts, r.File)
	}
	if r.Object != (manifests.ID{}) && !strings.Contains(r.Message, r.Object.String()) {
		parts = append(parts, r.Object.String())
	}
	return strings.Join(append(parts, r.Message), ": ") + " (" + string(r.Reason) + ")"
}

// Why is a list of refusals in one line.
func Why(list []Refusal) string {
	const most = 3
	var out []string
	for i, r := range list {
		if i == most {
			out = append(out, "and more")
			break
		}
		out = append(out, r.String())
	}
	return strings.Join(out, "; ")
}

func compareRefusals(a, b Refusal) int {
	return cmp.Or(cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Object.String(), b.Object.String()), cmp.Compare(a.File, b.File),
		cmp.Compare(a.Message, b.Message))
}
