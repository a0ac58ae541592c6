package ledger

import "github.com/belay-dev/belay/state"

// The outcomes of a row. A commit shows the worst open outcome of its rows, else the worst final one.
const (
	Pending     state.Outcome = "Pending"
	Progressing state.Outcome = "Progressing"
	Waiting     state.Outcome = "Waiting"
	Paused      state.Outcome = "Paused"
	Held        state.Outcome = "Held"

	Complete   state.Outcome = "Complete"
	Failed     state.Outcome = "Failed"
	Superseded state.Outcome = "Superseded"
	RolledBack state.Outcome = "RolledBack"
	Applied    state.Outcome = "Applied"
	Unchanged  state.Outcome = "Unchanged" // of commits only
	Invalid    state.Outcome = "Invalid"
	Unverified state.Outcome = "Unverified"
	Imported   state.Outcome = "Imported"
)

// Severity lists every outcome, worst first. Nobody may modify it.
var Severity = []state.Outcome{
	Failed, Invalid, Unverified, RolledBack, Held, Waiting, Paused, Progressing, Pending,
	Superseded, Complete, Applied, Imported, Unchanged,
}

var open = map[state.Outcome]bool{Pending: true, Progressing: true, Waiting: true, Paused: true, Held: true}

// IsOpen reports whether an outcome may still become any other.
func IsOpen(o state.Outcome) bool { return open[o] }

// reopened lists the final outcomes that may still change, and into what.
var reopened = map[state.Outcome]map[state.Outcome]bool{
	Failed:   {Complete: true, RolledBack: true},
	Complete: {RolledBack: true},
	Applied:  {RolledBack: true},
}

// MayBecome is the table of transitions: open to any; Failed to Complete or RolledBack; Complete and Applied to
// RolledBack; nothing else. Staying as it is is no transition.
func MayBecome(from, to state.Outcome) bool {
	if from == to {
		return false
	}
	if IsOpen(from) {
		return true
	}
	return reopened[from][to]
}

// Become returns the row with another outcome, and whether the table allows it. Times are set by the caller.
func Become(r state.Row, to state.Outcome) (state.Row, bool) {
	if !MayBecome(r.Outcome, to) {
		return r, false
	}
	r.Outcome = to
	r.Open = IsOpen(to)
	return r, true
}

// Newest leaves the row of each Deployment that says how a commit fares there: the newest of its rows, as a commit that
// was held off, or whose Deployment was deleted, may run again. A row that fills another one says nothing itself.
func Newest(rows []state.Row) []state.Row {
	type name struct{ namespace, name string }
	at := map[name]int{}
	var out []state.Row
	for _, r := range rows {
		n := name{r.Namespace, r.Name}
		i, known := at[n]
		switch {
		case !known:
			at[n] = len(out)
			out = append(out, r)
		case out[i].Fills != "" || r.Fills == "" && r.Number > out[i].Number:
			out[i] = r
		}
	}
	return out
}

// CommitOutcome is the outcome of a whole commit: the worst open one of its Deployments, else the worst final one; each
// has the outcome of its Newest row. A commit that did not render is Invalid at the least; one without rows is Applied
// when it changed other objects, and Unchanged otherwise.
func CommitOutcome(c state.Commit, rows []state.Row) state.Outcome {
	seen := map[state.Outcome]bool{}
	for _, r := range Newest(rows) {
		seen[r.Outcome] = true
	}
	for _, wantOpen := range []bool{true, false} {
		if c.Invalid && !wantOpen {
			seen[Invalid] = true
		}
		for _, o := range Severity {
			if seen[o] && IsOpen(o) == wantOpen {
				return o
			}
		}
	}
	if c.Objects > 0 {
		return Applied
	}
	return Unchanged
}
