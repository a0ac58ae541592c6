package trigger

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// DefaultJitter is the share of the interval by which a look may come early or late.
const DefaultJitter = 0.1

// Config says how often to look.
type Config struct {
	// Interval is the time from the end of one look to the next; zero: by Schedules alone. One of the two must be given.
	Interval time.Duration
	// Schedules say when to look besides, without jitter.
	Schedules []Schedule
	// Jitter is the share of the interval, from 0 to 1, by which each wait may be shorter or longer. Zero takes
	// DefaultJitter; a negative value means none.
	Jitter float64
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Trigger sends on C when it is time to look. Safe for concurrent use.
type Trigger struct {
	look chan struct{}
	set  chan struct{}

	mu   sync.Mutex // guards all below
	cfg  Config
	next time.Time
}

// New returns a trigger that is due at once. It sends nothing before Run, except what Kick asks for.
func New(cfg Config) *Trigger {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	switch {
	case cfg.Jitter == 0:
		cfg.Jitter = DefaultJitter
	case cfg.Jitter < 0:
		cfg.Jitter = 0
	}
	return &Trigger{
		cfg: cfg, look: make(chan struct{}, 1), set: make(chan struct{}, 1),
		next: cfg.Now(),
	}
}

// C receives a value when it is time to look. Signals that come before the last one is received are one signal.
func (t *Trigger) C() <-chan struct{} { return t.look }

// Kick makes it time to look now.
func (t *Trigger) Kick() {
	select {
	case t.look <- struct{}{}:
	default:
	}
}

// Pace changes how often to look. It counts from the end of the next look on.
func (t *Trigger) Pace(interval time.Duration, schedules []Schedule) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cfg.Interval, t.cfg.Schedules = interval, schedules
}

// Done tells that a look has ended: the next one is due an interval later, give or take the jitter, or at the next moment
// of a schedule, whichever comes first.
func (t *Trigger) Done() {
	t.mu.Lock()
	cfg := t.cfg
	t.mu.Unlock()
	now := cfg.Now()
	var next time.Time
	if cfg.Interval > 0 {
		next = now.Add(Jittered(cfg.Interval, cfg.Jitter, rand.Float64()))
	}
	for _, s := range cfg.Schedules {
		if at := s.Next(now); next.IsZero() || !at.IsZero() && at.Before(next) {
			next = at
		}
	}
	t.DoneUntil(next)
}

// DoneUntil tells that a look has ended and sets when the next one is due, for a remote that has to be left alone. The
// zero time means not before Kick.
func (t *Trigger) DoneUntil(next time.Time) {
	t.mu.Lock()
	t.next = next
	t.mu.Unlock()
	select {
	case t.set <- struct{}{}:
	default:
	}
}

// NextAt returns when the next look is due, or the zero time when none is before Kick. It may lie in the past while
// the look it asked for has not ended.
func (t *Trigger) NextAt() time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.next
}

// Run sends the signals of the interval until ctx ends. After each it waits for Done or DoneUntil before it counts
// anew, so a look that takes longer than the interval is not followed by another at once.
func (t *Trigger) Run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	t.arm(timer)
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			t.Kick()
		case <-t.set:
			t.arm(timer)
		}
	}
}

func (t *Trigger) arm(timer *time.Timer) {
	next := t.NextAt()
	if next.IsZero() {
		timer.Stop()
		return
	}
	timer.Reset(max(0, next.Sub(t.cfg.Now())))
}

// Jittered returns interval made shorter or longer by at most share of itself; at, from 0 to 1, chooses where
// between the two ends.
func Jittered(interval time.Duration, share, at float64) time.Duration {
	return interval + time.Duration(float64(interval)*share*(2*at-1))
}
