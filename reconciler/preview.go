package reconciler

import (
	"context"
	"fmt"
	"slices"

	"github.com/belay-dev/belay/manifests"
	"github.com/belay-dev/belay/reconciler/engine"
	"github.com/belay-dev/belay/state"
)

// Previewed is what a sync of one source to one commit would change.
type Previewed struct {
	Commit   string
	Changes  []PreviewedChange // by key
	Problems []manifests.Problem
}

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
	f, ok := l.sources[source]
	if !ok {
		return Previewed{}, fmt.Errorf("%w: %q", ErrNoSource, source)
	}
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
	tree, err := f.Repository.Tree(commit)
	if err != nil {
		return Previewed{}, err
	}
	up, err := f.Cache.Preview(ctx, tree, commit)
	if err != nil {
		return Previewed{}, fmt.Errorf("render %s: %w", short(commit), err)
	}
	wanted := make(map[engine.Key]*Desired, len(f.desired))
	for k, d := range f.desired {
		wanted[k] = d
	}
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
	out := Previewed{Commit: commit, Problems: up.Problems}
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
	return out, nil
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
