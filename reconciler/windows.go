package reconciler

import (
	"fmt"
	"time"
)

// Schedule is a set of moments.
type Schedule interface {
	// Next is the first moment after t; zero when none comes.
	Next(t time.Time) time.Time
}

// Window is a stretch of time that begins at every moment of a schedule: [start, start + Duration).
type Window struct {
	Deny     bool // else: allow
	Schedule Schedule
	Duration time.Duration
	Text     string // the schedule as it was written
}

// String prints the window as status shows it.
func (w Window) String() string {
	kind := "allow"
	if w.Deny {
		kind = "deny"
	}
	return fmt.Sprintf("%s %q for %s", kind, w.Text, w.Duration)
}

// began is the start of the stretch that t lies in; of several that overlap, the oldest. The zero time: t lies in none.
func (w Window) began(t time.Time) time.Time {
	if start := w.Schedule.Next(t.Add(-w.Duration)); !start.After(t) {
		return start
	}
	return time.Time{}
}

// edge is a time after t before which the window does not change; zero: it never does again.
func (w Window) edge(t time.Time) time.Time {
	if start := w.began(t); !start.IsZero() {
		return start.Add(w.Duration)
	}
	return w.Schedule.Next(t)
}

// Opening says whether changes may begin, and when that changes.
type Opening struct {
	Closed bool
	By     string    // what closes it
	Until  time.Time // zero: not for long enough that nobody knows
}

// message says why and until when something waits.
func (o Opening) message() string {
	if o.Until.IsZero() {
		return "closed by " + o.By + "; nothing opens it within a year"
	}
	return fmt.Sprintf("closed until %s by %s", o.Until.UTC().Format(time.RFC3339), o.By)
}

// Bounds of the search for the next change. A window that begins every minute makes an edge every minute.
const (
	edgesAhead = 20000
	timeAhead  = 366 * 24 * time.Hour
)

// At says how windows stand at a time. Each list counts for itself, and changes may begin when none is closed: a list is
// closed while one of its deny windows is on, or when it has allow windows and none of them is on.
func At(now time.Time, lists ...[]Window) Opening {
	by := closedBy(now, lists)
	o := Opening{Closed: by != "", By: by}
	for t, n := now, 0; n < edgesAhead; n++ {
		if t = nextEdge(t, lists); t.IsZero() || t.Sub(now) > timeAhead {
			return o
		}
		if (closedBy(t, lists) != "") != o.Closed {
			o.Until = t
			return o
		}
	}
	return o
}

// closedBy says what keeps changes from beginning at t; empty: nothing does.
func closedBy(t time.Time, lists [][]Window) string {
	for _, list := range lists {
		for _, w := range list {
			if w.Deny && !w.began(t).IsZero() {
				return w.String()
			}
		}
	}
	for _, list := range lists {
		allows, on := 0, false
		for _, w := range list {
			if w.Deny {
				continue
			}
			allows++
			on = on || !w.began(t).IsZero()
		}
		if allows > 0 && !on {
			return "the allow windows"
		}
	}
	return ""
}

func nextEdge(t time.Time, lists [][]Window) time.Time {
	var next time.Time
	for _, list := range lists {
		for _, w := range list {
			if e := w.edge(t); !e.IsZero() && (next.IsZero() || e.Before(next)) {
				next = e
			}
		}
	}
	return next
}
