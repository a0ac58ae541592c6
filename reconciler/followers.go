package reconciler

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/belay-dev/belay/manifests"
	"github.com/belay-dev/belay/reconciler/engine"
)

// followers is the set of sources that the loop follows. It is never changed: another one takes its place.
type followers struct {
	order []*follower // as configured
	named map[string]*follower
}

// followers lists the sources that the loop follows, as configured.
func (l *Loop) followers() []*follower { return l.follows.Load().order }

// follower finds a source that the loop follows.
func (l *Loop) follower(name string) (*follower, error) {
	if f := l.follows.Load().named[name]; f != nil {
		return f, nil
	}
	return nil, fmt.Errorf("%w: %q", ErrNoSource, name)
}

// follow makes the set for some sources; those that keep their cache are taken over from the one before.
func (l *Loop) follow(before *followers, sources []Source) *followers {
	out := &followers{named: map[string]*follower{}}
	for _, s := range sources {
		var f *follower
		if before != nil {
			f = before.named[s.Name]
		}
		if f == nil || f.Cache != s.Cache {
			f = newFollower(s)
			f.cursor, _ = l.o.Store.Cursor(s.Name)
			f.cursor.Source = s.Name
			l.publish(f)
		}
		out.order = append(out.order, f)
		out.named[s.Name] = f
	}
	return out
}

// begin starts what follows a source, until ctx ends or it is stopped.
func (l *Loop) begin(ctx context.Context, f *follower) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	f.stop = func() {
		cancel()
		wg.Wait()
	}
	wg.Go(func() { l.polls(ctx, f) })
	wg.Go(func() { l.recall(ctx, f) })
	wg.Go(func() { l.writes(ctx, f) })
	l.running.Go(func() {
		defer cancel()
		wg.Wait()
	})
}

// polls takes what every look at one source found, until ctx ends.
func (l *Loop) polls(ctx context.Context, f *follower) {
	polled := func(context.Context) (string, error) { return f.Repository.Polled() }
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.Trigger.C():
			_ = l.taken(ctx, f, polled, SyncOptions{}) // remembered and logged by polled
		}
	}
}

// Follow makes the loop follow these sources, and let maxRollouts replace running pods at once, from now on. A source
// that comes with the cache it had is the same one and goes on undisturbed; any other begins at its cursor, as at a
// start. What runs of a source, or an app, that is left out goes on running, unmanaged. It returns when nothing uses a
// repository or a cache any more that was left out. The loop runs; one call at a time.
func (l *Loop) Follow(ctx context.Context, sources []Source, maxRollouts int) error {
	caches := map[*manifests.Cache]bool{}
	for _, s := range sources {
		caches[s.Cache] = true
	}
	var left []*follower
	if err := l.do(ctx, func(context.Context) {
		left = slices.DeleteFunc(slices.Clone(l.followers()), func(f *follower) bool { return caches[f.Cache] })
	}); err != nil {
		return err
	}
	for _, f := range left {
		f.stop()
		if err := f.alone(ctx); err != nil { // and for good: whoever waits is told that it is gone
			return err
		}
	}
	return l.do(ctx, func(ctx context.Context) {
		before := l.follows.Load()
		l.o.MaxRollouts = maxRollouts
		next := l.follow(before, sources)
		l.follows.Store(next)
		for _, f := range next.order {
			if before.named[f.Name] != f {
				l.begin(ctx, f)
			}
		}
		l.leave(ctx, left)
	})
}

// leave forgets what was remembered of followers that are no longer in the set.
func (l *Loop) leave(ctx context.Context, left []*follower) {
	names := map[string]bool{}
	var keys []engine.Key
	for _, f := range left {
		close(f.gone)
		names[f.Name] = true
		keys = append(keys, f.keys()...)
	}
	work := newWorkset()
	work.load(l.o.Store, l.configured)
	work.prune, work.opens, work.wakes = l.work.prune, l.work.opens, l.work.wakes
	maps.Copy(work.missed, l.work.missed)
	l.work = work
	dropped := func(k engine.Key) bool { return l.desired(k) == nil && !l.configured(k, "") }
	maps.DeleteFunc(work.prune, func(k engine.Key, _ struct{}) bool { return dropped(k) })
	maps.DeleteFunc(work.opens, func(k engine.Key, _ time.Time) bool { return dropped(k) })
	maps.DeleteFunc(l.retry, func(k engine.Key, _ retry) bool { return dropped(k) })
	l.mu.Lock()
	for name := range names {
		if l.follows.Load().named[name] == nil {
			delete(l.published, name)
		}
	}
	maps.DeleteFunc(l.problems, func(_ engine.Key, p manifests.Problem) bool { return names[p.Source] })
	l.mu.Unlock()
	for _, k := range keys {
		l.noteShared(k)
	}
	l.pass(ctx, append(keys, l.work.next(l.o.MaxRollouts)...)) // another source may have waited for them, or for a slot
}

// configured reports whether an object belongs to an app that is configured: what is managed by what manages it, what
// is not yet by its source.
func (l *Loop) configured(k engine.Key, source string) bool {
	m, managed := l.o.Store.Managed(k)
	if managed {
		source = m.Source
	}
	f := l.follows.Load().named[source]
	return f != nil && (!managed || f.configures(m.App))
}
