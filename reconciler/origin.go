package reconciler

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/belay-dev/belay/manifests"
	"github.com/belay-dev/belay/reconciler/engine"
	"github.com/belay-dev/belay/state"
)

// traceTurn is how many commits are compared at a time: nobody looks at the source meanwhile.
const traceTurn = 100

// trace finds the commits that introduced what the first sync found, where they are older than those that were rendered:
// it compares hashes, commit by commit, until every Deployment has one or there is no older commit.
func (w *recaller) trace(ctx context.Context) error {
	rows := 0
	var l *manifests.Lineage
	for w.past != nil {
		var found []state.Row
		var err error
		if l, found, err = w.traceOn(ctx, l); err != nil {
			return err
		}
		var ws []state.Write
		for _, r := range found {
			ws = append(ws, state.PutRow(r))
		}
		if err := w.record(ctx, ws, w.past); err != nil {
			return err
		}
		rows += len(found)
	}
	if rows > 0 {
		w.l.o.Log.Info().Str("source", w.f.Name).Int("rows", rows).Msg("found the commits that introduced what runs")
	}
	return nil
}

// traceOn compares the next commits. The lineage is nil to begin with, after a start too.
func (w *recaller) traceOn(ctx context.Context, l *manifests.Lineage) (*manifests.Lineage, []state.Row, error) {
	steps, err := w.steps(ctx, w.past.Commit, traceTurn)
	if err != nil {
		return nil, nil, err
	}
	if err := w.f.alone(ctx); err != nil {
		return nil, nil, err
	}
	defer w.f.release()
	if l == nil {
		if l, err = w.lineage(ctx); err != nil {
			return nil, nil, err
		}
	}
	var found []state.Row
	for i, st := range steps[1:] {
		differ, err := w.back(l, st)
		if err != nil {
			return nil, nil, err
		}
		found = append(found, w.introduced(differ, steps[i], w.past.Count+int64(i))...)
	}
	last := len(steps) - 1
	next := &state.Past{Commit: steps[last].Hash, Count: w.past.Count + int64(last), Rendered: w.past.Rendered}
	if last < traceTurn { // there is none before it
		found = append(found, w.introduced(l.Left(), steps[last], next.Count)...)
		next = nil
	} else if len(l.Left()) == 0 {
		next = nil
	}
	w.past = next
	return l, found, nil
}

// lineage begins where rendering ended, and goes on to the commit that was compared last.
func (w *recaller) lineage(ctx context.Context) (*manifests.Lineage, error) {
	if !w.f.based {
		return nil, errors.New("the last look failed")
	}
	tree, err := w.f.Repository.Tree(w.past.Rendered)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", short(w.past.Rendered), err)
	}
	at, err := w.f.Cache.Fork(ctx, tree, w.past.Rendered)
	if err != nil {
		return nil, fmt.Errorf("render %s: %w", short(w.past.Rendered), err)
	}
	var ids []manifests.ID
	for _, r := range w.first {
		id := manifests.ID{Kind: string(state.KindDeployment), Namespace: r.Namespace, Name: r.Name}
		o, ok := at.Object(id)
		if ok && w.f.want(o, w.past.Rendered).Template == r.Template && !w.explained(r) {
			ids = append(ids, id)
		}
	}
	l, err := at.Lineage(ids)
	if err == nil && w.past.Commit != w.past.Rendered {
		_, err = w.back(l, Step{Hash: w.past.Commit}) // what differs there was found before
	}
	if err != nil {
		return nil, fmt.Errorf("begin at %s: %w", short(w.past.Rendered), err)
	}
	return l, nil
}

// explained reports whether an older commit is known that changed a Deployment of the first sync. When the commits that
// were rendered have one, they also have the one that introduced what runs.
func (w *recaller) explained(first state.Row) bool {
	rows := w.l.o.Store.Rows(first.Namespace, first.Name)
	return slices.ContainsFunc(rows, func(r state.Row) bool { return r.Past > 0 && r.Source == first.Source && r.UID == first.UID })
}

func (w *recaller) back(l *manifests.Lineage, st Step) ([]manifests.ID, error) {
	tree, err := w.f.Repository.Tree(st.Hash)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", short(st.Hash), err)
	}
	differ, err := l.Back(tree)
	if err != nil {
		return nil, fmt.Errorf("compare %s: %w", short(st.Hash), err)
	}
	return differ, nil
}

// introduced are the rows of the commit that made some Deployments what they are, as far as hashes tell. Which contents
// their templates named then is not known.
func (w *recaller) introduced(ids []manifests.ID, by Step, nth int64) []state.Row {
	var out []state.Row
	for _, first := range w.first {
		id := manifests.ID{Kind: string(state.KindDeployment), Namespace: first.Namespace, Name: first.Name}
		if _, found := slices.BinarySearchFunc(ids, id, compareIDs); !found {
			continue
		}
		r := state.Row{
			Namespace: first.Namespace, Name: first.Name, UID: first.UID, Source: first.Source, App: first.App, Root: first.Root,
			Template: first.Template, Bare: first.Bare, Images: first.Images, Reason: string(ReasonSameFiles), RecordedAt: w.l.o.Now(),
		}
		if t := w.l.template(first.Template); t != nil {
			unknown := func(engine.Key) (state.Object, bool) { return nil, false }
			r.Configs = configsOf(first.Namespace, &t.Spec, unknown).Refs
		}
		out = append(out, pastRow(r, by, nth))
	}
	return out
}

func compareIDs(a, b manifests.ID) int {
	switch {
	case a.Less(b):
		return -1
	case b.Less(a):
		return 1
	}
	return 0
}
