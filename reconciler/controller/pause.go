package controller

import (
	"context"
	"sync"
	"time"
)

// Pause lets questions go first: while somebody waits for an answer, workers begin nothing new. Answers need little, but on a
// machine whose processors all have work they would wait for their turn again and again. The zero value is ready for use, from
// any goroutine.
type Pause struct {
	mu    sync.Mutex
	asked int           // questions that wait for their answer
	began time.Time     // when the pause did
	over  chan struct{} // closed at the end of the pause; nil: there is none
	next  time.Time     // no pause begins before: the work goes on, however much is asked
}

// A pause is not long, and at least a quarter of the time there is none.
const (
	longestPause = 50 * time.Millisecond
	pauseShare   = 3 // a pause is followed by so many times less without one
)

// Ask says that a question waits for its answer, until answered is called.
func (p *Pause) Ask() (answered func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked++
	now := time.Now()
	if p.over != nil && now.Sub(p.began) >= longestPause {
		p.end(now) // nobody waits any more
	}
	if p.over == nil && !now.Before(p.next) {
		p.began, p.over = now, make(chan struct{})
	}
	return sync.OnceFunc(p.answered)
}

func (p *Pause) answered() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.asked--; p.asked == 0 && p.over != nil {
		p.end(time.Now())
	}
}

func (p *Pause) end(now time.Time) {
	close(p.over)
	p.over = nil
	took := min(now.Sub(p.began), longestPause)
	p.next = p.began.Add(took + took/pauseShare)
}

// Wait returns once there is no pause, or when it was long enough, or ctx ends.
func (p *Pause) Wait(ctx context.Context) {
	p.mu.Lock()
	over, left := p.over, longestPause-time.Since(p.began)
	p.mu.Unlock()
	if over == nil || left <= 0 {
		return
	}
	enough := time.NewTimer(left)
	defer enough.Stop()
	select {
	case <-over:
	case <-enough.C:
	case <-ctx.Done():
	}
}
