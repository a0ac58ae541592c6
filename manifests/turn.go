package manifests

import (
	"context"
	"sync"
)

// turn lets one run of kustomize go at a time, because kustomize keeps state
// for the whole process. Those who wait for a person go before those who do
// not; among equals the first comes first.
type turn struct {
	mu      sync.Mutex
	taken   bool
	waiting [2][]chan struct{} // interactive, background
}

// take waits for the turn. It returns the error of ctx when that ends first.
func (t *turn) take(ctx context.Context, background bool) error {
	t.mu.Lock()
	if !t.taken {
		t.taken = true
		t.mu.Unlock()
		return nil
	}
	queue := 0
	if background {
		queue = 1
	}
	mine := make(chan struct{})
	t.waiting[queue] = append(t.waiting[queue], mine)
	t.mu.Unlock()
	select {
	case <-mine:
		return nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, c := range t.waiting[queue] {
		if c == mine {
			t.waiting[queue] = append(t.waiting[queue][:i], t.waiting[queue][i+1:]...)
			return ctx.Err()
		}
	}
	t.passOn() // the turn came at the same moment
	return ctx.Err()
}

// give hands the turn to who is next.
func (t *turn) give() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.passOn()
}

func (t *turn) passOn() {
	for q := range t.waiting {
		if len(t.waiting[q]) > 0 {
			next := t.waiting[q][0]
			t.waiting[q] = t.waiting[q][1:]
			close(next)
			return
		}
	}
	t.taken = false
}
