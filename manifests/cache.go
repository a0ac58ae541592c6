package manifests

import (
	"context"
	"fmt"
	"sort"
	"strings"
	"sync"

	"github.com/belay-dev/belay/manifests/schema"
)

// Blobs keeps rendered results between runs of the program. What Put stored,
// Get returns; a blob that is gone or damaged is only rendered again, so Put
// need not last. Put of an empty value removes. Both may be called from several
// goroutines.
type Blobs interface {
	Get(key string) ([]byte, bool)
	Put(key string, value []byte) error
}

// Cache holds the rendered roots of one source's apps at one commit and moves
// from commit to commit by rendering only roots whose inputs differ. It is safe
// for concurrent use; a Sync waits for the one before it.
type Cache struct {
	apps    []App
	opts    Options
	version string // of the rendering

	syncing sync.Mutex // held by Sync from start to end

	// Shared with the forks.
	nodes     *sync.Mutex // guards what views fill in
	inspected *inspections
	mu        *sync.Mutex // guards state, and is never held while rendering

	state
}

// Options are the optional collaborators of a Cache.
type Options struct {
	// Blobs keeps results for the next start; nil keeps none.
	Blobs Blobs
	// Publish is called for every root as soon as its result has changed, while
	// the Sync goes on. An object that is missing from it may still turn up in
	// another root: only the Update that Sync returns tells what is gone.
	Publish func(RootResult)
	// Survey finds what whoever runs the objects cannot honour.
	Survey Survey
}

// Survey finds what of an object whoever runs it cannot honour: problems
// Unsupported at their places, while the object is applied. The zero value
// finds nothing.
type Survey struct {
	// By names all that Of's answers depend on besides the object. Results that
	// were kept by another are rendered anew.
	By string
	// Of is asked once for each object that is rendered, and must not change it.
	Of func(schema.Object) []Finding
}

// Finding is a field that is not honoured, by its path as validation errors
// write it, and why.
type Finding struct {
	Field   string
	Message string
}

// NewCache returns an empty cache for the apps of one source, in the order of
// the configuration. Before the first Sync it holds nothing.
func NewCache(apps []App, opts Options) *Cache {
	return &Cache{
		apps: append([]App(nil), apps...), opts: opts, version: strings.TrimSpace(renderVersion() + " " + opts.Survey.By), state: newState(),
		nodes: new(sync.Mutex), inspected: new(inspections), mu: new(sync.Mutex),
	}
}

// Sync moves the cache to a tree and returns what changed since the last Sync
// that succeeded. With an error (the tree cannot be read, ctx is done) the
// results of roots already rendered stay, and the next Sync goes on from there.
func (c *Cache) Sync(ctx context.Context, tree Tree, commit string) (Update, error) {
	c.syncing.Lock()
	defer c.syncing.Unlock()
	return c.sync(ctx, &c.state, tree, commit, work{background: true, publish: c.opts.Publish, keep: true})
}

// Preview returns what Sync would, and changes nothing.
func (c *Cache) Preview(ctx context.Context, tree Tree, commit string) (Update, error) {
	c.mu.Lock()
	s := c.state.clone()
	c.mu.Unlock()
	s.touched = map[rootKey]touched{}
	return c.sync(ctx, &s, tree, commit, work{})
}

// Fork returns a cache of its own that is at a tree: what c would hold after a
// Sync, without touching c. It shares all that is equal and keeps nothing
// between runs of the program, so that several trees can be compared with one.
func (c *Cache) Fork(ctx context.Context, tree Tree, commit string) (*Cache, error) {
	c.mu.Lock()
	s := c.state.clone()
	c.mu.Unlock()
	s.touched = map[rootKey]touched{}
	f := &Cache{apps: c.apps, opts: Options{Survey: c.opts.Survey}, version: c.version, nodes: c.nodes, inspected: c.inspected, mu: c.mu, state: s}
	if _, err := f.sync(ctx, &f.state, tree, commit, work{}); err != nil {
		return nil, err
	}
	return f, nil
}

// Apps returns the apps, in the order of the configuration.
func (c *Cache) Apps() []App { return append([]App(nil), c.apps...) }

// work says how a sync is done.
type work struct {
	background bool // lets interactive rendering go first
	publish    func(RootResult)
	keep       bool // writes results to the blobs
}

