package crash

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/belay-dev/belay/cmd/belay/app"
	"github.com/belay-dev/belay/cmd/belay/control"
	"github.com/belay-dev/belay/reconciler/node/simulated"
	"github.com/belay-dev/belay/state"
)

// atSecond is a service that runs web:2 and ran web:1 before.
func atSecond(t *testing.T, dir string, disk func(state.DiskPoint) error, edits ...func(*app.SourceConfig)) (*inside, *outliving, *repository) {
	t.Helper()
	repo := newRepository(t)
	runner := &outliving{PodRunner: simulated.New(simulated.Options{Delay: time.Millisecond})}
	repo.push(t, "full", "older")
	in := serveInside(t, repo, "full", dir, app.Seams{Runner: runner, Disk: disk}, edits...)
	for _, commit := range []string{"older", "first", "second"} {
		repo.push(t, "full", commit)
		in.sync(commit)
	}
	return in, runner, repo
}

// sync looks and waits until everything has ended well.
func (in *inside) sync(what string) {
	in.t.Helper()
	if res, err := in.Sync(in.t.Context(), control.SyncRequest{Wait: true}, func(control.Row) {}); err != nil || !res.OK {
		in.t.Fatalf("sync of %s: %+v, %v", what, res, err)
	}
}

// goneBack is a service that went back from web:2 to web:1 on a full disk, with what it ran.
func goneBack(t *testing.T, dir string, disk func(state.DiskPoint) error, fill func()) (*inside, control.Rollback) {
	t.Helper()
	in, runner, _ := atSecond(t, dir, disk)
	begun := runner.called("begin")
	fill()
	back, err := in.Rollback(t.Context(), control.RollbackRequest{Name: "web", Mode: "hold", Why: "5xx"})
	if err != nil {
		t.Fatal(err)
	}
	if back.NotDurable != "" || back.Hold == nil || back.Hold.Images[0] != "web:1" {
		t.Errorf("the rollback: %+v", back)
	}
	in.ended(back)
	if n := runner.called("begin") - begun; n != 2 {
		t.Errorf("%d pods began", n)
	}
	return in, back
}

// ended waits until a rollback's pods run.
func (in *inside) ended(back control.Rollback) {
	in.t.Helper()
	ctx, cancel := context.WithTimeout(in.t.Context(), patience)
	defer cancel()
	if row, err := in.Follow(ctx, back.Row, func(control.Row) {}); err != nil || row.Outcome != "Complete" {
		in.t.Errorf("its rollout: %+v, %v", row, err)
	}
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
	in.ended(second)
	if got := holdAfter(t, in, dir); got != second.ID {
		t.Errorf("on disk: hold %q, want %q", got, second.ID)
	}
}

// smallFileSystem mounts one until the test ends. It needs root.
func smallFileSystem(t *testing.T) string {
	t.Helper()
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
	return top
}

// TestRollbackOnFullFileSystem: the same on a file system that is really full. It needs root.
func TestRollbackOnFullFileSystem(t *testing.T) {
	t.Parallel()
	top := smallFileSystem(t)
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

// TestRollbackOnRefusingDisk: on a disk that is read-only, or not permitted any more, a rollback acts and says that it is
// not durable, and nothing else does. It is durable once the disk takes it, by itself.
func TestRollbackOnRefusingDisk(t *testing.T) {
	t.Parallel()
	for _, why := range []syscall.Errno{syscall.EROFS, syscall.EACCES} {
		t.Run(why.Error(), func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "data")
			var refuses atomic.Bool
			in, runner, repo := atSecond(t, dir, func(state.DiskPoint) error {
				if refuses.Load() {
					return why
				}
				return nil
			})
			begun := runner.called("begin")
			refuses.Store(true)
			back, err := in.Rollback(t.Context(), control.RollbackRequest{Name: "web", Mode: "hold", Why: "5xx"})
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(back.NotDurable, "not durable") || !strings.Contains(back.NotDurable, why.Error()) {
				t.Errorf("said to be durable: %q", back.NotDurable)
			}
			in.ended(back)
			if n := runner.called("begin") - begun; n != 2 {
				t.Errorf("%d pods began", n)
			}
			repo.push(t, "full", "prune")
			res, err := in.Sync(t.Context(), control.SyncRequest{}, func(control.Row) {})
			if err == nil && (res.OK || !strings.Contains(res.Sources[0].Error, why.Error())) {
				t.Errorf("a sync: %+v", res)
			}
			if code, err := in.ready(); err != nil || code != http.StatusServiceUnavailable {
				t.Errorf("ready: %d, %v", code, err)
			}
			refuses.Store(false)
			eventually(t, "ready again", func() bool { code, err := in.ready(); return err == nil && code == http.StatusOK })
			in.sync("prune")
			if got := holdAfter(t, in, dir); got != back.ID {
				t.Errorf("on disk: hold %q, want %q", got, back.ID)
			}
		})
	}
}

// TestPushOnFullDisk: the change in Git that a rollback asks for is made on a full disk, too: once, and taken when there is
// space again.
func TestPushOnFullDisk(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	kept := filepath.Join(dir, state.ReserveName)
	var mu sync.Mutex
	full := false
	in, runner, repo := atSecond(t, dir, func(state.DiskPoint) error {
		mu.Lock()
		defer mu.Unlock()
		if !full {
			return nil
		}
		if info, err := os.Stat(kept); err == nil && info.Mode().IsRegular() {
			return syscall.ENOSPC
		}
		return os.MkdirAll(filepath.Join(kept, "in the way"), 0o700) // it does not come back
	}, func(s *app.SourceConfig) { s.Push = &app.PushConfig{} })
	fill := func(now bool) {
		t.Helper()
		mu.Lock()
		defer mu.Unlock()
		if full = now; !now {
			if err := os.RemoveAll(kept); err != nil {
				t.Fatal(err)
			}
		}
	}
	fill(true)
	open := runner.stay()
	defer open()
	back, err := in.Rollback(t.Context(), control.RollbackRequest{Name: "web", Why: "5xx"})
	if err != nil || back.NotDurable != "" {
		t.Fatalf("%+v, %v", back, err)
	}
	ours := func() string {
		return repo.git(t, "", "-C", repo.dir, "log", "--format=%s", "--grep=Belay-Rollback: "+back.ID, "refs/heads/full")
	}
	eventually(t, "it is pushed", func() bool { return ours() != "" })
	eventually(t, "it cannot be recorded", func() bool { return strings.Contains(in.status().Sources[0].Error, "disk refuses") })
	open()
	in.ended(back)
	if holds, err := in.Holds(t.Context()); err != nil || len(holds.Holds) != 1 {
		t.Errorf("before the commit is recorded: %+v, %v", holds, err)
	}
	fill(false)
	eventually(t, "ready again", func() bool { code, err := in.ready(); return err == nil && code == http.StatusOK })
	in.sync("what was pushed")
	if holds, err := in.Holds(t.Context()); err != nil || len(holds.Holds) != 0 {
		t.Errorf("the hold goes on: %+v, %v", holds, err)
	}
	if got := ours(); strings.Contains(got, "\n") {
		t.Errorf("pushed:\n%s", got)
	}
}
