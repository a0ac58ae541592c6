package kubelet

import (
	"context"
	"sync"
)

// tally counts what is under way, until it is closed.
type tally struct {
	mu     sync.Mutex
	n      int
	closed bool
	empty  chan struct{} // made by close
}

// add counts one more; false: nothing is begun any more.
func (t *tally) add() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.closed {
		t.n++
	}
	return !t.closed
}

func (t *tally) done() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.n--; t.closed && t.n == 0 {
		close(t.empty)
	}
}

// close lets nothing more begin.
func (t *tally) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	t.closed, t.empty = true, make(chan struct{})
	if t.n == 0 {
		close(t.empty)
	}
}

// wait waits, after close, until all that was under way has ended.
func (t *tally) wait(ctx context.Context) error {
	select {
	case <-t.empty:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
