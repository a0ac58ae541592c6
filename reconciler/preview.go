package reconciler

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/belay-dev/belay/manifests"
	"github.com/belay-dev/belay/reconciler/engine"
	"github.com/belay-dev/belay/state"
)

// Previewed is what a sync of one source to one commit would change.
type Previewed struct {
	Commit   string
	Steps    []PreviewedStep   // that a sync would take, oldest first; at most previewedSteps, the newest
	Changes  []PreviewedChange // of what runs, by key
	Problems []manifests.Problem
}

// PreviewedStep is one commit that a sync would take, with what it changes of the commit before.
type PreviewedStep struct {
	Step    Step
	Changes []PreviewedChange // by key
}

// previewedSteps bounds how many commits a preview goes through one by one.
const previewedSteps = 50

// PreviewedChange is one object that a sync would change. Before is nil when it would be created, After when it
// would be deleted.
type PreviewedChange struct {
	Key    engine.Key
	Before state.Object
	After  state.Object
	File   string
	Line   int
}

// Preview compares what runs with what a sync would apply: of the newest commit, found by looking now, or of the
// commit given in full. Nothing moves: neither the cursor nor the render cache's index.
func (l *Loop) Preview(ctx context.Context, source, commit string) (Previewed, error) {
	f, err := l.follower(source)
	if err != nil {
		return Previewed{}, err
	}
	if err := f.alone(ctx); err != nil {
		return Previewed{}, err
	}
	defer f.release()
	head, err := f.Repository.Poll(ctx)
	if err != nil {
		return Previewed{}, err
	}
	if commit == "" {
		commit = head
	}
	var out Previewed
	if doErr := l.do(ctx, func(ctx context.Context) { out, err = l.preview(ctx, f, commit) }); doErr != nil {
		return Previewed{}, doErr
	}
	return out, err
}

func (l *Loop) preview(ctx context.Context, f *follower, commit string) (Previewed, error) {
	steps, err := l.previewSteps(ctx, f, commit)
	if err != nil {
		return Previewed{}, err
	}
	wanted, problems, err := f.previewAt(ctx, commit)
	if err != nil {
		return Previewed{}, err
	}
	out := Previewed{Commit: commit, Steps: steps, Problems: problems}
	for k, d := range wanted {
		c := engine.Change{Key: k, Desired: d.Object(), Template: true, KeepReplicas: d.KeepReplicas}
		live := l.o.Engine.Live(k).Object
		after := engine.Merge(live, c)
		if live != nil {
			keepLocal(after, live)
		}
		if live == nil || !engine.Same(live, engine.Change{Key: k, Desired: after, Template: true}) {
			out.Changes = append(out.Changes, PreviewedChange{Key: k, Before: live, After: after, File: d.Manifest.File, Line: d.Manifest.Line})
		}
	}
	for _, m := range l.o.Store.Inventory(f.Name) {
		if wanted[m.Key] == nil {
			out.Changes = append(out.Changes, PreviewedChange{Key: m.Key, Before: l.o.Engine.Live(m.Key).Object, File: m.File, Line: m.Line})
		}
	}
	slices.SortFunc(out.Changes, func(a, b PreviewedChange) int { return compareKeys(a.Key, b.Key) })
	out.Problems = append(out.Problems, l.missingAt(out.Changes, wanted, f.Name, commit)...)
	return out, nil
}

// previewAt is what a sync to a commit would make the source want.
func (f *follower) previewAt(ctx context.Context, commit string) (map[engine.Key]*Desired, []manifests.Problem, error) {
	tree, err := f.Repository.Tree(commit)
	if err != nil {
		return nil, nil, err
	}
	up, err := f.Cache.Preview(ctx, tree, commit)
	if err != nil {
		return nil, nil, fmt.Errorf("render %s: %w", short(commit), err)
	}
	wanted := maps.Clone(f.desired)
	for _, r := range up.Roots {
		for _, o := range r.Before {
			delete(wanted, keyOf(o.ID))
		}
	}
	for _, r := range up.Roots {
		for _, o := range r.Objects {
			wanted[keyOf(o.ID)] = f.want(o, commit)
		}
	}
	return wanted, up.Problems, nil
}

// previewSteps goes through the commits that a sync would take and says what each changes.
func (l *Loop) previewSteps(ctx context.Context, f *follower, commit string) ([]PreviewedStep, error) {
	if !f.based || f.cursor.Commit == "" || f.cursor.Commit == commit {
		return nil, nil
	}
	steps, err := f.Repository.Steps(ctx, f.cursor.Commit, commit)
	if err != nil {
		return nil, fmt.Errorf("list commits: %w", err)
	}
	steps = steps[max(0, len(steps)-previewedSteps):]
	var out []PreviewedStep
	before := f.desired
	for _, st := range steps {
		wanted, _, err := f.previewAt(ctx, st.Hash)
		if err != nil {
			return nil, err
		}
		out = append(out, PreviewedStep{Step: st, Changes: between(before, wanted)})
		before = wanted
	}
	return out, nil
}

// between lists what differs from one wanted state to the next, by key.
func between(before, after map[engine.Key]*Desired) []PreviewedChange {
	var out []PreviewedChange
	for k, d := range after {
		old := before[k]
		switch {
		case old == nil:
			out = append(out, PreviewedChange{Key: k, After: d.Object(), File: d.Manifest.File, Line: d.Manifest.Line})
		case old.Manifest.Digest != d.Manifest.Digest:
			out = append(out, PreviewedChange{Key: k, Before: old.Object(), After: d.Object(), File: d.Manifest.File, Line: d.Manifest.Line})
		}
	}
	for k, d := range before {
		if after[k] == nil {
			out = append(out, PreviewedChange{Key: k, Before: d.Object(), File: d.Manifest.File, Line: d.Manifest.Line})
		}
	}
	slices.SortFunc(out, func(a, b PreviewedChange) int { return compareKeys(a.Key, b.Key) })
	return out
}

// keepLocal leaves the annotations that name a template's commit as they are: a preview does not show them.
func keepLocal(after, live state.Object) {
	a := after.GetAnnotations()
	for _, key := range []string{engine.ChangeCause, engine.AnnotationCommit, engine.AnnotationAuthor, engine.AnnotationCommittedAt} {
		v, ok := live.GetAnnotations()[key]
		if !ok {
			delete(a, key)
			continue
		}
		if a == nil {
			a = map[string]string{}
		}
		a[key] = v
	}
	after.SetAnnotations(a)
}
