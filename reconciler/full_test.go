package reconciler

import (
	"errors"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/belay-dev/belay/reconciler/rollback"
	"github.com/belay-dev/belay/state"
)

// TestRollbackOnFullDisk: while the disk refuses everything else, a rollback acts, and is durable once the disk takes it.
func TestRollbackOnFullDisk(t *testing.T) {
	t.Parallel()
	var full atomic.Bool
	w := &walk{t: t, now: epoch}
	store, err := state.Open(t.TempDir(), state.Options{
		Now: func() time.Time { return w.now }, RetryDisk: time.Millisecond,
		Disk: func(p state.DiskPoint) error {
			if p == state.BeforeWrite && full.Load() {
				return syscall.ENOSPC
			}
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	}()
	w.over(store)
	w.commit("web:1", "", 2)
	w.commit("web:2", "", 2)
	if err := store.WaitDurable(t.Context(), store.Version()); err != nil {
		t.Fatal(err)
	}
	full.Store(true)
	if _, err := store.Commit(state.PutCursor(state.Cursor{Source: "other", Step: 2})); err != nil {
		t.Fatal(err)
	}
	if err := store.WaitDurable(t.Context(), store.Version()); !errors.Is(err, state.ErrDisk) { // the writer finds out by itself
		t.Fatalf("a full disk took a write: %v", err)
	}
	w.asked = true
	out, err := w.loop.rollback(t.Context(), rollback.Request{Namespace: "default", Name: "web", By: "alice"}, false)
	if err != nil {
		t.Fatalf("refused on a full disk: %v", err)
	}
	if h, ok := store.Hold("default", "web"); !ok || h.ID != out.ID {
		t.Fatalf("no hold: %+v", h)
	}
	if image := w.engine.live[walkKey].Spec.Template.Spec.Containers[0].Image; image != "web:1" {
		t.Errorf("%s runs", image)
	}
	if _, err := store.Commit(state.PutCursor(state.Cursor{Source: "other", Step: 1})); !errors.Is(err, state.ErrDisk) || !strings.Contains(err.Error(), "no space") {
		t.Errorf("an ordinary write: %v", err)
	}
	full.Store(false)
	for err = state.ErrDisk; errors.Is(err, state.ErrDisk); { // until the writer has tried again
		err = store.WaitDurable(t.Context(), store.Version())
	}
	if err != nil {
		t.Errorf("once there is space: %v", err)
	}
}
