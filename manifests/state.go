package manifests

import (
	"fmt"
	"maps"
	"slices"
	"sort"
)

type rootKey struct {
	app  int // index in the configuration
	path string
}

func (k rootKey) less(o rootKey) bool {
	if k.app != o.app {
		return k.app < o.app
	}
	return k.path < o.path
}

// root is what is known of one root. Roots are replaced, never changed, so
// that copies of the state may share them.
type root struct {
	key    rootKey
	kind   RootKind
	commit string   // where raw was rendered
	raw    []Object // as rendered last without a blocking problem
	deps   map[string]string
	stale  bool
	unseen bool      // stale because it cannot be seen; its app has the problem
	found  []Problem // of the last rendering

	objects  []Object  // those of raw that this root owns, sorted by id
	problems []Problem // found, and Duplicate for those it does not own
}

// claim is one root's wish to own an object.
type claim struct {
	root   rootKey
	object Object
}

func (c claim) before(o claim) bool {
	if c.root != o.root {
		return c.root.less(o.root)
	}
	return c.object.position < o.object.position
}

// touched is what a root was before the sync that is under way.
type touched struct {
	objects  []Object
	problems []Problem
	kind     RootKind
	stale    bool
	existed  bool
}

// state is all that a Cache knows at one commit.
type state struct {
	commit       string
	view         *view
	roots        map[rootKey]*root
	apps         []appState
	discovery    map[string]struct{}             // keys that the set of roots depends on
	users        map[string]map[rootKey]struct{} // dependency key → roots
	claims       map[ID][]claim                  // first owns
	troubled     map[rootKey]struct{}            // roots with problems
	pending      map[rootKey]struct{}            // still to be rendered
	again        map[rootKey]struct{}            // to be rendered again by the next sync
	touched      map[rootKey]touched
	rediscovered bool                 // the set of roots may differ from remembered
	remembered   [][]rememberedRoot   // the sets of roots last kept, by app
	scratch      bool                 // a copy: users is shared and left alone
	extra        map[string][]rootKey // of a copy: what its own renderings depend on, beside users
}

// appState is what concerns a whole app.
type appState struct {
	problems []Problem
	missing  bool // nothing of the app can be seen
}

func newState() state {
	return state{
		roots: map[rootKey]*root{}, users: map[string]map[rootKey]struct{}{}, claims: map[ID][]claim{},
		troubled: map[rootKey]struct{}{},
		pending:  map[rootKey]struct{}{}, again: map[rootKey]struct{}{}, touched: map[rootKey]touched{},
	}
}

// clone copies what one sync changes in place.
func (s *state) clone() state {
	out := *s
	out.roots = maps.Clone(s.roots)
	out.apps = slices.Clone(s.apps)
	out.scratch = true
	out.extra = maps.Clone(s.extra)   // the lists are replaced, never changed
	out.claims = maps.Clone(s.claims) // the lists are replaced, never changed
	out.troubled = maps.Clone(s.troubled)
	out.pending = maps.Clone(s.pending)
	out.again = maps.Clone(s.again)
	out.touched = maps.Clone(s.touched)
	return out
}

