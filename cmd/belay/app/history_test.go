package app

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/belay-dev/belay/reconciler"
	"github.com/belay-dev/belay/reconciler/ledger"
	"github.com/belay-dev/belay/state"
)

// TestRanAt: what ran at a time is told across the removal of a Deployment and what had its name afterwards.
func TestRanAt(t *testing.T) {
	t.Parallel()
	epoch := time.Date(2026, 11, 21, 2, 0, 0, 0, time.UTC)
	at := func(minute int) time.Time { return epoch.Add(time.Duration(minute) * time.Minute) }
	ran := func(id, uid string, minute int) state.Row {
		return state.Row{ID: id, UID: types.UID(uid), Template: id, Outcome: ledger.Complete, StartedAt: at(minute), EndedAt: at(minute + 1)}
	}
	removed := func(id string, minute int, reason reconciler.Reason) state.Row {
		return state.Row{ID: id, Outcome: ledger.Applied, Reason: string(reason), EndedAt: at(minute)}
	}
	rows := []state.Row{
		{ID: "imported", Template: "imported", Outcome: ledger.Imported},
		ran("one", "a", 10),
		ran("held", "a", 40), // waited long
		ran("rollback", "a", 20),
		{ID: "never", Template: "never", Outcome: ledger.Superseded, EndedAt: at(25)},
		removed("kept", 45, reconciler.DetailPruneOff),
		removed("removal", 50, reconciler.ReasonRemoved),
		ran("again", "b", 60),
		removed("last", 70, reconciler.ReasonRemoved),
	}
	for minute, want := range map[int]string{
		0: "", 9: "", 10: "one", 19: "one", 20: "rollback", 39: "rollback", 40: "held", 46: "held", 49: "held", 50: "", 59: "", 60: "again", 69: "again", 70: "", 99: "",
	} {
		if got := ranAt(rows, at(minute)); got != want {
			t.Errorf("at minute %d: %q, want %q", minute, got, want)
		}
	}
}
