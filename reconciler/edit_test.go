package reconciler

import (
	"errors"
	"testing"
	"time"
)

// Six edits within a minute, and then one for each that is a minute old. A rollback needs no leave.
func TestAllowance(t *testing.T) {
	t.Parallel()
	var a allowance
	at := time.Date(2026, 11, 21, 2, 14, 0, 0, time.UTC)
	for i, c := range []struct {
		after int // seconds
		wait  time.Duration
	}{
		{0, 0}, {10, 0}, {10, 0}, {20, 0}, {30, 0}, {40, 0}, {41, 19 * time.Second}, {59, time.Second}, {60, 0}, {60, 10 * time.Second},
		{70, 0}, {71, 0}, {72, 8 * time.Second}, {200, 0},
	} {
		if got := a.take(at.Add(time.Duration(c.after) * time.Second)); got != c.wait {
			t.Errorf("%d: after %d s: wait %s, want %s", i, c.after, got, c.wait)
		}
	}
	now := func() time.Time { return at }
	w := &writing{loop: &Loop{o: Options{Now: now}}, of: &follower{}}
	w.of.edits.at = []time.Time{at, at, at, at, at, at}
	w.change.Field = FieldTemplate
	if err := w.admitted(); err != nil {
		t.Errorf("a rollback: %v", err)
	}
	w.change.Field = "replicas"
	var later *WriteError
	if err := w.admitted(); !errors.As(err, &later) || later.Wait != time.Minute {
		t.Errorf("an override: %v", err)
	}
	w.of.edits.at = nil
	for range 10 { // planned again, it is the same edit
		if err := w.admitted(); err != nil {
			t.Error(err)
		}
	}
}
