package change

import (
	"fmt"
	"strconv"

	corev1 "k8s.io/api/core/v1"

	"github.com/belay-dev/belay/manifests"
	"github.com/belay-dev/belay/reconciler/rollback"
	"github.com/belay-dev/belay/state"
)

// RollbackTask is what a rollback's hold wants of Git, by the rows of the Deployment as the ledger gives them and the
// template that is held. Of a manual hold it is nothing: Mode is ModeHold.
func RollbackTask(h state.Hold, rows []state.Row, held *corev1.PodTemplateSpec, mode rollback.Mode) Task {
	t := Task{
		Wish: Wish{ID: deploymentID(h.Namespace, h.Name), Template: held, Removed: h.Wanted == "" && !declared(rows)},
		Mode: mode, Commits: Commits(rows, rollback.Bare(held)), Then: h.Commit,
	}
	if h.Manual {
		t.Mode = rollback.ModeHold
	}
	for _, r := range rows {
		if r.ID != h.Row {
			continue
		}
		t.App = r.App
		if t.Then == "" {
			t.Then = r.Commit
		}
	}
	return t
}

// declared reports whether the newest commit that changed a Deployment still has it: a hold that Belay began by itself, or
// that was a pin, does not say what Git wanted.
func declared(rows []state.Row) bool {
	newest := state.Row{}
	for _, r := range rows {
		if r.Operation == "" && r.Commit != "" && r.Past == 0 && r.Number >= newest.Number {
			newest = r
		}
	}
	return newest.Template != ""
}

// OverrideTask is what an override of the scale, or of paused, wants of Git. ok is false for what is never Git's.
func OverrideTask(o state.Override) (t Task, ok bool) {
	t = Task{Wish: Wish{ID: deploymentID(o.Namespace, o.Name)}, Mode: rollback.ModeRestore}
	switch o.Field {
	case rollback.FieldReplicas:
		n, err := strconv.ParseInt(o.Value, 10, 32)
		if err != nil {
			return Task{}, false
		}
		replicas := int32(n)
		t.Replicas = &replicas
	case rollback.FieldPaused:
		paused, err := strconv.ParseBool(o.Value)
		if err != nil {
			return Task{}, false
		}
		t.Paused = &paused
	default:
		return Task{}, false
	}
	return t, true
}

func deploymentID(namespace, name string) manifests.ID {
	return manifests.ID{Kind: string(state.KindDeployment), Namespace: namespace, Name: name}
}

// Target describes what a hold goes back to, for the message of a commit: "revision 4 (3f2a91c)".
func Target(h state.Hold) string {
	switch {
	case h.Revision > 0 && h.Commit != "":
		return fmt.Sprintf("revision %d (%s)", h.Revision, rollback.Short(h.Commit))
	case h.Revision > 0:
		return fmt.Sprintf("revision %d", h.Revision)
	case h.Commit != "":
		return "commit " + rollback.Short(h.Commit)
	}
	return "what ran before"
}
