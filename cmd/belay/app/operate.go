package app

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/belay-dev/belay/cmd/belay/control"
	"github.com/belay-dev/belay/reconciler"
	"github.com/belay-dev/belay/reconciler/ledger"
	"github.com/belay-dev/belay/state"
)

// operator carries out what control is asked to do.
type operator struct {
	store   *state.Store
	loop    *reconciler.Loop
	sources func() []string
	hooks   string                 // address of webhooks; empty: none
	secret  func() (string, error) // that they are signed with
}

var _ control.Operator = (*operator)(nil)

// Suspend stops, or resumes, acting on a source.
func (o *operator) Suspend(ctx context.Context, source string, suspended bool) error {
	if err := o.known(source); err != nil {
		return err
	}
	if err := o.loop.Suspend(ctx, source, suspended); err != nil {
		return err
	}
	return o.durable(ctx)
}

func (o *operator) known(source string) error {
	if slices.Contains(o.sources(), source) {
		return nil
	}
	return &control.Error{
		Status: http.StatusNotFound, Message: fmt.Sprintf("%v: %q", reconciler.ErrNoSource, source),
		HintText: fmt.Sprintf("configured: %v", o.sources()),
	}
}

// Backup writes the state with all that is committed now.
func (o *operator) Backup(ctx context.Context, w io.Writer) error {
	if err := o.durable(ctx); err != nil {
		return err
	}
	return o.store.Backup(w)
}

func (o *operator) durable(ctx context.Context) error {
	if err := o.store.WaitDurable(ctx, o.store.Version()); err != nil {
		return fmt.Errorf("make it durable: %w", err)
	}
	return nil
}

// Sync looks at one source, or all, and with Wait follows the rollouts that are open in it.
func (o *operator) Sync(ctx context.Context, r control.SyncRequest, moved func(control.Row)) (control.SyncResult, error) {
	names := o.sources()
	if r.Source != "" {
		if err := o.known(r.Source); err != nil {
			return control.SyncResult{}, err
		}
		names = []string{r.Source}
	}
	out := control.SyncResult{Sources: []control.SyncedSource{}, Rows: []control.Row{}, Ended: true, OK: true}
	for _, name := range names {
		err := o.loop.Sync(ctx, name, reconciler.SyncOptions{Prune: r.Prune, AcceptRender: r.AcceptRender, OverrideWindow: r.OverrideWindow})
		if ctx.Err() != nil {
			return control.SyncResult{}, ctx.Err()
		}
		s := control.SyncedSource{Name: name}
		if s.Error, s.Hint = texts(err); err != nil {
			out.OK = false
		}
		out.Sources = append(out.Sources, s)
	}
	if err := o.durable(ctx); err != nil {
		return control.SyncResult{}, err
	}
	ids := o.begun(names)
	if r.Wait {
		if err := o.wait(ctx, ids, moved); err != nil {
			return control.SyncResult{}, err
		}
	}
	o.finish(&out, ids)
	return out, nil
}

// begun lists the rows that a sync's end depends on: those that say how each source's newest commit fares, and whatever
// is open.
func (o *operator) begun(sources []string) []string {
	var ids []string
	for _, name := range sources {
		if c, ok := o.newest(name); ok {
			for _, r := range ledger.Newest(o.rows(c.Rows)) {
				ids = append(ids, r.ID)
			}
		}
	}
	for _, r := range o.store.OpenRows() {
		if slices.Contains(sources, r.Source) {
			ids = append(ids, r.ID)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

func (o *operator) newest(source string) (state.Commit, bool) {
	cs := o.store.Commits(source, 1)
	if len(cs) == 0 {
		return state.Commit{}, false
	}
	return cs[len(cs)-1], true
}

// wait returns when every row has ended, or when the first one stands still until somebody acts.
func (o *operator) wait(ctx context.Context, ids []string, moved func(control.Row)) error {
	last := map[string]state.Outcome{}
	for {
		version := o.store.Version()
		var follow []string // what may move still: a rollout that failed may complete after all
		going := false
		for _, id := range ids {
			r, ok := o.store.Row(id)
			if !ok {
				continue
			}
			if was, seen := last[id]; r.Outcome != was {
				last[id] = r.Outcome
				if seen || r.Open {
					moved(rowOf(r))
				}
			}
			switch {
			case stands(r):
				return nil
			case r.Open:
				going = true
			}
			if r.Open || r.Outcome == ledger.Failed {
				follow = append(follow, id)
			}
		}
		if !going {
			return nil
		}
		ids = follow
		if err := pause(ctx, time.Duration(len(follow))*lookCost); err != nil {
			return err
		}
		if _, err := o.store.WaitChange(ctx, version); err != nil {
			return fmt.Errorf("wait for the rollouts: %w", err)
		}
	}
}

// lookCost is how long to wait, for each row that is followed, before looking again: many are followed at little cost,
// few without delay.
const lookCost = 20 * time.Microsecond

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// stands reports whether a row waits for somebody to act. A slot comes by itself.
func stands(r state.Row) bool {
	switch r.Outcome {
	case ledger.Held, ledger.Paused:
		return true
	case ledger.Waiting:
		return r.Reason != string(reconciler.ReasonSlot)
	case ledger.Pending:
		return r.Reason == string(reconciler.ReasonPruneWaits)
	}
	return false
}

// finish fills in how everything stands.
func (o *operator) finish(out *control.SyncResult, ids []string) {
	problems := map[string][]control.Problem{}
	sources, held := o.loop.Status()
	for _, s := range sources {
		for _, p := range s.Problems {
			problems[s.Name] = append(problems[s.Name], problemOf(p))
		}
	}
	for _, p := range held {
		problems[p.Source] = append(problems[p.Source], problemOf(p))
	}
	now := o.store.Snapshot()
	for _, m := range now.Inventory(state.KindDeployment) {
		if d, ok := state.Get[*appsv1.Deployment](now, m.Key.Namespace, m.Key.Name); ok {
			problems[m.Source] = append(problems[m.Source], missingConfigs(now, m, d)...)
		}
	}
	for i := range out.Sources {
		s := &out.Sources[i]
		s.Problems = list(problems[s.Name])
		c, ok := o.newest(s.Name)
		if !ok {
			continue
		}
		s.Commit = c.Hash
		outcome := ledger.CommitOutcome(c, o.rows(c.Rows))
		s.Outcome = string(outcome)
		switch outcome {
		case ledger.Complete, ledger.Applied, ledger.Unchanged, ledger.Imported:
		default:
			out.OK = false
		}
	}
	for _, r := range o.rows(ids) {
		out.Ended = out.Ended && !r.Open
		out.Rows = append(out.Rows, rowOf(r))
	}
}

// rows are the rows of some IDs, oldest first.
func (o *operator) rows(ids []string) []state.Row {
	var out []state.Row
	for _, id := range ids {
		if r, ok := o.store.Row(id); ok {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b state.Row) int { return cmp.Compare(a.Number, b.Number) })
	return out
}
