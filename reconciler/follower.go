package reconciler

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/belay-dev/belay/manifests"
	"github.com/belay-dev/belay/reconciler/engine"
	"github.com/belay-dev/belay/reconciler/rollback"
	"github.com/belay-dev/belay/reconciler/rollout"
	"github.com/belay-dev/belay/state"
)

// follower is what the loop knows of one source. All but the channels and edits is the loop goroutine's own; what the cache and
// desired hold changes only while the token is taken.
type follower struct {
	Source
	token     chan struct{} // full while the repository and the cache are in use
	recalling chan struct{} // full when there may be a past to record
	looked    chan struct{} // closed when the first look has ended
	writing   chan struct{} // full when there may be a change to make in Git
	pushing   chan struct{} // full while a change is being pushed
	gone      chan struct{} // closed when the loop follows it no longer
	stop      func()        // ends its goroutines and waits for them; set when they begin

	cursor  state.Cursor
	based   bool // the cache stands at the cursor's commit
	desired map[engine.Key]*Desired
	stale   map[string]bool // roots that do not render, by app and path

	head     string
	lastPoll time.Time
	err      error
	asked    SyncOptions // of the look under way
	openings openings
	edits    allowance // safe for all
}

func newFollower(s Source) *follower {
	return &follower{
		Source: s, token: make(chan struct{}, 1), recalling: make(chan struct{}, 1), looked: make(chan struct{}),
		writing: make(chan struct{}, 1), pushing: make(chan struct{}, 1), gone: make(chan struct{}), stop: func() {},
		desired: map[engine.Key]*Desired{}, stale: map[string]bool{},
	}
}

// ErrSuspended is returned when a person asks a suspended source to sync.
var ErrSuspended = errors.New("source is suspended")

