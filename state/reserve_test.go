package state

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// smallDisk is a fake disk with space for some writes, and a reserve for some more.
type smallDisk struct {
	fakeDisk
	space, reserve int // writes that fit
	kept           int // in the reserve now
}

func (s *smallDisk) write(b batch) error {
	s.mu.Lock()
	space := s.space
	s.space = max(0, space-1)
	s.mu.Unlock()
	if space == 0 {
		return fmt.Errorf("%w: %w", ErrDisk, syscall.ENOSPC)
	}
	return s.fakeDisk.write(b)
}

func (s *smallDisk) release() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	freed := s.kept
	s.space, s.kept = s.space+freed, 0
	return freed > 0
}

func (s *smallDisk) refill() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.space < s.reserve {
		return fmt.Errorf("%w: %w", ErrDisk, syscall.ENOSPC)
	}
	s.space, s.kept = s.space-s.reserve, s.reserve
	return nil
}

// TestReserve: when the disk is full, what may use the reserve is written with it, and nothing else is taken until the
// reserve is back.
func TestReserve(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &smallDisk{space: 1, reserve: 2, kept: 2}
		s, err := newStore(testOptions())
		if err != nil {
			t.Fatal(err)
		}
		s.disk = startCommitter(d, 0, time.Second)
		if err := s.begin(); err != nil {
			t.Fatal(err)
		}
		closeAtEnd(t, s)
		mustDurable(t, s)

		durable := func(r Receipt) error { return s.WaitDurable(t.Context(), r.Version) }
		hold := func(id string) Receipt {
			return commit(t, s, PutHold(Hold{ID: id, Namespace: "default", Name: "web"}), UseReserve())
		}
		refused := func() {
			t.Helper()
			if _, err := s.Commit(Create(configMap("a", "1"))); !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("an ordinary transaction: %v", err)
			}
		}
		first := commit(t, s, Create(configMap("first", "1")))
		if err := durable(first); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("an ordinary transaction: %v", err)
		}
		refused()
		if err := durable(hold("one")); err != nil { // and all that was before
			t.Errorf("with the reserve: %v", err)
		}
		if err := durable(first); err != nil {
			t.Errorf("what was before: %v", err)
		}
		refused()
		time.Sleep(10 * time.Second)
		refused()
		if s.DiskError() == nil {
			t.Error("the disk is well while the reserve is missing")
		}
		if err := durable(hold("two")); err != nil {
			t.Errorf("with the rest of the reserve: %v", err)
		}
		last := hold("three")
		if err := durable(last); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("without the reserve: %v", err)
		}
		if h, _ := s.Hold("default", "web"); h.ID != "three" {
			t.Errorf("in force: %q", h.ID)
		}

		d.mu.Lock()
		d.space = 10
		d.mu.Unlock()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if err := errors.Join(s.DiskError(), durable(last)); err != nil {
			t.Errorf("after recovery: %v", err)
		}
		if d.kept != 2 {
			t.Errorf("the reserve has space for %d", d.kept)
		}
		if err := durable(commit(t, s, Create(configMap("a", "1")))); err != nil {
			t.Errorf("after recovery: %v", err)
		}
	})
}

// TestReserveWithoutNeed: on a disk that is well it does nothing, and a transaction of nothing else none.
func TestReserveWithoutNeed(t *testing.T) {
	t.Parallel()
	o := testOptions()
	o.Reserve = 1 << 16
	dir := t.TempDir()
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, s)
	version := s.Version()
	if r := commit(t, s, UseReserve()); r.Version != version || r.Objects != nil {
		t.Errorf("a transaction of nothing: %+v", r)
	}
	if r := commit(t, s, UseReserve(), Create(configMap("a", "1"))); len(r.Objects) != 1 {
		t.Errorf("%+v", r)
	}
	mustDurable(t, s)
	if info, err := os.Stat(filepath.Join(dir, ReserveName)); err != nil || info.Size() != o.Reserve || info.Mode().Perm() != 0o600 {
		t.Errorf("the reserve: %v, %v", info, err)
	}
}

// smallFileSystem mounts a file system of the given size until the test ends. It needs root.
func smallFileSystem(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size="+size, "tmpfs", dir).CombinedOutput()
	if err != nil {
		text := fmt.Sprintf("cannot mount a small file system: %v: %s", err, out)
		if os.Getenv("REQUIRE_ROOT") != "" {
			t.Fatal(text)
		}
		t.Skip(text)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	return dir
}

// TestFullFileSystem: on a file system that is really full, ordinary transactions are refused, one that may use the
// reserve is durable, nothing that was durable is lost, and all goes on when there is space again.
func TestFullFileSystem(t *testing.T) {
	t.Parallel()
	dir := smallFileSystem(t, "8m")
	o := testOptions()
	o.Reserve, o.RetryDisk = 2<<20, 10*time.Millisecond
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	fill(t, s)
	mustDurable(t, s)

	ballast := filepath.Join(dir, "ballast")
	if err := fillFile(ballast, 64<<20); !full(err) {
		t.Fatalf("filling it up: %v", err)
	}
	var refusal error
	for n := 0; refusal == nil && n < 10_000; n++ {
		var r Receipt
		if r, refusal = s.Commit(PutRow(row(1000+n, "web"))); refusal == nil {
			refusal = s.WaitDurable(t.Context(), r.Version)
		}
	}
	if !errors.Is(refusal, ErrDisk) || !errors.Is(refusal, syscall.ENOSPC) {
		t.Fatalf("on a full disk: %v", refusal)
	}
	r := commit(t, s, PutHold(Hold{ID: "kept", Namespace: "default", Name: "web"}), UseReserve())
	if err := s.WaitDurable(t.Context(), r.Version); err != nil {
		t.Fatalf("with the reserve: %v", err)
	}
	if _, err := s.Commit(PutRow(row(1, "web"))); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("an ordinary transaction afterwards: %v", err)
	}
	want := dump(t, s)
	closeStore(t, s)

	s, err = Open(dir, o) // there is no space for the reserve, and it starts
	if err != nil {
		t.Fatal(err)
	}
	if diff := len(want) - len(dump(t, s)); diff != 0 {
		t.Errorf("%d values are lost", diff)
	}
	if h, _ := s.Hold("default", "web"); h.ID != "kept" {
		t.Errorf("hold %q", h.ID)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	commit(t, s, PutRow(row(2, "web")))
	mustDurable(t, s)
	closeStore(t, s)
	s, err = Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, s)
	if info, err := os.Stat(filepath.Join(dir, ReserveName)); err != nil || info.Size() != o.Reserve {
		t.Errorf("the reserve is not back: %v", err)
	}
}
