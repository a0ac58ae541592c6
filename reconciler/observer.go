package reconciler

import (
	"time"

	"github.com/belay-dev/belay/state"
)

// Observer is told what there is to measure. It must not block, nor call the loop back.
type Observer interface {
	// Looked is called after each look at a source, with the time from when what it found was there until it was recorded
	// and applied. News says that there was something new.
	Looked(source string, took time.Duration, news bool, err error)
	// Ended is called when a row's outcome has become final.
	Ended(state.Row)
}

// ending are the rows whose outcome an action makes final.
func (l *Loop) ending(a Action) []state.Row {
	if l.o.Observer == nil {
		return nil
	}
	var rows []state.Row
	for _, r := range a.Rows {
		if before, ok := l.o.Store.Row(r.ID); ok && before.Open && !r.Open {
			rows = append(rows, r)
		}
	}
	return rows
}
