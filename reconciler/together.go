package reconciler

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/belay-dev/belay/manifests"
	"github.com/belay-dev/belay/reconciler/change"
	"github.com/belay-dev/belay/reconciler/engine"
	"github.com/belay-dev/belay/reconciler/rollback"
	"github.com/belay-dev/belay/state"
)

// RollbackCommit goes back behind one commit with every Deployment that runs what it brought, or waits for it: one
// rollback, and one revert of the commit in Git. Each Deployment is held, or refused, for itself; what is held is durable
// when it returns, Git reachable or not.
func (l *Loop) RollbackCommit(ctx context.Context, r rollback.CommitRequest) (rollback.CommitResult, error) {
	var out rollback.CommitResult
	err := l.durably(ctx, func(ctx context.Context) (err error) {
		out, err = l.rollbackCommit(ctx, r, false)
		return err
	})
	if errors.Is(err, errNotDurable) && heldOf(out) > 0 { // they are in force
		for i := range out.Deployments {
			out.Deployments[i].Result.NotDurable = err.Error()
		}
		return out, nil
	}
	return out, err
}

// PreviewRollbackCommit says what RollbackCommit would do now. Nothing changes.
func (l *Loop) PreviewRollbackCommit(ctx context.Context, r rollback.CommitRequest) (rollback.CommitResult, error) {
	var out rollback.CommitResult
	var err error
	if doErr := l.do(ctx, func(ctx context.Context) { out, err = l.rollbackCommit(ctx, r, true) }); doErr != nil {
		return out, doErr
	}
	if err == nil {
		l.foreseeCommit(ctx, r, &out)
	}
	return out, err
}

