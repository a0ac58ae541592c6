package ledger

import (
	"strconv"
	"testing"

	"github.com/belay-dev/belay/state"
)

// TestMayBecome enumerates every pair of outcomes against the transitions as the design words them.
func TestMayBecome(t *testing.T) {
	t.Parallel()
	if len(Severity) != 14 {
		t.Fatalf("Severity lists %d outcomes, want 14", len(Severity))
	}
	for _, from := range Severity {
		for _, to := range Severity {
			want := false
			switch from {
			case Pending, Progressing, Waiting, Paused, Held:
				want = from != to
			case Failed:
				want = to == Complete || to == RolledBack
			case Complete, Applied:
				want = to == RolledBack
			}
			if got := MayBecome(from, to); got != want {
				t.Errorf("MayBecome(%s, %s) = %v, want %v", from, to, got, want)
			}
			r, ok := Become(state.Row{Outcome: from, Open: IsOpen(from)}, to)
			if ok != want {
				t.Errorf("Become(%s, %s) = %v, want %v", from, to, ok, want)
			}
			if ok && (r.Outcome != to || r.Open != IsOpen(to)) {
				t.Errorf("Become(%s, %s) gives %+v", from, to, r)
			}
			if !ok && r.Outcome != from {
				t.Errorf("Become(%s, %s) changed a row it refused", from, to)
			}
		}
	}
}

func TestCommitOutcome(t *testing.T) {
	t.Parallel()
	rows := func(outcomes ...state.Outcome) []state.Row {
		var rs []state.Row
		for i, o := range outcomes {
			rs = append(rs, state.Row{Name: strconv.Itoa(i), Outcome: o, Open: IsOpen(o)})
		}
		return rs
	}
	for _, tc := range []struct {
		name   string
		commit state.Commit
		rows   []state.Row
		want   state.Outcome
	}{
		{"nothing changed", state.Commit{}, nil, Unchanged},
		{"only a service changed", state.Commit{Objects: 1}, nil, Applied},
		{"open wins over failed", state.Commit{}, rows(Failed, Progressing, Complete), Progressing},
		{"worst open", state.Commit{}, rows(Pending, Waiting, Progressing), Waiting},
		{"worst final", state.Commit{}, rows(Complete, RolledBack, Superseded), RolledBack},
		{"invalid beside complete", state.Commit{Invalid: true}, rows(Complete), Invalid},
		{"invalid beside open", state.Commit{Invalid: true}, rows(Progressing), Progressing},
		{"failed is worse than invalid", state.Commit{Invalid: true}, rows(Failed), Failed},
		{"invalid alone", state.Commit{Invalid: true}, nil, Invalid},
		{"run again", state.Commit{}, []state.Row{{Number: 1, Outcome: RolledBack}, {Number: 2, Outcome: Complete}}, Complete},
		{"run again, listed first", state.Commit{}, []state.Row{{Number: 2, Outcome: Failed}, {Number: 1, Outcome: Complete}}, Failed},
		{"runs in a rollback's row", state.Commit{}, []state.Row{{Number: 1, Outcome: Progressing, Open: true}, {Number: 2, Outcome: Applied, Fills: "1"}}, Progressing},
		{"filled another row, listed first", state.Commit{}, []state.Row{{Number: 2, Outcome: Applied, Fills: "1"}, {Number: 1, Outcome: Complete}}, Complete},
	} {
		if got := CommitOutcome(tc.commit, tc.rows); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
}
