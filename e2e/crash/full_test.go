package crash

import (
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/belay-dev/belay/cmd/belay/app"
	"github.com/belay-dev/belay/cmd/belay/control"
	"github.com/belay-dev/belay/reconciler/node/simulated"
	"github.com/belay-dev/belay/state"
)

// goneBack is a service that went back from web:2 to web:1 on a full disk, with what it ran.
func goneBack(t *testing.T, dir string, disk func(state.DiskPoint) error, fill func()) (*inside, control.Rollback) {
	t.Helper()
	repo := newRepository(t)
	runner := &outliving{PodRunner: simulated.New(simulated.Options{Delay: time.Millisecond})}
	repo.push(t, "full", "older")
	in := serveInside(t, repo, "full", dir, app.Seams{Runner: runner, Disk: disk})
	for _, commit := range []string{"older", "first", "second"} {
		repo.push(t, "full", commit)
		if res, err := in.Sync(t.Context(), control.SyncRequest{Wait: true}, func(control.Row) {}); err != nil || !res.OK {
			t.Fatalf("sync of %s: %+v, %v", commit, res, err)
		}
	}
	begun := runner.called("begin")
	fill()
	back, err := in.Rollback(t.Context(), control.RollbackRequest{Name: "web", Mode: "hold", Why: "5xx"})
	if err != nil {
		t.Fatal(err)
	}
	if back.NotDurable != "" || back.Hold == nil || back.Hold.Images[0] != "web:1" {
		t.Errorf("the rollback: %+v", back)
	}
	row, err := in.Follow(t.Context(), back.Row, func(control.Row) {})
	if err != nil || row.Outcome != "Complete" {
		t.Errorf("its rollout: %+v, %v", row, err)
	}
	if n := runner.called("begin") - begun; n != 2 {
		t.Errorf("%d pods began", n)
	}
	return in, back
}

// holdAfter is the hold of web that is on disk when the service has ended.
func holdAfter(t *testing.T, in *inside, dir string) string {
	t.Helper()
	in.stop()
	store, err := state.Open(dir, state.Options{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	h, _ := store.Hold("default", "web")
	if err := store.Close(); err != nil {
		t.Error(err)
	}
	return h.ID
}

// TestRollbackOnFullDisk: on a full disk a rollback acts with the space that is kept for it. When that is gone, too, the
// hold is in force and says that it is not durable; it is durable when there is space again.
func TestRollbackOnFullDisk(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	const (
		well = iota
		full // but for the reserve
		none
	)
	var space atomic.Int32
	in, first := goneBack(t, dir, func(state.DiskPoint) error {
		_, err := os.Stat(filepath.Join(dir, state.ReserveName))
		if now := space.Load(); now == none || now == full && err == nil {
			return syscall.ENOSPC
		}
		return nil
	}, func() { space.Store(full) })

	space.Store(none)
	second, err := in.Rollback(t.Context(), control.RollbackRequest{Name: "web", ToRevision: 1, Mode: "hold"})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(second.NotDurable, "not durable") || !strings.Contains(second.NotDurable, "disk refuses writes") {
		t.Errorf("without space: %q", second.NotDurable)
	}
	if holds, err := in.Holds(t.Context()); err != nil || len(holds.Holds) != 1 || holds.Holds[0].ID != second.ID || second.ID == first.ID {
		t.Errorf("in force: %+v, %v", holds, err)
	}
	space.Store(well)
	if row, err := in.Follow(t.Context(), second.Row, func(control.Row) {}); err != nil || row.Outcome != "Complete" {
		t.Errorf("its rollout: %+v, %v", row, err)
	}
	if got := holdAfter(t, in, dir); got != second.ID {
		t.Errorf("on disk: hold %q, want %q", got, second.ID)
	}
}

// TestRollbackOnFullFileSystem: the same on a file system that is really full. It needs root.
func TestRollbackOnFullFileSystem(t *testing.T) {
	t.Parallel()
	top := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", top).CombinedOutput(); err != nil {
		if os.Getenv("REQUIRE_ROOT") != "" {
			t.Fatalf("mount: %v: %s", err, out)
		}
		t.Skipf("cannot mount a small file system: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", "--lazy", top).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	dir, ballast := filepath.Join(top, "data"), filepath.Join(top, "ballast")
	in, back := goneBack(t, dir, nil, func() {
		f, err := os.Create(ballast)
		if err != nil {
			t.Fatal(err)
		}
		if _, err = io.CopyN(f, rand.NewChaCha8([32]byte{}), 1<<30); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("filling it up: %v", err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	eventually(t, "ready again", func() bool { code, err := in.ready(); return err == nil && code == 200 })
	if got := holdAfter(t, in, dir); got != back.ID {
		t.Errorf("on disk: hold %q, want %q", got, back.ID)
	}
}