func (l *Loop) rollbackCommit(ctx context.Context, r rollback.CommitRequest, preview bool) (rollback.CommitResult, error) {
	hash, err := l.oneHash(r.Commit)
	if err != nil {
		return rollback.CommitResult{}, err
	}
	out := rollback.CommitResult{Commit: hash, ID: rollback.NewID(l.o.Now(), "commit", hash)}
	keys, others, err := l.broken(r, hash)
	if err != nil {
		return out, err
	}
	git := map[string]rollback.GitChange{} // by source
	for _, k := range keys {
		step := l.stepOf(k.Namespace, k.Name, hash)
		req := rollback.Request{
			Namespace: k.Namespace, Name: k.Name, ToCommit: step, Expect: r.Expect[k.Namespace+"/"+k.Name], Why: r.Why, By: r.By, Door: rollback.DoorCLI,
			StableOnly: r.StableOnly, Now: l.o.Now(),
		}
		becomes := func(h state.Hold, source string) (rollback.GitChange, []state.Write) {
			change, ws := l.queueCommit(h, source, hash, r, others)
			git[source] = change
			return change, ws
		}
		res, err := l.held(ctx, k.Namespace, k.Name, becomes, preview, func(f rollback.Facts) (rollback.Decision, error) {
			return rollback.DecideCommit(f, req, out.ID)
		})
		if ctx.Err() != nil {
			return out, ctx.Err()
		}
		out.Deployments = append(out.Deployments, rollback.CommitOutcome{Namespace: k.Namespace, Name: k.Name, Result: res, Err: err})
	}
	slices.SortFunc(out.Deployments, func(a, b rollback.CommitOutcome) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	for _, source := range slices.Sorted(maps.Keys(git)) {
		out.Git = append(out.Git, rollback.CommitChange{Source: source, GitChange: git[source]})
	}
	return out, nil
}

// oneHash is the hash of the one commit that begins so.
func (l *Loop) oneHash(prefix string) (string, error) {
	switch hashes := l.o.Store.FindHashes("", prefix); len(hashes) {
	case 1:
		return hashes[0], nil
	case 0:
		return "", &rollback.Refusal{
			Reason: rollback.UnknownCommit, Message: fmt.Sprintf("no commit %s was synced", prefix), HintText: "belay history lists those that changed a Deployment",
		}
	default:
		return "", &rollback.Refusal{
			Reason: rollback.UnknownCommit, Message: fmt.Sprintf("several commits begin with %s", prefix), HintText: "write more of the hash",
		}
	}
}

// broken lists the Deployments that go back behind a commit, and whether it broke others that do not. Those that wait for
// what it brought come first: what the others leave free must not let them begin.
func (l *Loop) broken(r rollback.CommitRequest, hash string) (keys []engine.Key, others bool, err error) {
	reaches := func(k engine.Key) bool { return r.Reaches == nil || r.Reaches(k.Namespace) }
	running := map[engine.Key]bool{}
	for _, k := range l.changedBy(hash) {
		_, f, err := l.about(k.Namespace, k.Name)
		if err != nil {
			continue
		}
		broken, runs := rollback.Broken(f, l.stepOf(k.Namespace, k.Name, hash))
		switch {
		case !broken:
		case r.Named(k.Namespace, k.Name) && reaches(k):
			keys, running[k] = append(keys, k), runs
		default:
			others = true
		}
	}
	for _, only := range r.Only {
		namespace, name, _ := strings.Cut(only, "/")
		k := engine.Key{Kind: state.KindDeployment, Namespace: namespace, Name: name}
		if !slices.Contains(keys, k) && reaches(k) {
			keys = append(keys, k) // it is said why not
		}
	}
	if len(keys) == 0 {
		return nil, others, &rollback.Refusal{
			Reason: rollback.NothingToGoBackTo, Message: fmt.Sprintf("no Deployment runs what commit %s brought, or waits for it", short(hash)),
			HintText: "belay status says what runs",
		}
	}
	slices.SortFunc(keys, func(a, b engine.Key) int {
		switch {
		case running[a] && !running[b]:
			return 1
		case running[b] && !running[a]:
			return -1
		}
		return compareKeys(a, b)
	})
	return keys, others, nil
}

// changedBy lists the Deployments that have a row of a commit, by key.
func (l *Loop) changedBy(hash string) []engine.Key {
	var keys []engine.Key
	for _, c := range l.o.Store.FindCommits("", hash) {
		for _, r := range l.o.Store.RowsOf(c.Source, c.Step) {
			keys = append(keys, rowKey(r))
		}
	}
	slices.SortFunc(keys, compareKeys)
	return slices.Compact(keys)
}

// queueCommit says what becomes of a commit in Git with the hold of one of its Deployments. others says that Deployments
// which are to stay run it too.
func (l *Loop) queueCommit(h state.Hold, source, commit string, r rollback.CommitRequest, others bool) (rollback.GitChange, []state.Write) {
	mode, beyond := r.Mode, others && len(r.Only) == 0 // out of the person's reach
	switch {
	case beyond:
		mode = rollback.ModeHold
	case mode != rollback.ModeHold:
		mode = rollback.ModeRevert
	}
	out, ws := l.queue(h, source, mode, func(c *state.GitChange) { c.Revert, c.Secrets, c.Only = commit, r.Secrets, len(r.Only) > 0 })
	if beyond && r.Mode != rollback.ModeHold {
		out.Why = "the commit changed Deployments that you may not reach"
	}
	return out, ws
}

// together lists the changes, as they are stored, that one commit in Git is to make: of one Deployment alone its own.
func (l *Loop) together(c state.GitChange) []state.GitChange {
	if c.Revert == "" {
		stored, there := l.o.Store.GitChange(c.Namespace, c.Name, c.Field)
		if !there || stored.ID != c.ID {
			return nil
		}
		return []state.GitChange{stored}
	}
	return slices.DeleteFunc(l.o.Store.GitChanges(), func(o state.GitChange) bool {
		return o.ID != c.ID || o.Source != c.Source || o.Revert != c.Revert || o.State != string(rollback.GitQueued)
	})
}

// errandTogether gathers what the Deployments wish that go back behind one commit: those that are still held for it.
func (l *Loop) errandTogether(c state.GitChange, e errand) (errand, bool) {
	for _, o := range l.together(c) {
		h, held := l.o.Store.Hold(o.Namespace, o.Name)
		if !held || h.ID != c.ID {
			continue
		}
		if t := l.template(h.Template); t != nil {
			e.wishes = append(e.wishes, change.RollbackTask(h, l.o.Store.Rows(o.Namespace, o.Name), t, rollback.ModeRevert).Wish)
		}
	}
	e.note.Trailer = "Belay-Rollback"
	for _, w := range e.wishes {
		e.note.Deployments = append(e.note.Deployments, w.ID.Namespace+"/"+w.ID.Name)
	}
	return e, len(e.wishes) > 0
}

// wish is what the message of the commit is about.
func (e errand) wish() change.Wish {
	if len(e.wishes) > 0 {
		return e.wishes[0]
	}
	return e.task.Wish
}

// make plans the change at the head of a branch.
func (w *writing) make(ctx context.Context, b Branch, e errand) (change.Plan, error) {
	clear(w.left)
	if len(e.wishes) == 0 {
		return change.Make(ctx, w.of.Cache, b, e.task)
	}
	p, verdicts, err := change.MakeRevert(ctx, w.of.Cache, b, undo(w.change, e.wishes))
	for _, v := range verdicts {
		if len(v.Why) > 0 {
			w.left[v.ID] = "the revert does not set it right: " + change.Why(v.Why)
		}
	}
	return p, err
}

func undo(c state.GitChange, wishes []change.Wish) change.Undo {
	return change.Undo{Commit: c.Revert, Wishes: wishes, Secrets: c.Secrets, Only: c.Only}
}

func deploymentOf(c state.GitChange) manifests.ID {
	return manifests.ID{Kind: string(state.KindDeployment), Namespace: c.Namespace, Name: c.Name}
}

// foreseeCommit says what the revert would be at the newest head that is known here, and which Deployments it would not
// set right.
func (l *Loop) foreseeCommit(ctx context.Context, r rollback.CommitRequest, out *rollback.CommitResult) {
	ctx, cancel := context.WithTimeout(ctx, foresight)
	defer cancel()
	for i, g := range out.Git {
		f := l.follows.Load().named[g.Source]
		if f == nil || f.Writer == nil || g.State != rollback.GitQueued {
			continue
		}
		var wishes []change.Wish
		var of []int
		for n, d := range out.Deployments {
			h := d.Result.Hold
			if t := l.template(h.Template); d.Err == nil && t != nil && cmp.Or(d.Result.To.Source, d.Result.From.Source) == g.Source {
				wishes = append(wishes, change.RollbackTask(h, l.o.Store.Rows(d.Namespace, d.Name), t, rollback.ModeRevert).Wish)
				of = append(of, n)
			}
		}
		u := change.Undo{Commit: out.Commit, Wishes: wishes, Secrets: r.Secrets, Only: len(r.Only) > 0}
		var p change.Plan
		var verdicts []change.Verdict
		err := f.Writer.Peek(func(b Branch) (err error) {
			p, verdicts, err = change.MakeRevert(ctx, f.Cache, b, u)
			return err
		})
		if err != nil {
			out.Git[i].Why = "not planned yet: " + err.Error()
			continue
		}
		foreseen(&out.Git[i].GitChange, p, func(id manifests.ID) bool {
			return slices.ContainsFunc(wishes, func(w change.Wish) bool { return w.ID == id })
		})
		for n, v := range verdicts {
			if len(v.Why) > 0 {
				out.Deployments[of[n]].Left = change.Why(v.Why)
			}
		}
	}
}

// heldOf counts the Deployments of which something was done.
func heldOf(out rollback.CommitResult) int {
	n := 0
	for _, d := range out.Deployments {
		if d.Err == nil && !d.Result.Skipped {
			n++
		}
	}
	return n
}