func (c *Cache) sync(ctx context.Context, s *state, tree Tree, commit string, w work) (Update, error) {
	gone, err := c.move(s, tree, commit)
	if err != nil {
		return Update{}, fmt.Errorf("commit %s: %w", short(commit), err)
	}
	if w.keep {
		for _, key := range gone {
			c.forget(key)
		}
		c.remember(s)
	}
	rendered := 0
	for _, key := range sorted(s.pending) {
		if err := ctx.Err(); err != nil {
			return Update{}, err
		}
		fresh, affected, err := c.renew(ctx, s, key, commit, w)
		if err != nil {
			return Update{}, err
		}
		if fresh {
			rendered++
		}
		if w.publish != nil {
			for _, k := range affected {
				if u, changed := s.changedRoot(k, c.apps); changed {
					w.publish(u)
				}
			}
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return s.finish(c.apps, commit, rendered), nil
}

// renew brings one root to the state's tree: from its record when that holds,
// else by rendering.
func (c *Cache) renew(ctx context.Context, s *state, key rootKey, commit string, w work) (fresh bool, affected []rootKey, err error) {
	var before []Object
	if r := s.roots[key]; r.deps == nil && r.raw == nil {
		holds, old, err := c.recall(s, key)
		if err != nil {
			return false, nil, fmt.Errorf("commit %s: %w", short(commit), err)
		}
		if holds {
			c.mu.Lock()
			delete(s.pending, key)
			c.mu.Unlock()
			return false, []rootKey{key}, nil
		}
		before = old
	}
	res, err := c.render(ctx, s, s.roots[key], commit, w)
	if err != nil {
		return false, nil, err
	}
	if before != nil && !res.blocked() {
		res.problems = append(res.problems, stamped(renderChanges(c.apps[key.app], before, res.objects), commit)...)
	}
	c.mu.Lock()
	affected = s.install(c.apps, key, res, commit)
	delete(s.pending, key)
	if res.retry {
		s.again[key] = struct{}{}
	}
	r := s.roots[key]
	c.mu.Unlock()
	if w.keep {
		c.save(r)
	}
	return true, affected, nil
}

// render renders a root anew.
func (c *Cache) render(ctx context.Context, s *state, r *root, commit string, w work) (res outcome, err error) {
	d := &decoder{app: c.apps[r.key.app], root: r.key.path, survey: c.opts.Survey.Of}
	switch r.kind {
	case Plain:
		res = renderPlain(s.view, d)
	case Kustomize:
		res, err = renderKustomize(ctx, kustomizeRuns, s.view, c.inspected, d, w.background)
	}
	res.problems = stamped(res.problems, commit)
	return res, err
}

func stamped(problems []Problem, commit string) []Problem {
	for i := range problems {
		problems[i].Commit = commit
	}
	return problems
}

// Roots returns all roots with their current results, in the order of apps and
// paths. Before is left empty.
func (c *Cache) Roots() []RootResult {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]RootResult, 0, len(c.roots))
	for _, key := range sorted(c.roots) {
		out = append(out, c.roots[key].result(c.apps))
	}
	return out
}

// Object returns the object with an id, if a root owns one.
func (c *Cache) Object(id ID) (Object, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	claims := c.claims[id]
	if len(claims) == 0 {
		return Object{}, false
	}
	return claims[0].object, true
}

// Objects returns every object that a root owns, sorted by id.
func (c *Cache) Objects() []Object {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]Object, 0, len(c.claims))
	for _, claims := range c.claims {
		out = append(out, claims[0].object)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].ID.Less(out[j].ID) })
	return out
}

// Problems returns all problems there are, in the order of apps and files.
func (c *Cache) Problems() []Problem {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state.problems()
}

// Stale tells whether something of an app could not be rendered at the newest
// commit, so that an object which is missing from it may still be meant to be.
func (c *Cache) Stale(app string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.state.apps {
		if c.apps[i].Name == app && c.state.apps[i].missing {
			return true
		}
	}
	for key := range c.troubled {
		if c.apps[key.app].Name == app && c.roots[key].stale {
			return true
		}
	}
	return false
}

// Commit returns the commit the cache is at, empty before the first Sync.
func (c *Cache) Commit() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state.commit
}

func short(commit string) string {
	if len(commit) > 7 {
		return commit[:7]
	}
	return commit
}