// alone waits until nobody else uses the repository and the cache.
func (f *follower) alone(ctx context.Context) error {
	select {
	case f.token <- struct{}{}:
		return nil
	case <-f.gone:
		return fmt.Errorf("%w: %q", ErrNoSource, f.Name)
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *follower) release() { <-f.token }

// polled takes what a poll found: it records new steps and plans what they changed.
func (l *Loop) polled(ctx context.Context, f *follower, head string, err error, asked SyncOptions) error {
	defer l.publish(f)
	defer f.ended()
	f.lastPoll = l.o.Now()
	if err != nil {
		l.sourceError(f, err)
		l.baseUnseen(ctx, f)
		return err
	}
	f.head = head
	keys, err := l.take(ctx, f)
	l.sourceError(f, err)
	if err != nil {
		return err
	}
	f.remember()
	if f.cursor.Suspended {
		if asked.Prune || asked.AcceptRender || asked.OverrideWindow != "" {
			return ErrSuspended
		}
		return nil
	}
	if asked.AcceptRender || asked.OverrideWindow != "" {
		keys = f.keys()
	}
	for k := range l.work.prune {
		keys = append(keys, k)
	}
	f.asked = asked
	l.pass(ctx, keys)
	f.asked = SyncOptions{}
	if asked.Prune {
		return l.prunesAsked(f)
	}
	return nil
}

// ended notes that the first look has ended.
func (f *follower) ended() {
	select {
	case <-f.looked:
	default:
		close(f.looked)
	}
}

// baseUnseen goes on from what was recorded when the remote cannot be seen: its mirror has it.
func (l *Loop) baseUnseen(ctx context.Context, f *follower) {
	if f.based || f.cursor.Commit == "" {
		return
	}
	if err := l.base(ctx, f); err != nil {
		return // the mirror is gone too; the next look that sees the remote goes on
	}
	f.based = true
	l.pass(ctx, l.allKeys(f))
}

// prunesAsked ends what made every prune of the source wait for a person.
func (l *Loop) prunesAsked(f *follower) error {
	if f.cursor.PruneWaits == "" {
		return nil
	}
	c := f.cursor
	c.PruneWaits = ""
	if _, err := l.o.Store.Commit(state.PutCursor(c)); err != nil {
		return fmt.Errorf("record the cursor: %w", err)
	}
	f.cursor = c
	return nil
}

// sourceError remembers a source's error and logs it when it is news.
func (l *Loop) sourceError(f *follower, err error) {
	switch {
	case err == nil && f.err != nil:
		l.o.Log.Info().Str("source", f.Name).Msg("recovered")
		l.kick(f.Name)
	case err != nil && (f.err == nil || f.err.Error() != err.Error()):
		line := l.o.Log.Warn().Str("source", f.Name).Err(err)
		if h, ok := errors.AsType[interface {
			error
			Hint() string
		}](err); ok {
			line = line.Str("hint", h.Hint())
		}
		line.Msg("not synced")
	}
	f.err = err
}

// take brings the cache to the head, records the steps that led there, and returns the keys to plan. A suspended
// source's cache stays at its cursor.
func (l *Loop) take(ctx context.Context, f *follower) ([]engine.Key, error) {
	keys, err := l.begun(ctx, f)
	if err != nil || f.cursor.Suspended || f.head == f.cursor.Commit {
		return keys, err
	}
	steps, err := f.Repository.Steps(ctx, f.cursor.Commit, f.head)
	if err != nil {
		return nil, fmt.Errorf("list commits: %w", err)
	}
	var rendered []Rendered
	for _, st := range steps {
		r, err := f.render(ctx, st)
		if err != nil {
			l.unwind(ctx, f)
			return nil, fmt.Errorf("render %s: %w", short(st.Hash), err)
		}
		r.Deltas = l.owned(r.Deltas)
		l.nameConfigs(r.Deltas)
		rendered = append(rendered, r)
		for _, d := range r.Deltas {
			keys = append(keys, d.Key)
		}
	}
	released, err := l.record(f, rendered)
	if err != nil {
		l.unwind(ctx, f)
		return nil, err
	}
	keys = append(keys, released...)
	l.reconsider(f)
	synced(l.o.Log, f.Name, f.cursor.Commit, rendered, len(keys))
	return keys, nil
}

// unwind brings the cache back to the cursor after a commit that could not be recorded: what is not in the ledger must
// neither be carried out nor end a hold. Where that fails the next look does it.
func (l *Loop) unwind(ctx context.Context, f *follower) { f.based = l.base(ctx, f) == nil }

// begun brings the cache to the cursor, where it is not yet, and returns all that is to be planned then.
func (l *Loop) begun(ctx context.Context, f *follower) ([]engine.Key, error) {
	if f.based || f.cursor.Commit == "" {
		f.based = true
		return nil, nil
	}
	if err := l.base(ctx, f); err != nil {
		return nil, err
	}
	keys := l.allKeys(f)
	for _, k := range keys {
		l.noteShared(k)
	}
	if !f.cursor.Suspended {
		more, err := l.added(ctx, f)
		if err != nil {
			return nil, err
		}
		keys = append(keys, more...)
	}
	f.based = true
	return keys, nil
}

// record makes steps durable with the cursor at the last of them. It gives the Deployments of which they end a hold or
// a mark.
func (l *Loop) record(f *follower, rendered []Rendered) ([]engine.Key, error) {
	marks, holds := l.releasable(f, rendered)
	rec := Record(RecordInput{
		Source: f.Name, Cursor: f.cursor, Steps: rendered, Now: l.o.Now(), Managed: l.o.Store.Managed, Marks: marks, Holds: holds,
		Waiting: func(k engine.Key) (state.Row, bool) {
			rows := l.o.Store.Rows(k.Namespace, k.Name)
			if i := target(rows); i >= 0 {
				return rows[i], true
			}
			return state.Row{}, false
		},
	})
	f.lastGood(&rec.Cursor)
	if f.cursor.Step == 0 && f.Import > 0 {
		rec.Cursor.Past = &state.Past{Commit: rendered[0].Step.Hash}
	}
	if _, err := l.o.Store.Commit(rec.Writes()...); err != nil {
		return nil, fmt.Errorf("record commits: %w", err)
	}
	f.cursor = rec.Cursor
	for _, r := range rec.Rows {
		if stored, ok := l.o.Store.Row(r.ID); ok {
			l.work.note(stored)
		}
	}
	return l.released(rec), nil
}

// base brings the cache to the cursor's commit without recording anything: what is rendered there is what runs
// ought to be. Roots that do not render there are taken from their last good commit.
func (l *Loop) base(ctx context.Context, f *follower) error {
	var earlier []string
	for _, c := range f.cursor.Roots {
		earlier = append(earlier, c)
	}
	slices.Sort(earlier)
	for _, c := range append(slices.Compact(earlier), f.cursor.Commit) {
		if _, err := f.render(ctx, Step{Hash: c}); err != nil {
			return fmt.Errorf("render %s again: %w", short(c), err)
		}
	}
	for k, d := range f.desired {
		if m, ok := l.o.Store.Managed(k); ok {
			d.Commit = m.Commit
		}
	}
	return nil
}

// lastGood notes the last good commit of the roots that are stale at the cursor.
func (f *follower) lastGood(c *state.Cursor) {
	before := c.Roots
	c.Roots = nil
	if len(f.stale) == 0 {
		return
	}
	for _, r := range f.Cache.Roots() {
		id := rootID(r.App, r.Path)
		if !f.stale[id] || r.Commit == "" {
			continue
		}
		if c.Roots == nil {
			c.Roots = map[string]string{}
		}
		c.Roots[id] = r.Commit
		if old, ok := before[id]; ok && r.Commit == c.Commit {
			c.Roots[id] = old
		}
	}
}

func rootID(app, path string) string { return app + "\x00" + path }

// render brings the cache to one step and returns what it changed.
func (f *follower) render(ctx context.Context, st Step) (Rendered, error) {
	tree, err := f.Repository.Tree(st.Hash)
	if err != nil {
		return Rendered{}, err
	}
	up, err := f.Cache.Sync(ctx, tree, st.Hash)
	if err != nil {
		return Rendered{}, err
	}
	out := Rendered{Step: st, Unrendered: unrendered(up.Problems, st.Hash)}
	out.Invalid = len(out.Unrendered) > 0
	before := f.takeOut(up.Roots, &out)
	f.putIn(up.Roots, st.Hash, before)
	for k, old := range before {
		d := Delta{Key: k, Before: old, After: f.desired[k]}
		if old == nil || d.After == nil || !samePlace(old.Manifest, d.After.Manifest) {
			out.Deltas = append(out.Deltas, d)
		}
	}
	slices.SortFunc(out.Deltas, func(a, b Delta) int { return compareKeys(a.Key, b.Key) })
	return out, nil
}

// takeOut removes what changed roots declared, notes what is said about the roots, and returns what was removed.
func (f *follower) takeOut(roots []manifests.RootResult, out *Rendered) map[engine.Key]*Desired {
	before := map[engine.Key]*Desired{}
	for _, r := range roots {
		id := rootID(r.App, r.Path)
		delete(f.stale, id)
		if r.Stale {
			f.stale[id] = true
		}
		out.Invalid = out.Invalid || slices.ContainsFunc(r.Problems, func(p manifests.Problem) bool { return p.Reason.Blocks() })
		out.KindChanged = out.KindChanged || r.KindChanged
		for _, o := range r.Before {
			k := keyOf(o.ID)
			if d := f.desired[k]; d != nil && d.Manifest.App == r.App && d.Manifest.Root == r.Path {
				before[k] = d
				delete(f.desired, k)
			}
		}
	}
	return before
}

// putIn takes up what changed roots declare now. An object that was not among those removed is added there as nil,
// or as what another root declared of it.
func (f *follower) putIn(roots []manifests.RootResult, commit string, before map[engine.Key]*Desired) {
	for _, r := range roots {
		for _, o := range r.Objects {
			k := keyOf(o.ID)
			if before[k] == nil {
				before[k] = f.desired[k]
			}
			d := f.want(o, commit)
			if old := before[k]; old != nil && old.Manifest.Digest == d.Manifest.Digest {
				d.Commit = old.Commit
			}
			f.desired[k] = d
		}
	}
}

// samePlace reports whether two declarations are the same object at the same place.
func samePlace(a, b manifests.Object) bool {
	return a.Digest == b.Digest && a.App == b.App && a.Root == b.Root && a.File == b.File && a.Line == b.Line && a.NoReplicas == b.NoReplicas
}

func keyOf(id manifests.ID) engine.Key {
	return engine.Key{Kind: state.Kind(id.Kind), Namespace: id.Namespace, Name: id.Name}
}

// want turns a rendered object into what the plan compares.
func (f *follower) want(o manifests.Object, commit string) *Desired {
	d := &Desired{Manifest: o, Source: f.Name, Commit: commit, KeepReplicas: o.NoReplicas}
	if dep, ok := o.Object.(*appsv1.Deployment); ok {
		d.Template = rollout.Digest(&dep.Spec.Template)
		if d.Bare = d.Template; dep.Spec.Template.Annotations[rollback.Restarted] != "" {
			d.Bare = rollback.Bare(&dep.Spec.Template)
		}
	}
	return d
}

// keys lists every object that the source wants.
func (f *follower) keys() []engine.Key {
	keys := make([]engine.Key, 0, len(f.desired))
	for k := range f.desired {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, compareKeys)
	return keys
}

// configures reports whether an app is in the configuration.
func (f *follower) configures(app string) bool {
	return slices.ContainsFunc(f.Apps, func(a App) bool { return a.Name == app })
}

// allKeys lists every object that the source wants or manages. Objects of apps that left the configuration are
// not among them: they keep running.
func (l *Loop) allKeys(f *follower) []engine.Key {
	keys := f.keys()
	for _, m := range l.o.Store.Inventory(f.Name) {
		if f.desired[m.Key] == nil && f.configures(m.App) {
			keys = append(keys, m.Key)
		}
	}
	return keys
}

// facts gathers what a plan must know of the source; counts of its apps only where something may be pruned.
func (f *follower) facts(s *state.Store, counts bool) SourceFacts {
	facts := SourceFacts{
		Suspended: f.cursor.Suspended, Stale: len(f.stale) > 0, PruneWaits: Reason(f.cursor.PruneWaits),
		PruneAsked: f.asked.Prune, AcceptRender: f.asked.AcceptRender, NoPrune: map[string]bool{},
		AppObjects: map[string]int{}, AppRemoved: map[string]int{}, Override: f.asked.OverrideWindow,
	}
	for _, a := range f.Apps {
		facts.NoPrune[a.Name] = !a.Prune
	}
	if !counts {
		return facts
	}
	for _, m := range s.Inventory(f.Name) {
		facts.AppObjects[m.App]++
		if f.desired[m.Key] == nil {
			facts.AppRemoved[m.App]++
		}
	}
	return facts
}

// suspend switches acting on a source off or on, durably.
func (l *Loop) suspend(_ context.Context, f *follower, suspended bool) error {
	defer l.publish(f)
	if f.cursor.Suspended == suspended {
		return nil
	}
	c := f.cursor
	c.Suspended = suspended
	if _, err := l.o.Store.Commit(state.PutCursor(c)); err != nil {
		return fmt.Errorf("record the cursor: %w", err)
	}
	f.cursor = c
	l.o.Log.Info().Str("source", f.Name).Bool("suspended", suspended).Msg("changed")
	return nil
}
