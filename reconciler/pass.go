package reconciler

import (
	"cmp"
	"context"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/belay-dev/belay/manifests"
	"github.com/belay-dev/belay/reconciler/engine"
	"github.com/belay-dev/belay/reconciler/ledger"
	"github.com/belay-dev/belay/reconciler/reserve"
	"github.com/belay-dev/belay/state"
)

// passes bounds how often one pass plans again because live objects moved under it.
const passes = 8

// pass plans the given keys and what follows from them, and executes the plan, until nothing is left to do now. What a
// person wishes meanwhile goes first: the rest of the plan is made anew then.
func (l *Loop) pass(ctx context.Context, keys []engine.Key) {
	for n := 0; n < passes; {
		keys = l.known(keys)
		if len(keys) == 0 || ctx.Err() != nil {
			return
		}
		plan := Make(l.input(keys))
		again, whole := l.execute(ctx, plan)
		if !whole {
			keys = append(keys, again...)
			continue
		}
		n++
		l.withheld(keys, plan)
		l.automatic(ctx, keys)
		keys = again
		keys = append(keys, l.work.next(l.o.MaxRollouts)...)
	}
}

// known drops repeated keys and those that nothing wants, manages or has rows for.
func (l *Loop) known(keys []engine.Key) []engine.Key {
	keys = slices.Clone(keys)
	slices.SortFunc(keys, compareKeys)
	keys = slices.Compact(keys)
	return slices.DeleteFunc(keys, func(k engine.Key) bool {
		if l.desired(k) != nil {
			return false
		}
		m, ok := l.o.Store.Managed(k)
		if ok && !l.mayGo(m) {
			return true
		}
		return !ok && (k.Kind != state.KindDeployment || len(l.o.Store.Rows(k.Namespace, k.Name)) == 0)
	})
}

// mayGo reports whether an object without a manifest can be taken for removed: not while nobody knows yet what Git
// wants, and not when its source or app left the configuration: then it keeps running, unmanaged.
func (l *Loop) mayGo(m state.Managed) bool {
	f := l.follows.Load().named[m.Source]
	return f != nil && f.based && f.configures(m.App)
}

// desired finds what Git wants of a key; nil when no source has a manifest for it.
func (l *Loop) desired(k engine.Key) *Desired {
	for _, f := range l.followers() {
		if d := f.desired[k]; d != nil {
			return d
		}
	}
	return nil
}

// input gathers what a plan for the keys is made from.
func (l *Loop) input(keys []engine.Key) Input {
	in := Input{
		Now: l.o.Now(), Sources: map[string]SourceFacts{}, MaxRollouts: l.o.MaxRollouts, Rolling: len(l.work.rolling),
		Failed: l.work.failures(), CommitOpen: map[string]bool{}, Named: map[engine.Key]bool{},
	}
	gone := slices.ContainsFunc(keys, func(k engine.Key) bool { return l.desired(k) == nil })
	for _, f := range l.followers() {
		facts := f.facts(l.o.Store, gone)
		facts.Windows = f.openings.at(in.Now, f.Source)
		in.Sources[f.Name] = facts
	}
	for _, k := range keys {
		s := Subject{Key: k, Desired: l.desired(k), Live: l.o.Engine.Live(k)}
		if m, ok := l.o.Store.Managed(k); ok {
			s.Managed = &m
			if m.RemovedBy != "" {
				in.CommitOpen[m.RemovedBy] = l.commitOpen(m.Source, m.RemovedBy)
				in.Named[k] = l.named(k)
			}
			if s.Live.Object == nil {
				s.Kept, s.ForHold = l.kept(k)
			}
		}
		if k.Kind == state.KindDeployment {
			s.Rolling = l.work.rolling[k] != ""
			s.Rows = l.o.Store.Rows(k.Namespace, k.Name)
			l.holdsOf(&s)
		}
		in.Subjects = append(in.Subjects, s)
	}
	return in
}

// commitOpen reports whether a commit has a Deployment that is not complete.
func (l *Loop) commitOpen(source, hash string) bool {
	cs := l.o.Store.FindCommits(source, hash)
	if len(cs) == 0 {
		return false
	}
	c := cs[len(cs)-1]
	return slices.ContainsFunc(c.Rows, func(id string) bool {
		r, ok := l.o.Store.Row(id)
		return ok && r.Template != "" && (r.Open || r.Outcome == ledger.Failed)
	})
}