// sorted returns the keys of a map in the order of apps and paths.
func sorted[V any](m map[rootKey]V) []rootKey {
	keys := make([]rootKey, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Slice(keys, func(i, j int) bool { return keys[i].less(keys[j]) })
	return keys
}

// touch remembers what a root was before this sync.
func (s *state) touch(key rootKey) {
	if _, ok := s.touched[key]; ok {
		return
	}
	t := touched{}
	if r := s.roots[key]; r != nil {
		t = touched{objects: r.objects, problems: r.problems, kind: r.kind, stale: r.stale, existed: true}
	}
	s.touched[key] = t
}

// install takes the result of a rendering and returns the roots whose own
// results may differ by it: itself, and those that gain or lose an object.
func (s *state) install(apps []App, key rootKey, res outcome, commit string) []rootKey {
	s.touch(key)
	old := s.roots[key]
	next := *old
	next.found = slices.Clone(res.problems)
	for i := range next.found {
		next.found[i].Commit = firstSeen(old.found, next.found[i])
	}
	s.depend(key, old.deps, res.deps)
	next.deps = res.deps
	next.stale, next.unseen = res.blocked(), false
	if next.stale {
		s.roots[key] = &next
		return s.refresh(apps, map[rootKey]struct{}{key: {}})
	}
	next.raw, next.commit = res.objects, commit
	s.roots[key] = &next
	affected := s.reclaim(key, old.raw, next.raw)
	affected[key] = struct{}{}
	return s.refresh(apps, affected)
}

// drop takes a root out that is no longer part of its app.
func (s *state) drop(apps []App, key rootKey) {
	old := s.roots[key]
	s.touch(key)
	s.depend(key, old.deps, nil)
	affected := s.reclaim(key, old.raw, nil)
	delete(s.roots, key)
	delete(s.pending, key)
	delete(s.again, key)
	delete(s.troubled, key)
	delete(affected, key)
	s.refresh(apps, affected)
}

func (s *state) depend(key rootKey, old, next map[string]string) {
	if s.scratch {
		if s.extra == nil {
			s.extra = map[string][]rootKey{}
		}
		for dep := range next {
			if !slices.Contains(s.extra[dep], key) {
				s.extra[dep] = append(slices.Clip(s.extra[dep]), key)
			}
		}
		return
	}
	for dep := range old {
		if _, kept := next[dep]; !kept {
			if set := s.users[dep]; set != nil {
				delete(set, key)
				if len(set) == 0 {
					delete(s.users, dep)
				}
			}
		}
	}
	for dep := range next {
		set := s.users[dep]
		if set == nil {
			set = make(map[rootKey]struct{}, 1)
			s.users[dep] = set
		}
		set[key] = struct{}{}
	}
}

// reclaim replaces a root's claims and returns all roots that claim one of
// the objects concerned.
func (s *state) reclaim(key rootKey, old, next []Object) map[rootKey]struct{} {
	affected := map[rootKey]struct{}{}
	drop := func(id ID) {
		list := s.claims[id]
		if len(list) == 1 && list[0].root == key {
			delete(s.claims, id)
			return
		}
		var kept []claim
		for _, c := range list {
			if c.root != key {
				kept = append(kept, c)
				affected[c.root] = struct{}{}
			}
		}
		if len(kept) == 0 {
			delete(s.claims, id)
		} else {
			s.claims[id] = kept
		}
	}
	for _, o := range old {
		drop(o.ID)
	}
	for _, o := range next {
		list := append(slices.Clone(s.claims[o.ID]), claim{root: key, object: o})
		for _, c := range list {
			affected[c.root] = struct{}{}
		}
		if len(list) > 1 {
			sort.SliceStable(list, func(i, j int) bool { return list[i].before(list[j]) })
		}
		s.claims[o.ID] = list
	}
	return affected
}

// refresh computes anew which objects roots own.
func (s *state) refresh(apps []App, affected map[rootKey]struct{}) []rootKey {
	keys := sorted(affected)
	for _, key := range keys {
		s.touch(key)
		next := *s.roots[key]
		next.objects, next.problems = nil, slices.Clone(next.found)
		for _, o := range next.raw {
			owner := s.claims[o.ID][0]
			if owner.root == key && owner.object.position == o.position {
				next.objects = append(next.objects, o)
				continue
			}
			next.problems = append(next.problems, duplicate(apps[key.app], next.commit, o, apps[owner.root.app], owner.object))
		}
		sort.Slice(next.objects, func(i, j int) bool { return next.objects[i].ID.Less(next.objects[j].ID) })
		sort.SliceStable(next.problems, func(i, j int) bool { return next.problems[i].before(next.problems[j]) })
		s.roots[key] = &next
		if len(next.problems) > 0 {
			s.troubled[key] = struct{}{}
		} else {
			delete(s.troubled, key)
		}
	}
	return keys
}

func duplicate(app App, commit string, o Object, ownerApp App, owner Object) Problem {
	return Problem{
		Reason: Duplicate, Source: app.Source, App: app.Name, Root: clean(o.Root), Commit: commit,
		File: clean(o.File), Line: o.Line, ID: o.ID,
		Message: fmt.Sprintf("%s is already declared at %s (app %s): only that one is applied", o.ID, owner.where(), ownerApp.Name),
	}
}

// where is file:line, or the file of a result that has no line.
func (o Object) where() string {
	if o.Line > 0 {
		return fmt.Sprintf("%s:%d", clean(o.File), o.Line)
	}
	return clean(o.File)
}
