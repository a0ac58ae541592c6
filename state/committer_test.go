package state

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// fakeDisk is a writer that remembers, waits and fails as it is told.
type fakeDisk struct {
	mu      sync.Mutex
	batches []batch
	refusal error
	tries   int
	gate    chan struct{} // when not nil, each write waits for one value
	closed  bool
}

func (f *fakeDisk) write(b batch) error {
	if f.gate != nil {
		<-f.gate
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tries++
	if f.refusal != nil {
		return f.refusal
	}
	f.batches = append(f.batches, b)
	return nil
}

func (f *fakeDisk) close() error {
	f.closed = true
	return nil
}

func (f *fakeDisk) refuse(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refusal = err
}

func (f *fakeDisk) tried() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.tries
}

func (f *fakeDisk) versions() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []string
	for _, b := range f.batches {
		list = append(list, fmt.Sprintf("%d:%d", b.version, len(b.changes)))
	}
	return fmt.Sprint(list)
}

// openFake gives a store over a fake disk whose first batch, the default namespace, is written.
func openFake(t *testing.T, f *fakeDisk) *Store {
	t.Helper()
	s, err := newStore(testOptions())
	if err != nil {
		t.Fatal(err)
	}
	s.disk = startCommitter(f, 0, time.Second)
	if err := s.begin(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(gatherTime)
	synctest.Wait()
	return s
}

func TestHasten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fakeDisk{}
		s := openFake(t, f)
		commit(t, s, Create(configMap("a", "1")))
		s.Hasten(s.Version())
		synctest.Wait() // and no time passes
		if got := f.versions(); got != "[1:1 2:1]" {
			t.Errorf("at once: %s", got)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestWritesAreGathered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fakeDisk{}
		s := openFake(t, f)
		commit(t, s, Create(configMap("a", "1")), Create(configMap("b", "1")))
		commit(t, s, PutRow(testRow("a", "web", true)))
		synctest.Wait()
		if got := f.versions(); got != "[1:1]" {
			t.Errorf("at once: %s", got)
		}
		time.Sleep(gatherTime)
		synctest.Wait()
		if got := f.versions(); got != "[1:1 4:3]" {
			t.Errorf("later: %s", got)
		}
		// Somebody waits: no gathering.
		time.Sleep(time.Hour)
		synctest.Wait()
		start := time.Now()
		r := commit(t, s, Create(configMap("c", "1")))
		if err := s.WaitDurable(t.Context(), r.Version); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took != 0 || f.versions() != "[1:1 4:3 5:1]" {
			t.Errorf("took %v: %s", took, f.versions())
		}
		// Nothing is left to do at the end.
		if err := s.Close(); err != nil || f.versions() != "[1:1 4:3 5:1]" || !f.closed {
			t.Errorf("closed: %v, %s", err, f.versions())
		}
		if err := s.WaitDurable(t.Context(), r.Version); err != nil {
			t.Error(err)
		}
		if err := s.WaitDurable(t.Context(), r.Version+1); !errors.Is(err, ErrClosed) {
			t.Errorf("got %v", err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("closed again: %v", err)
		}
	})
}

func TestCloseWritesWhatIsPending(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fakeDisk{}
		s := openFake(t, f)
		commit(t, s, Create(configMap("a", "1")))
		start := time.Now()
		if err := s.Close(); err != nil || f.versions() != "[1:1 2:1]" || time.Since(start) != 0 {
			t.Errorf("%v, %s after %v", err, f.versions(), time.Since(start))
		}
		if _, err := s.Commit(Create(configMap("b", "1"))); !errors.Is(err, ErrClosed) {
			t.Errorf("commit: %v", err)
		}
		if _, ok := s.Get(Key{KindConfigMap, "default", "a"}); !ok {
			t.Error("reads ended")
		}
	})
}

func TestWaitDurableWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fakeDisk{gate: make(chan struct{}, 1)}
		f.gate <- struct{}{}
		s := openFake(t, f)
		r := commit(t, s, Create(configMap("a", "1")))
		ctx, cancel := context.WithCancel(t.Context())
		results := make(chan error, 1)
		go func() { results <- s.WaitDurable(ctx, r.Version) }()
		synctest.Wait()
		cancel()
		if err := <-results; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		go func() { results <- s.WaitDurable(t.Context(), r.Version) }()
		synctest.Wait()
		commit(t, s, Create(configMap("b", "1"))) // not of the batch being written
		f.gate <- struct{}{}
		if err := <-results; err != nil {
			t.Error(err)
		}
		if got := f.versions(); got != "[1:1 2:1]" {
			t.Errorf("got %s", got)
		}
		f.gate <- struct{}{}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestTheDiskRefuses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fakeDisk{}
		s := openFake(t, f)
		reason := &Error{Op: "write", Path: "state.db", Err: fmt.Errorf("%w: %w", ErrDisk, syscall.ENOSPC), hint: "free some space"}
		f.refuse(reason)
		r := commit(t, s, Create(configMap("a", "1")))
		if err := s.WaitDurable(t.Context(), r.Version); !errors.Is(err, ErrDisk) || !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("wait: %v", err)
		}
		if _, err := s.Commit(Create(configMap("b", "1"))); !errors.Is(err, ErrDisk) {
			t.Errorf("commit: %v", err)
		}
		if err := s.DiskError(); !errors.Is(err, reason) {
			t.Errorf("disk error: %v", err)
		}
		if _, ok := s.Get(Key{KindConfigMap, "default", "b"}); ok || s.Version() != r.Version {
			t.Error("a refused write is there")
		}
		before := f.tried()
		time.Sleep(10*time.Second + time.Millisecond)
		if n := f.tried() - before; n != 10 {
			t.Errorf("%d tries in ten seconds", n)
		}

		f.refuse(nil)
		time.Sleep(time.Second)
		synctest.Wait()
		if err := s.DiskError(); err != nil {
			t.Errorf("after recovery: %v", err)
		}
		if err := s.WaitDurable(t.Context(), r.Version); err != nil {
			t.Errorf("after recovery: %v", err)
		}
		commit(t, s, Create(configMap("b", "1")))
		if err := s.Close(); err != nil || f.versions() != "[1:1 2:1 3:1]" {
			t.Errorf("%v, %s", err, f.versions())
		}
	})
}

func TestCloseWhileTheDiskRefuses(t *testing.T) {
	t.Parallel()
	for _, back := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			f := &fakeDisk{}
			s := openFake(t, f)
			f.refuse(ErrDisk)
			r := commit(t, s, Create(configMap("a", "1")))
			if err := s.WaitDurable(t.Context(), r.Version); !errors.Is(err, ErrDisk) {
				t.Errorf("wait: %v", err)
			}
			if back {
				f.refuse(nil)
			}
			err := s.Close()
			if back && (err != nil || f.versions() != "[1:1 2:1]") {
				t.Errorf("back: %v, %s", err, f.versions())
			}
			if !back && !errors.Is(err, ErrDisk) {
				t.Errorf("not back: %v", err)
			}
			if !f.closed {
				t.Error("not closed")
			}
		})
	}
}

// No version above the lease on disk is given out, and the lease is far ahead as long as the disk follows.
func TestLease(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fakeDisk{gate: make(chan struct{}, 1)}
		f.gate <- struct{}{}
		s := openFake(t, f)
		for i := range 2 * leaseBlock {
			if s.Version() == leaseBlock {
				break
			}
			commit(t, s, PutCursor(Cursor{Source: "shop", Step: int64(i + 1)}))
		}
		done := make(chan error, 1)
		go func() {
			_, err := s.Commit(PutCursor(Cursor{Source: "shop", Step: 1e6}))
			done <- err
		}()
		synctest.Wait()
		if s.Version() != leaseBlock || len(done) != 0 {
			t.Fatalf("version %d with a lease to %d", s.Version(), leaseBlock)
		}
		f.gate <- struct{}{} // writes what was pending when it began
		if err := <-done; err != nil || s.Version() != leaseBlock+1 {
			t.Errorf("version %d: %v", s.Version(), err)
		}
		close(f.gate)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		for _, b := range f.batches {
			if b.lease < b.version+leaseBlock/2 || b.lease%leaseBlock != 0 {
				t.Errorf("version %d with a lease to %d", b.version, b.lease)
			}
		}
	})
}

// A transaction may need more versions than a lease has.
func TestTransactionLargerThanALease(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fakeDisk{}
		s := openFake(t, f)
		var writes []Write
		for i := range 2*leaseBlock + 1 {
			writes = append(writes, Create(configMap(fmt.Sprint(i), "1")))
		}
		if r := commit(t, s, writes...); r.Version != 2*leaseBlock+2 {
			t.Errorf("version %d", r.Version)
		}
		if f.batches[1].lease < 2*leaseBlock+2 {
			t.Errorf("lease %d", f.batches[1].lease)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestCommitThatWaitsForALeaseIsRefusedToo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fakeDisk{}
		s := openFake(t, f)
		f.refuse(ErrDisk)
		var writes []Write
		for i := range leaseBlock {
			writes = append(writes, Create(configMap(fmt.Sprint(i), "1")))
		}
		if _, err := s.Commit(writes...); !errors.Is(err, ErrDisk) {
			t.Errorf("got %v", err)
		}
		if err := s.Close(); !errors.Is(err, ErrDisk) {
			t.Errorf("close: %v", err)
		}
	})
}