// execute carries out a plan in order and returns the keys to plan again. It stops when somebody's wish came between: the
// plan is not whole then.
func (l *Loop) execute(ctx context.Context, plan Plan) (again []engine.Key, whole bool) {
	for i, a := range plan.Actions {
		if i > 0 && l.grant(ctx) {
			return again, false
		}
		ending := l.ending(a)
		err := l.act(ctx, a)
		switch {
		case err == nil:
			for _, r := range ending {
				l.o.Observer.Ended(r)
			}
			again = append(again, l.done(a)...)
		case apierrors.IsConflict(err):
			again = append(again, a.Key)
		default:
			l.failed(a, err)
		}
	}
	return again, true
}

// act executes one action with its ledger writes. One of a held Deployment may use the reserve of a full disk.
func (l *Loop) act(ctx context.Context, a Action) error {
	ws := append(l.ledgerWrites(a), reserve.For(l.o.Store, a.Key, nil)...)
	if a.Holds.Hold != nil {
		ws = append(ws, state.UseReserve())
	}
	switch a.Kind {
	case ActionRecord:
		_, err := l.o.Store.Commit(ws...)
		return err
	case ActionApply, ActionRollout, ActionPrune:
		c := a.Change
		c.Ledger = ws
		return l.o.Engine.Apply(ctx, c)
	}
	return nil
}

// ledgerWrites are what an action records.
func (l *Loop) ledgerWrites(a Action) []state.Write {
	ws := append(a.Holds.writes(a.Key), l.planned(a)...)
	if h := a.Holds.Hold; h != nil {
		if live := l.o.Engine.Live(a.Key); live.Rollout.Template == h.Template { // what runs is held
			ws = append(ws, state.PutTemplate(state.Template{Hash: h.Template, Template: live.Deployment().Spec.Template}))
		}
	}
	for _, r := range a.Rows {
		if d, ok := a.Change.Desired.(*appsv1.Deployment); ok && a.Kind == ActionRollout && r.ID == a.Row {
			var kept []state.Write
			r, kept = l.handedOver(r, d)
			ws = append(ws, kept...)
		}
		ws = append(ws, state.PutRow(r))
		ws = append(ws, l.joins(r)...)
	}
	if a.Managed != nil {
		ws = append(ws, state.PutManaged(*a.Managed))
	}
	if a.Forget {
		ws = append(ws, state.RemoveManaged(a.Key))
	}
	return ws
}

// joins adds a row that a commit runs in from now on to the rows of the commit: its outcome is that row's.
func (l *Loop) joins(r state.Row) []state.Write {
	if before, ok := l.o.Store.Row(r.ID); r.Commit == "" || ok && before.Commit == r.Commit {
		return nil
	}
	steps := l.o.Store.FindCommits(r.Source, r.Commit)
	if len(steps) == 0 {
		return nil
	}
	c := steps[len(steps)-1]
	if at, known := slices.BinarySearch(c.Rows, r.ID); !known {
		c.Rows = slices.Insert(c.Rows, at, r.ID)
	}
	return []state.Write{state.PutCommit(c)}
}

// done notes an executed action and returns the keys that may move because of it.
func (l *Loop) done(a Action) []engine.Key {
	delete(l.retry, a.Key)
	l.clearProblem(a.Key, ReasonApplyFailed)
	if a.Kind != ActionRecord || a.Reason != ReasonObserved || len(a.Rows) > 0 {
		e := l.o.Log.Info().Str("action", string(a.Kind)).Stringer("object", a.Key).Str("reason", string(a.Reason))
		if n := len(a.Rows); n > 0 {
			r := a.Rows[n-1]
			e = e.Str("commit", short(r.Commit)).Str("outcome", string(r.Outcome)).Int64("revision", r.Revision)
		}
		e.Msg("changed")
	}
	l.tell(a)
	l.kickFor(a)
	if a.Forget {
		delete(l.work.prune, a.Key)
	}
	if a.Kind == ActionRollout && a.Reason != ReasonFirstRollout && a.Reason != ReasonMissing && a.Reason != ReasonAsked {
		l.work.rolling[a.Key] = a.Row
	}
	var again []engine.Key
	for _, r := range a.Rows {
		if stored, ok := l.o.Store.Row(r.ID); ok {
			l.work.note(stored)
		}
		if !r.Open {
			for k := range l.work.prune { // a prune may wait for this rollout
				again = append(again, k)
			}
		}
	}
	return again
}

