package reconciler

import (
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/belay-dev/belay/reconciler/engine"
	"github.com/belay-dev/belay/reconciler/ledger"
	"github.com/belay-dev/belay/reconciler/rollback"
	"github.com/belay-dev/belay/state"
)

// A cause that was given through the API goes to the row that runs, where what runs is that row's.
func TestObserveCause(t *testing.T) {
	t.Parallel()
	row := state.Row{ID: "a", UID: "u", Commit: "abc", Template: "t", StartedAt: time.Unix(1, 0), Outcome: ledger.Complete, ChangeCause: "the commit"}
	asked, filled := row, row
	asked.Operation, asked.Commit = rollback.OperationRollback, ""
	filled.Operation, filled.Commit = rollback.OperationRollback, "def"
	for name, c := range map[string]struct {
		row         state.Row
		annotations map[string]string
		want        string
	}{
		"afterwards":        {row, map[string]string{engine.AnnotationCommit: "abc", engine.ChangeCause: "a person"}, "a person"},
		"taken away":        {row, map[string]string{engine.AnnotationCommit: "abc"}, "the commit"},
		"of another commit": {row, map[string]string{engine.AnnotationCommit: "def", engine.ChangeCause: "another commit"}, "the commit"},
		"of a rollback":     {asked, map[string]string{engine.AnnotationCommit: "abc", engine.ChangeCause: "the old commit"}, "the commit"},
		"of one in Git":     {filled, map[string]string{engine.AnnotationCommit: "abc", engine.ChangeCause: "the old commit"}, "the commit"},
	} {
		d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{UID: "u", Annotations: c.annotations}}
		rows := []state.Row{c.row}
		live := engine.Live{Object: d, Rollout: engine.Rollout{Template: "t", Phase: engine.PhaseComplete}}
		if rows = replace(rows, observe(rows, live, time.Unix(2, 0))); rows[0].ChangeCause != c.want {
			t.Errorf("%s: %q, want %q", name, rows[0].ChangeCause, c.want)
		}
	}
}
