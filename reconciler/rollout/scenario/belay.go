package scenario

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/rs/zerolog"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/belay-dev/belay/reconciler/controller"
	"github.com/belay-dev/belay/reconciler/replicaset"
	"github.com/belay-dev/belay/reconciler/rollout"
	"github.com/belay-dev/belay/state"
)

// Belay is the engine of this module. Unlike a running controller it has no goroutine, but like one it only looks at
// what its watch, or its own wake-up, names: a change it overlooks shows.
type Belay struct {
	store   *state.Store
	now     func() time.Time
	watch   *state.Watch
	version int64 // seen up to here
	parts   map[state.Kind]*part
	told    []Told
}

var _ Engine = (*Belay)(nil)

// part is one of the two controllers with its queue.
type part struct {
	config controller.Config
	dirty  map[state.Key]bool
	wake   map[state.Key]time.Time
	// refused says at which version a key was refused something.
	refused map[state.Key]int64
}

// NewBelay starts the engine over a store.
func NewBelay(store *state.Store, now func() time.Time) (*Belay, error) {
	b := &Belay{store: store, now: now}
	return b, b.Restart()
}

// Restart implements Engine.
func (b *Belay) Restart() error {
	b.version = b.store.Version()
	watch, err := b.store.Watch(b.version)
	if err != nil {
		return err
	}
	b.watch = watch
	b.parts = map[state.Kind]*part{
		state.KindDeployment: {config: rollout.New(b.store, b, zerolog.Nop(), b.now)},
		state.KindReplicaSet: {config: replicaset.New(b.store, b, zerolog.Nop(), b.now)},
	}
	for _, p := range b.parts {
		p.dirty, p.wake, p.refused = map[state.Key]bool{}, map[state.Key]time.Time{}, map[state.Key]int64{}
		for _, key := range p.config.Resync(b.store) {
			p.dirty[key] = true
		}
	}
	return nil
}

// Event takes what the controllers tell.
func (b *Belay) Event(obj state.Object, eventType, reason, message string) {
	key := state.KeyOf(obj)
	b.told = append(b.told, Told{Kind: string(key.Kind), Name: key.Name, Type: eventType, Reason: reason, Message: message})
}

// Events implements Engine.
func (b *Belay) Events() []Told {
	told := b.told
	b.told = nil
	return told
}

// WakeAt implements Engine.
func (b *Belay) WakeAt() time.Time {
	var next time.Time
	for _, p := range b.parts {
		for _, at := range p.wake {
			if next.IsZero() || at.Before(next) {
				next = at
			}
		}
	}
	return next
}

// Settle implements Engine.
func (b *Belay) Settle(ctx context.Context, kind state.Kind) error {
	p := b.parts[kind]
	for range maxRounds {
		if err := b.observe(ctx); err != nil {
			return err
		}
		for key, at := range p.wake {
			if !at.After(b.now()) {
				p.dirty[key] = true
				delete(p.wake, key)
			}
		}
		for key, version := range p.refused {
			if b.store.Version() > version {
				p.dirty[key] = true
				delete(p.refused, key)
			}
		}
		keys := p.dirty
		if len(keys) == 0 {
			return nil
		}
		p.dirty = map[state.Key]bool{}
		for _, key := range slices.SortedFunc(maps.Keys(keys), state.Key.Compare) {
			if err := b.reconcile(ctx, p, key); err != nil {
				return err
			}
		}
	}
	return fmt.Errorf("the %s controller does not come to rest", kind)
}

// reconcile looks at one key. What was refused is tried again as soon as anything has changed, and every
// second: that stands for the back-off of a running controller.
func (b *Belay) reconcile(ctx context.Context, p *part, key state.Key) error {
	wakeAt, err := p.config.Reconcile(ctx, key, b.now())
	switch {
	case apierrors.IsConflict(err):
		p.dirty[key] = true
	case apierrors.IsForbidden(err):
		p.refused[key] = b.store.Version()
		p.wake[key] = b.now().Add(time.Second)
	case err != nil:
		return err
	case !wakeAt.IsZero():
		p.wake[key] = wakeAt
	}
	return nil
}

// observe marks what the watch names. Every version is the change of some object, so Next does not block.
func (b *Belay) observe(ctx context.Context) error {
	for b.version < b.store.Version() {
		events, err := b.watch.Next(ctx)
		if err != nil {
			return err
		}
		for _, e := range events {
			for _, p := range b.parts {
				for _, key := range p.config.Keys(e) {
					p.dirty[key] = true
				}
			}
			b.version = e.Version
		}
	}
	return nil
}
