package api

import (
	"sync"

	"github.com/belay-dev/belay/state"
)

// sharedObjects bounds how many objects of a resource are kept converted for the watches that are about to send them.
const sharedObjects = 256

// shared are the objects that watches sent last, as the registry has them: one change is converted once, however many
// watch. Stored objects never change, so that each is known by its place in memory.
type shared struct {
	mu    sync.Mutex // guards all below
	known map[state.Object]*converted
	order [sharedObjects]state.Object
	next  int
}

type converted struct {
	once   sync.Once
	object *encodable
	err    error
}

// of is an object as the registry has it. Nobody may modify it.
func (s *shared) of(r resource, o state.Object) (*encodable, error) {
	c := s.entry(o)
	c.once.Do(func() {
		object := r.fresh()
		c.err = r.decode(o, object)
		c.object = &encodable{object: object}
	})
	return c.object, c.err
}

func (s *shared) entry(o state.Object) *converted {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, ok := s.known[o]; ok {
		return c
	}
	if s.known == nil {
		s.known = map[state.Object]*converted{}
	}
	delete(s.known, s.order[s.next])
	c := &converted{}
	s.known[o], s.order[s.next] = c, o
	s.next = (s.next + 1) % sharedObjects
	return c
}
