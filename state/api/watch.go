package api

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/util/flowcontrol"

	"github.com/belay-dev/belay/state"
)

// watchBuffer is how many events may wait for a slow client. Beyond it the watch falls behind in the store.
const watchBuffer = 100

// Watch begins where the version says: at 0 with what there is, else strictly after it. Its goroutine ends when the
// watch is stopped or the context ends.
func (s *objects) Watch(ctx context.Context, key string, opts storage.ListOptions) (watch.Interface, error) {
	p, err := s.place(key, opts.Recursive)
	if err != nil {
		return nil, err
	}
	after, err := s.ParseResourceVersion(opts.ResourceVersion)
	if err != nil {
		return nil, err
	}
	asked := opts.SendInitialEvents != nil && *opts.SendInitialEvents
	w := &watcher{
		objects: s, place: p, opts: opts, results: make(chan watch.Event, watchBuffer), after: int64(after),
		initial: asked || opts.SendInitialEvents == nil && after == 0,
		end:     asked && opts.Predicate.AllowWatchBookmarks,
	}
	if now := s.store.Version(); asked && w.after > now {
		return nil, storage.NewTooLargeResourceVersionError(after, uint64(now), 1)
	} else if !w.initial && after == 0 {
		w.after = now
	}
	ctx, w.stop = context.WithCancel(ctx)
	flowcontrol.WatchInitialized(ctx)
	s.watches.Go(func() { w.run(ctx) })
	return w, nil
}

// watcher is one watch. Its fields belong to its goroutine.
type watcher struct {
	*objects
	place   place
	opts    storage.ListOptions
	results chan watch.Event
	stop    context.CancelFunc
	after   int64
	initial bool // begin with what there is
	end     bool // and tell where that ends
}

func (w *watcher) Stop()                          { w.stop() }
func (w *watcher) ResultChan() <-chan watch.Event { return w.results }

func (w *watcher) run(ctx context.Context) {
	defer close(w.results)
	defer w.stop()
	err := w.follow(ctx)
	if err == nil || ctx.Err() != nil {
		return
	}
	if errors.Is(err, state.ErrExpired) {
		err = apierrors.NewResourceExpired(expiredWatch)
	}
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		status = apierrors.NewInternalError(err)
	}
	s := status.Status()
	_ = w.send(ctx, watch.Event{Type: watch.Error, Object: &s}) // the client is gone: nobody to tell
}

func (w *watcher) follow(ctx context.Context) error {
	if w.initial {
		if err := w.begin(ctx); err != nil {
			return err
		}
	}
	if w.after < w.oldest.Load() {
		return state.ErrExpired
	}
	changes, err := w.store.Watch(w.after, w.kind)
	if err != nil {
		return err
	}
	for {
		events, seen, err := w.next(ctx, changes)
		if err != nil {
			return err
		}
		if len(events) == 0 {
			if err := w.bookmarkAt(ctx, seen, false); err != nil {
				return err
			}
			continue
		}
		if err := w.durable(ctx, events[len(events)-1].Version); err != nil {
			return err
		}
		for _, e := range events {
			if err := w.forward(ctx, e); err != nil {
				return err
			}
		}
	}
}

// next waits for changes, or, where bookmarks are asked for, until one is due: then there are no changes up to the
// version seen.
func (w *watcher) next(ctx context.Context, changes *state.Watch) (events []state.Event, seen int64, err error) {
	if !w.opts.Predicate.AllowWatchBookmarks && !w.opts.ProgressNotify {
		events, err = changes.Next(ctx)
		return events, 0, err
	}
	seen = w.store.Version()
	quiet, cancel := context.WithTimeout(ctx, w.bookmark)
	defer cancel()
	events, err = changes.Next(quiet)
	if err != nil && quiet.Err() != nil && ctx.Err() == nil && !errors.Is(err, state.ErrExpired) {
		err = nil
	}
	return events, seen, err
}

// begin sends what there is as if it had just been added.
func (w *watcher) begin(ctx context.Context) error {
	stored, now, err := w.listAt(w.place, 0)
	if err != nil {
		return err
	}
	if err := w.durable(ctx, now); err != nil {
		return err
	}
	for _, o := range stored {
		if err := w.forward(ctx, state.Event{Type: state.Added, Object: o}); err != nil {
			return err
		}
	}
	w.after = now
	if !w.end {
		return nil
	}
	return w.bookmarkAt(ctx, now, true)
}

func (w *watcher) bookmarkAt(ctx context.Context, version int64, end bool) error {
	o := w.fresh()
	if err := w.UpdateObject(o, uint64(version)); err != nil {
		return err
	}
	if end {
		if err := storage.AnnotateInitialEventsEndBookmark(o); err != nil {
			return err
		}
	}
	if err := w.durable(ctx, version); err != nil {
		return err
	}
	return w.send(ctx, watch.Event{Type: watch.Bookmark, Object: o})
}

// forward sends what a change is to this watch: what begins to be selected is added, what ceases to be is deleted.
func (w *watcher) forward(ctx context.Context, e state.Event) error {
	if !w.concerns(e.Object) {
		return nil
	}
	now, is, err := w.selected(e.Object)
	if err != nil {
		return err
	}
	if e.Type == state.Added {
		return w.sendIf(ctx, is, watch.Added, now)
	}
	was := true
	if !w.opts.Predicate.Empty() {
		if _, was, err = w.selected(e.Old); err != nil {
			return err
		}
	}
	switch {
	case e.Type == state.Deleted:
		return w.sendIf(ctx, was, watch.Deleted, now)
	case is && was:
		return w.sendIf(ctx, true, watch.Modified, now)
	case is:
		return w.sendIf(ctx, true, watch.Added, now)
	case was:
		// The client knows the object as it was; the version is that of the change.
		old := w.fresh()
		if err := w.decode(e.Old, old); err != nil {
			return err
		}
		if err := w.UpdateObject(old, uint64(e.Version)); err != nil {
			return err
		}
		return w.sendIf(ctx, true, watch.Deleted, old)
	}
	return nil
}

func (w *watcher) concerns(o state.Object) bool {
	p := w.place
	return !p.none && (p.namespace == "" || p.namespace == o.GetNamespace()) && (p.name == "" || p.name == o.GetName())
}

func (w *watcher) selected(o state.Object) (runtime.Object, bool, error) {
	into, err := w.shared.of(w.resource, o)
	if err != nil {
		return nil, false, err
	}
	if w.opts.Predicate.Empty() {
		return into, true, nil
	}
	matched, err := w.opts.Predicate.Matches(into.object)
	if err != nil {
		return nil, false, fmt.Errorf("select %s: %w", state.KeyOf(o), err)
	}
	return into, matched, nil
}

func (w *watcher) sendIf(ctx context.Context, wanted bool, kind watch.EventType, o runtime.Object) error {
	if !wanted {
		return nil
	}
	return w.send(ctx, watch.Event{Type: kind, Object: o})
}

func (w *watcher) send(ctx context.Context, e watch.Event) error {
	select {
	case w.results <- e:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
