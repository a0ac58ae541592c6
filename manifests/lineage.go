package manifests

import (
	"maps"
	"path"
	"slices"
)

// Lineage follows objects of one tree back through older and older ones by the
// hashes of what they are rendered from, and renders nothing. Of a plain root
// that is the object's own file; of a kustomization it is everything that the
// whole root read or looked for. While none of it differs, the root declares
// the same object. It is for one goroutine.
type Lineage struct {
	view   *view
	values map[string]string // of the dependency keys (see reader) that matter
	users  map[string][]ID   // dependency key → objects still followed
	left   map[ID]struct{}
}

// Lineage begins at the cache's tree. Objects that no root declares there, or
// only one that does not render, are not followed.
func (c *Cache) Lineage(ids []ID) (*Lineage, error) {
	c.mu.Lock()
	s := c.state.clone()
	c.mu.Unlock()
	l := &Lineage{view: s.view, values: map[string]string{}, users: map[string][]ID{}, left: map[ID]struct{}{}}
	if s.view == nil {
		return l, nil
	}
	for _, id := range ids {
		claims := s.claims[id]
		if len(claims) == 0 || s.roots[claims[0].root].stale {
			continue
		}
		keys, err := s.madeFrom(c.apps[claims[0].root.app], claims[0])
		if err != nil {
			return nil, err
		}
		l.left[id] = struct{}{}
		for _, key := range keys {
			if err := l.watch(key, id); err != nil {
				return nil, err
			}
		}
	}
	return l, nil
}

// madeFrom lists the dependency keys that decide what an object of a root is,
// and that it belongs to that root.
func (s *state) madeFrom(app App, c claim) ([]string, error) {
	r := s.roots[c.root]
	keys := r.deps
	top, last := path.Clean("/" + app.Path)[1:], r.key.path
	if r.kind == Plain {
		reader := s.view.reader()
		if _, err := reader.resolve(c.object.File); err != nil {
			return nil, err
		}
		keys = reader.deps
	}
	out := slices.Collect(maps.Keys(keys))
	// A kustomization in a directory above would take the root's place, and one
	// beside a plain file too.
	for dir := last; within(dir, top); dir = parentOf(dir) {
		if r.kind == Plain || dir != last {
			for _, name := range kustomizationNames {
				out = append(out, path.Join(dir, name))
			}
		}
		if dir == "" {
			break
		}
	}
	return out, nil
}

// watch takes the value that a dependency key has now. It also opens the
// directories on the way, so that going back looks into them.
func (l *Lineage) watch(key string, id ID) error {
	if _, known := l.values[key]; !known {
		value, err := l.view.dependency(key)
		if err != nil {
			return err
		}
		l.values[key] = value
	}
	l.users[key] = append(l.users[key], id)
	return nil
}

// Back goes to an older tree and returns, sorted, the objects for which
// something there differs from where the lineage began. They are not followed
// any further. It costs what changed between the tree and the one before.
func (l *Lineage) Back(tree Tree) ([]ID, error) {
	if l.view == nil {
		return nil, nil
	}
	next, changed, err := l.view.advance(tree)
	if err != nil {
		return nil, err
	}
	differ := map[ID]struct{}{}
	for key := range changed.keys {
		users := l.users[key]
		if len(users) == 0 {
			continue
		}
		value, err := next.dependency(key)
		if err != nil {
			return nil, err
		}
		if value == l.values[key] {
			continue
		}
		delete(l.users, key)
		for _, id := range users {
			if _, followed := l.left[id]; followed {
				differ[id] = struct{}{}
			}
		}
	}
	for id := range differ {
		delete(l.left, id)
	}
	l.view = next
	return sortedIDs(differ), nil
}

// Left lists the objects that are still followed, sorted.
func (l *Lineage) Left() []ID { return sortedIDs(l.left) }

func sortedIDs(ids map[ID]struct{}) []ID {
	return slices.SortedFunc(maps.Keys(ids), func(a, b ID) int {
		switch {
		case a.Less(b):
			return -1
		case b.Less(a):
			return 1
		}
		return 0
	})
}
