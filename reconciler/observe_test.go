package reconciler

import (
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/belay-dev/belay/reconciler/engine"
	"github.com/belay-dev/belay/reconciler/ledger"
	"github.com/belay-dev/belay/state"
)

// TestObserveGivesNoNumberTwice: a template that comes back before the controller saw the one between runs on under its number,
// which is the first row's. One that the controller gave a new number has that.
func TestObserveGivesNoNumberTwice(t *testing.T) {
	t.Parallel()
	at := func(n int) time.Time { return time.Date(2026, 3, 1, 12, n, 0, 0, time.UTC) }
	rows := []state.Row{
		{ID: "a", UID: "u", Template: "one", Revision: 5, StartedAt: at(1), EndedAt: at(2), Outcome: ledger.Complete},
		{ID: "b", UID: "u", Template: "two", StartedAt: at(3), EndedAt: at(4), Outcome: ledger.Superseded, SupersededBy: "c"},
		{ID: "c", UID: "u", Template: "one", StartedAt: at(4), Outcome: ledger.Progressing, Open: true},
	}
	for _, c := range []struct{ revision, want int64 }{{5, 0}, {6, 6}} {
		live := engine.Live{
			Object:  &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "u"}},
			Rollout: engine.Rollout{Phase: engine.PhaseComplete, Template: "one", Revision: c.revision, ReplicaSet: "web-1"},
		}
		got := observe(rows, live, at(5))
		if len(got) != 1 || got[0].ID != "c" || got[0].Revision != c.want || got[0].Outcome != ledger.Complete || got[0].ReplicaSet != "web-1" {
			t.Errorf("at revision %d: %+v", c.revision, got)
		}
		if again := observe(replace(rows, got), live, at(6)); len(again) != 0 {
			t.Errorf("at revision %d, once more: %+v", c.revision, again)
		}
	}
}
