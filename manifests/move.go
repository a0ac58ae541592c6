package manifests

import (
	"fmt"
	"slices"
	"sort"
)

// move brings the state to another tree: it finds what differs, the roots that
// exist there, which of them have to be rendered, and which are gone. It changes
// nothing when the tree cannot be read.
func (c *Cache) move(s *state, tree Tree, commit string) (gone []rootKey, err error) {
	var next *view
	dirty := &changes{keys: map[string]struct{}{}, structural: true}
	if s.view == nil {
		next, err = newView(tree, c.nodes)
	} else {
		next, dirty, err = s.view.advance(tree)
	}
	if err != nil {
		return nil, err
	}
	for key := range dirty.keys {
		if _, ok := s.discovery[key]; ok {
			dirty.structural = true
		}
	}
	dirty.structural = dirty.structural || next.reclassified(dirty.edited)
	var found []discovered
	if dirty.structural {
		for _, app := range c.apps {
			d, err := discover(next, app)
			if err != nil {
				return nil, fmt.Errorf("app %s: %w", app.Name, err)
			}
			found = append(found, d)
		}
	}
	var unseen map[rootKey]*root
	if s.view == nil {
		unseen = c.unseenRoots(found)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, r := range unseen {
		s.touch(key)
		s.roots[key] = r
		s.reclaim(key, nil, r.raw)
	}
	s.commit, s.view = commit, next
	s.look(dirty)
	if dirty.structural {
		gone = s.adopt(c.apps, found, commit)
	}
	return gone, nil
}

// look marks the roots that have to be rendered again.
func (s *state) look(dirty *changes) {
	for key := range dirty.keys {
		for root := range s.users[key] {
			if s.roots[root] != nil { // a copy may have dropped it
				s.pending[root] = struct{}{}
			}
		}
		for _, root := range s.extra[key] {
			if s.roots[root] != nil {
				s.pending[root] = struct{}{}
			}
		}
	}
	for key := range s.again {
		s.pending[key] = struct{}{}
	}
	clear(s.again)
}

// adopt takes over the set of roots that was found.
func (s *state) adopt(apps []App, found []discovered, commit string) (gone []rootKey) {
	s.discovery, s.rediscovered = map[string]struct{}{}, true
	old := s.apps
	s.apps = make([]appState, len(apps))
	exists := map[rootKey]RootKind{}
	for i, d := range found {
		for key := range d.deps {
			s.discovery[key] = struct{}{}
		}
		for _, r := range d.roots {
			exists[rootKey{i, r.path}] = r.kind
		}
		problems := slices.Clone(d.problems)
		for _, b := range d.blocked {
			problems = append(problems, b.problem)
		}
		for _, p := range problems {
			p.Source, p.App, p.Commit = apps[i].Source, apps[i].Name, commit
			if len(old) > i {
				p.Commit = firstSeen(old[i].problems, p)
			}
			s.apps[i].problems = append(s.apps[i].problems, p)
		}
		s.apps[i].missing = len(d.problems) > 0
		sort.SliceStable(s.apps[i].problems, func(a, b int) bool { return s.apps[i].problems[a].before(s.apps[i].problems[b]) })
	}
	for _, key := range sorted(s.roots) {
		if _, ok := exists[key]; ok {
			continue
		}
		if why := unseen(found[key.app], key.path); why != nil {
			s.keepStale(apps, key, *why, commit)
			continue
		}
		s.drop(apps, key)
		gone = append(gone, key)
	}
	for key, kind := range exists {
		switch r := s.roots[key]; {
		case r == nil:
			s.touch(key)
			s.roots[key] = &root{key: key, kind: kind}
			s.pending[key] = struct{}{}
		case r.kind != kind:
			s.touch(key)
			next := *r
			next.kind = kind
			s.roots[key] = &next
			s.pending[key] = struct{}{}
		case r.deps == nil: // was kept stale while it could not be seen
			s.pending[key] = struct{}{}
		}
	}
	return gone
}

// firstSeen keeps the commit at which a problem that still exists came up.
func firstSeen(old []Problem, p Problem) string {
	for _, o := range old {
		was := o
		was.Commit = p.Commit
		if was == p {
			return o.Commit
		}
	}
	return p.Commit
}

// unseen tells why a root that was not found may nevertheless exist.
func unseen(d discovered, path string) *Problem {
	if len(d.problems) > 0 {
		return &d.problems[0]
	}
	for i := range d.blocked {
		if within(path, d.blocked[i].path) {
			return &d.blocked[i].problem
		}
	}
	return nil
}

// keepStale keeps the last good objects of a root that cannot be seen.
func (s *state) keepStale(apps []App, key rootKey, why Problem, commit string) {
	s.touch(key)
	next := *s.roots[key]
	s.depend(key, next.deps, nil)
	why.Source, why.App, why.Root, why.Commit = apps[key.app].Source, apps[key.app].Name, clean(key.path), commit
	why.Commit = firstSeen(next.found, why)
	next.deps, next.stale, next.unseen, next.found = nil, true, true, []Problem{why}
	s.roots[key] = &next
	delete(s.pending, key)
	delete(s.again, key)
	s.refresh(apps, map[rootKey]struct{}{key: {}})
}

// result is the current result of a root.
func (r *root) result(apps []App) RootResult {
	return RootResult{
		App: apps[r.key.app].Name, Path: r.key.path, Kind: r.kind, Commit: r.commit,
		Objects: r.objects, Problems: r.problems, Stale: r.stale,
	}
}

// changedRoot compares a root with what it was before this sync.
func (s *state) changedRoot(key rootKey, apps []App) (RootResult, bool) {
	was, r := s.touched[key], s.roots[key]
	if r == nil {
		out := RootResult{App: apps[key.app].Name, Path: key.path, Kind: was.kind, Before: was.objects, Gone: true}
		return out, was.existed
	}
	out := r.result(apps)
	out.Before = was.objects
	out.KindChanged = was.existed && was.kind != r.kind
	same := was.existed && was.kind == r.kind && was.stale == r.stale &&
		slices.EqualFunc(was.objects, r.objects, Object.same) && slices.Equal(was.problems, r.problems)
	return out, !same
}

// finish builds the update and forgets what was before.
func (s *state) finish(apps []App, commit string, rendered int) Update {
	u := Update{Commit: commit, Rendered: rendered, Problems: s.problems()}
	for _, key := range sorted(s.touched) {
		if r, changed := s.changedRoot(key, apps); changed {
			u.Roots = append(u.Roots, r)
		}
		if r := s.roots[key]; r != nil && r.stale {
			u.Stale = append(u.Stale, r.result(apps))
		}
	}
	clear(s.touched)
	return u
}

// problems lists those of apps and roots in the order of the configuration.
func (s *state) problems() []Problem {
	keys := sorted(s.troubled)
	var out []Problem
	for i, next := 0, 0; i < len(s.apps); i++ {
		out = append(out, s.apps[i].problems...)
		for ; next < len(keys) && keys[next].app == i; next++ {
			if r := s.roots[keys[next]]; !r.unseen { // the app's problem says it once for all
				out = append(out, r.problems...)
			}
		}
	}
	return out
}