func short(hash string) string { return hash[:min(7, len(hash))] }

// failed notes an action that the engine refused, and when to try again.
func (l *Loop) failed(a Action, err error) {
	r := l.retry[a.Key]
	r.attempt++
	r.at = l.o.Now().Add(Backoff(r.attempt))
	l.retry[a.Key] = r
	d := l.desired(a.Key)
	p := problemOf(a.Key, d, ReasonApplyFailed, err.Error())
	if l.setProblem(a.Key, p) {
		l.o.Log.Warn().Str("action", string(a.Kind)).Stringer("object", a.Key).Err(err).Msg("not applied")
	}
}

// Backoff is the wait before the n-th retry of a change: one second, doubled, at most five minutes.
func Backoff(attempt int) time.Duration {
	const most = 5 * time.Minute
	d := time.Second
	for i := 1; i < attempt && d < most; i++ {
		d *= 2
	}
	return min(d, most)
}

// untroubled reports whether something waits as it was told to, so that it is no problem.
func (w Withheld) untroubled() bool {
	if w.Reason == ReasonSuspended || w.Reason == ReasonSlot || w.Reason == ReasonWindow {
		return true
	}
	if w.Reason == ReasonHeld {
		return w.Detail != DetailTainted
	}
	return w.Detail == DetailWindow || pruneForever[w.Detail]
}

// withheld notes what a plan holds back, for status and for the passes to come.
func (l *Loop) withheld(keys []engine.Key, plan Plan) {
	held := map[engine.Key]Withheld{}
	for _, w := range plan.Held {
		held[w.Key] = w
	}
	for _, k := range keys {
		w, ok := held[k]
		l.work.hold(k, w)
		if !ok || w.untroubled() {
			l.clearProblem(k, "")
			continue
		}
		d := l.desired(k)
		reason := cmp.Or(w.Reason, w.Detail)
		if w.Detail == DetailTainted {
			reason = ReasonBadChangeReappeared
		}
		p := problemOf(k, d, reason, w.Message)
		if m, ok := l.o.Store.Managed(k); ok && d == nil {
			p.Source, p.App, p.Root, p.File, p.Commit = m.Source, m.App, m.Root, m.File, m.RemovedBy
		}
		if w.Line > 0 {
			p.Line = w.Line
		}
		if l.setProblem(k, p) {
			l.o.Log.Warn().Stringer("object", k).Str("reason", string(w.Reason)).Str("detail", string(w.Detail)).Msg("held")
		}
	}
}

// problemOf is a problem about one object, at its place in Git when that is known.
func problemOf(k engine.Key, d *Desired, reason Reason, message string) manifests.Problem {
	p := manifests.Problem{
		Reason: manifests.Reason(reason), Message: k.String() + ": " + message,
		ID: manifests.ID{Kind: string(k.Kind), Namespace: k.Namespace, Name: k.Name},
	}
	if d != nil {
		p.Source, p.App, p.Root, p.Commit, p.File, p.Line = d.Source, d.Manifest.App, d.Manifest.Root, d.Commit, d.Manifest.File, d.Manifest.Line
	}
	return p
}

// setProblem publishes a problem and reports whether it is news.
func (l *Loop) setProblem(k engine.Key, p manifests.Problem) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	old, ok := l.problems[k]
	l.problems[k] = p
	return !ok || old.Reason != p.Reason || old.Message != p.Message
}

// clearProblem withdraws the problem of a key; only of one reason when that is given.
func (l *Loop) clearProblem(k engine.Key, reason Reason) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p, ok := l.problems[k]
	if !ok || reason != "" && p.Reason != manifests.Reason(reason) {
		return
	}
	if reason == "" && p.Reason == manifests.Reason(ReasonApplyFailed) && l.retry[k].attempt > 0 {
		return // still being tried
	}
	delete(l.problems, k)
}
