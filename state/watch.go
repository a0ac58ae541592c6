package state

import (
	"context"
	"slices"
	"sort"
	"sync"
)

// EventType says what happened to an object.
type EventType string

// The types of events.
const (
	Added    EventType = "ADDED"
	Modified EventType = "MODIFIED"
	Deleted  EventType = "DELETED"
)

// Event is one change of one object.
type Event struct {
	Type EventType
	// Object is the object after the change; when it was deleted, its last state, in the version of the deletion.
	Object Object
	// Old is the object before the change, nil when it was added.
	Old     Object
	Version int64

	key Key
}

// Key is the key of the object.
func (e Event) Key() Key { return KeyOf(e.Object) }

// history is a ring of the last events. Events are counted from 0; the place of one is its number modulo the size.
type history struct {
	ring  []Event
	size  int
	next  int64 // number of the next event
	start int64 // version at which the store was opened: nothing before it was ever here
	// lost says for each kind what is no longer in the ring, so that the changes of one kind do not push a watch
	// of another out of the history.
	lost map[Kind]lost
}

type lost struct{ number, version int64 }

func newHistory(size int, start int64) history {
	return history{size: size, start: start, lost: map[Kind]lost{}}
}

func (h *history) add(e Event) {
	if len(h.ring) < h.size {
		h.ring = append(h.ring, e)
	} else {
		place := &h.ring[h.next%int64(h.size)]
		h.lost[place.key.Kind] = lost{number: h.next - int64(h.size), version: place.Version}
		*place = e
	}
	h.next++
}

func (h *history) at(number int64) *Event { return &h.ring[number%int64(h.size)] }

func (h *history) first() int64 { return h.next - int64(len(h.ring)) }

// after is the number of the first kept event with a greater version.
func (h *history) after(version int64) int64 {
	first := h.first()
	return first + int64(sort.Search(len(h.ring), func(i int) bool { return h.at(first+int64(i)).Version > version }))
}

// Watch reads the changes of some kinds in their order. It is for one goroutine, and needs no closing.
type Watch struct {
	store *Store
	kinds []Kind
	set   kindSet
	after int64 // version
	next  int64 // number of the event to look at next
}

const maxBatch = 1024

// Watch begins to watch the kinds, or all when none is named, strictly after a version. It is ErrExpired when changes
// after that version are no longer kept.
func (s *Store) Watch(after int64, kinds ...Kind) (*Watch, error) {
	w := &Watch{store: s, kinds: kinds, after: after}
	for _, k := range kinds {
		if i := kindByName[k]; i != nil {
			w.set |= i.bit
		}
	}
	if len(kinds) == 0 {
		w.set = everyChange
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if after < s.history.start {
		return nil, ErrExpired
	}
	for kind, lost := range s.history.lost {
		if w.wants(kind) && lost.version > after {
			return nil, ErrExpired
		}
	}
	w.next = s.history.after(after)
	return w, nil
}

func (w *Watch) wants(kind Kind) bool {
	return len(w.kinds) == 0 || slices.Contains(w.kinds, kind)
}

// Next gives the changes since the last call, in their order, and waits for the first of them. It is ErrExpired when
// some are no longer kept, then and forever: list again, and begin another Watch.
func (w *Watch) Next(ctx context.Context) ([]Event, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		events, woken, err := w.read()
		if err != nil || len(events) > 0 {
			return events, err
		}
		select {
		case <-woken.changed:
		case <-ctx.Done():
			w.store.waiters.drop(woken)
			return nil, ctx.Err()
		}
	}
}

// read gives what is there, or else what to wait for.
func (w *Watch) read() ([]Event, *waiter, error) {
	w.store.mu.RLock()
	defer w.store.mu.RUnlock()
	h := &w.store.history
	for kind, lost := range h.lost {
		if w.wants(kind) && lost.number >= w.next {
			return nil, nil, ErrExpired
		}
	}
	var events []Event
	for w.next = max(w.next, h.first()); w.next < h.next && len(events) < maxBatch; w.next++ {
		if e := h.at(w.next); w.wants(e.key.Kind) && e.Version > w.after {
			events = append(events, *e)
		}
	}
	if len(events) > 0 {
		return events, nil, nil
	}
	if w.store.closed {
		return nil, nil, ErrClosed
	}
	return nil, w.store.waiters.add(w.set), nil
}

// WaitChange returns the version of the store once it is greater than the given one.
func (s *Store) WaitChange(ctx context.Context, after int64) (int64, error) {
	for {
		s.mu.RLock()
		version, closed := s.version, s.closed
		var woken *waiter
		if version <= after && !closed {
			woken = s.waiters.add(everyChange)
		}
		s.mu.RUnlock()
		switch {
		case version > after:
			return version, nil
		case closed:
			return version, ErrClosed
		}
		select {
		case <-woken.changed:
		case <-ctx.Done():
			s.waiters.drop(woken)
			return version, ctx.Err()
		}
	}
}

// waiters are the goroutines that wait for a change. One is added while the store cannot change (under its lock, for
// reading at least) and woken once.
type waiters struct {
	mu   sync.Mutex
	list map[*waiter]struct{}
}

type waiter struct {
	kinds   kindSet
	changed chan struct{}
}

func (ws *waiters) add(kinds kindSet) *waiter {
	w := &waiter{kinds: kinds, changed: make(chan struct{})}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.list == nil {
		ws.list = map[*waiter]struct{}{}
	}
	ws.list[w] = struct{}{}
	return w
}

func (ws *waiters) drop(w *waiter) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	delete(ws.list, w)
}

// wake wakes those who wait for one of the kinds, and those who wait for every change.
func (ws *waiters) wake(kinds kindSet) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for w := range ws.list {
		if kinds == everyChange || w.kinds == everyChange || w.kinds&kinds != 0 {
			close(w.changed)
			delete(ws.list, w)
		}
	}
}
