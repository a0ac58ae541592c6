package reconciler

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/belay-dev/belay/manifests"
	"github.com/belay-dev/belay/reconciler/change"
	"github.com/belay-dev/belay/reconciler/rollback"
	"github.com/belay-dev/belay/state"
)

// FieldTemplate is what of a Deployment a rollback's change in Git is about.
const FieldTemplate = "template"

// branchPrefix begins the names of the branches that are made when the source's own takes no push.
const branchPrefix = "belay/rollback/"

// maxAttempts bounds the commits that are remembered of one change: a commit that is not the newest is at the remote
// only if its answer was lost.
const maxAttempts = 64

// writes makes the changes in Git that are queued for a source, one at a time, until ctx ends.
//
// A change is made of steps that each may be the last before a crash: the commit is made and its hash recorded; it is
// sent; what became of it is recorded. Whoever goes on first looks whether one of the recorded hashes is in the history
// of the branch. One that is still under way then cannot land beside another: both name the commit that they move the
// branch from.
func (l *Loop) writes(ctx context.Context, f *follower) {
	if f.Writer == nil {
		return
	}
	select {
	case <-f.looked: // before, nothing is known of the source
	case <-ctx.Done():
		return
	}
	notBefore := map[string]time.Time{} // by ID of the change
	for ctx.Err() == nil {
		next := time.Hour
		for _, c := range l.queued(f) {
			if wait := notBefore[c.ID].Sub(l.o.Now()); wait > 0 {
				next = min(next, wait)
				continue
			}
			wait := l.write(ctx, f, c)
			if ctx.Err() != nil {
				return
			}
			if wait > 0 {
				notBefore[c.ID] = l.o.Now().Add(wait)
				next = min(next, wait)
			}
		}
		timer := time.NewTimer(next)
		select {
		case <-ctx.Done():
		case <-f.writing: // there is more to do, or the remote answers again: no need to wait for what failed before
			clear(notBefore)
		case <-timer.C:
		}
		timer.Stop()
	}
}

// queued lists the changes that wait for a source: of those that are one together, the first.
func (l *Loop) queued(f *follower) []state.GitChange {
	seen := map[string]bool{}
	return slices.DeleteFunc(l.o.Store.GitChanges(), func(c state.GitChange) bool {
		if c.Source != f.Name || c.State != string(rollback.GitQueued) {
			return true
		}
		again := c.Revert != "" && seen[c.ID]
		seen[c.ID] = true
		return again
	})
}

// write tries to make one change, and returns how long to wait before the next try; 0: there is none.
func (l *Loop) write(ctx context.Context, f *follower, c state.GitChange) time.Duration {
	w := &writing{loop: l, of: f, change: c, left: map[manifests.ID]string{}}
	if f.turn(ctx) != nil {
		return 0
	}
	err := w.land(ctx)
	f.next()
	if ctx.Err() != nil || w.dropped {
		return 0
	}
	wait := time.Duration(0)
	if err != nil {
		wait = w.postpone(err)
	}
	kept, recordErr := w.record(ctx)
	if recordErr != nil { // the store says why; what was sent is found again
		return time.Minute
	}
	if !kept {
		return 0
	}
	log := l.o.Log.With().Str("source", f.Name).Str("deployment", c.Namespace+"/"+c.Name).Str("change", c.ID).Logger()
	switch {
	case err == nil && c.Reason == w.change.Reason && w.change.State == string(rollback.GitNone): // planned again, it is no news
	case err == nil:
		log.Info().Str("state", w.change.State).Str("commit", w.change.Commit).Str("branch", w.change.Branch).Str("reason", w.change.Reason).Msg("change in git")
	case c.Reason != w.change.Reason:
		log.Warn().Err(err).Dur("wait", wait).Msg("change in git waits")
	}
	if w.change.State == string(rollback.GitPushed) {
		_ = l.look(ctx, f, SyncOptions{}) // remembered and logged by polled
	}
	return wait
}

// land sends the change to the branch of the source, or, where that is protected, to one of its own.
func (w *writing) land(ctx context.Context) error {
	err := w.of.Writer.Land(ctx, w.plan)
	var failed *WriteError
	switch {
	case err == nil && w.sent:
		w.settle(rollback.GitPushed, "")
		w.change.Commit = w.hash
	case err == nil && w.aside:
		return w.divert(ctx)
	case errors.As(err, &failed) && failed.Refused:
		if err := w.divert(ctx); err != nil {
			return err
		}
		w.change.Reason = failed.Error()
		return nil
	}
	return err
}

// postpone notes why the change is not made yet, and returns how long to wait; 0: trying again would not help.
func (w *writing) postpone(err error) time.Duration {
	w.settle(rollback.GitQueued, err.Error())
	var failed *WriteError
	if !errors.As(err, &failed) {
		return time.Minute
	}
	if failed.Wait < 0 {
		w.change.State = string(rollback.GitNone)
	}
	return max(failed.Wait, 0)
}

// writing is one try to make a change.
type writing struct {
	loop    *Loop
	of      *follower
	change  state.GitChange
	task    *change.Task            // of an edit that somebody waits for; nil: the ledger says what is wished
	allowed bool                    // the source takes this edit
	left    map[manifests.ID]string // of several Deployments, those that the commit does not set right, and why
	hash    string                  // of the commit made last
	sent    bool                    // it is to be sent
	aside   bool                    // it is to be sent to a branch of its own
	dropped bool                    // nobody wants the change any more
}

func (w *writing) settle(s rollback.GitState, why string) {
	w.change.State, w.change.Reason = string(s), why
}

// plan makes the commit of the change on the newest head, and says whether it is to be sent.
func (w *writing) plan(ctx context.Context, b Branch) (bool, error) {
	w.sent, w.aside = false, false
	for _, hash := range slices.Backward(w.change.Attempts) {
		there, err := b.Contains(ctx, hash)
		if err != nil {
			return false, err
		}
		if there {
			w.settle(rollback.GitPushed, "")
			w.change.Commit = hash
			return false, nil
		}
	}
	if err := w.recorded(ctx, b.Head()); err != nil {
		return false, err
	}
	var e errand
	wanted := false
	if err := w.loop.do(ctx, func(context.Context) { e, wanted = w.loop.errandOf(w.change, w.task) }); err != nil {
		return false, err
	}
	if w.dropped = !wanted; w.dropped {
		return false, nil
	}
	if err := w.of.alone(ctx); err != nil {
		return false, err
	}
	p, err := w.make(ctx, b, e)
	w.of.release()
	switch {
	case err != nil:
		return false, err
	case p.Agrees:
		w.settle(rollback.GitNone, saysSo)
		return false, nil
	case p.Mode == rollback.ModeHold:
		w.settle(rollback.GitNone, failures(p))
		return false, nil
	}
	return w.commit(ctx, b, p, e)
}

// commit makes the commit of a plan and records its hash, and says whether it is to be sent.
func (w *writing) commit(ctx context.Context, b Branch, p change.Plan, e errand) (bool, error) {
	if err := w.admitted(); err != nil {
		return false, err
	}
	var err error
	if w.hash, err = b.Commit(ctx, p, e.wish(), e.note); err != nil {
		return false, err
	}
	w.change.Made = string(p.Mode)
	w.change.Attempts = append(w.change.Attempts, w.hash)
	w.change.Attempts = w.change.Attempts[max(0, len(w.change.Attempts)-maxAttempts):]
	kept, err := w.record(ctx)
	w.dropped = err == nil && !kept
	w.sent, w.aside = kept && !w.change.Aside, kept && w.change.Aside
	return w.sent, err
}

// recorded makes sure that the loop knows the head that the change is planned on: what came with it may have ended the
// hold.
func (w *writing) recorded(ctx context.Context, head string) error {
	for looked := false; ; looked = true {
		at := ""
		if err := w.loop.do(ctx, func(context.Context) { at = w.of.cursor.Commit }); err != nil {
			return err
		}
		switch {
		case at == head:
			return nil
		case looked:
			return ErrBranchMoved
		}
		if err := w.loop.look(ctx, w.of, SyncOptions{}); err != nil {
			return err
		}
	}
}

// failures says why no way of changing Git was taken.
func failures(p change.Plan) string {
	if len(p.Failed) == 0 {
		return "only a hold was asked for"
	}
	out := make([]string, 0, len(p.Failed))
	for _, f := range p.Failed {
		out = append(out, fmt.Sprintf("%s: %s", f.Mode, change.Why(f.Why)))
	}
	return strings.Join(out, "; ")
}

// divert sends the commit to a branch of its own.
func (w *writing) divert(ctx context.Context) error {
	branch := branchPrefix + w.change.ID
	commit, err := w.of.Writer.Divert(ctx, branch, w.change.Attempts)
	if err != nil {
		return err
	}
	w.settle(rollback.GitBranch, "")
	w.change.Commit, w.change.Branch, w.change.Compare = commit, branch, w.of.Writer.Compare(branch)
	return nil
}

// record makes the change durable as it is now, unless another one took its place, or nobody wants it any more. That of
// a hold may use the reserve of a full disk.
func (w *writing) record(ctx context.Context) (kept bool, err error) {
	err = w.loop.durably(ctx, func(context.Context) error {
		var ws []state.Write
		for _, stored := range w.loop.together(w.change) {
			c := w.change
			c.Name, c.Namespace, c.Mode, c.Since = stored.Name, stored.Namespace, stored.Mode, stored.Since
			if why := w.left[deploymentOf(c)]; why != "" && c.State != string(rollback.GitQueued) {
				c.State, c.Reason = string(rollback.GitNone), why
			}
			ws = append(ws, state.PutGitChange(c))
		}
		if kept = len(ws) > 0; !kept {
			return nil
		}
		if w.change.Field == FieldTemplate {
			ws = append(ws, state.UseReserve())
		}
		_, err := w.loop.o.Store.Commit(ws...)
		return err
	})
	return kept, err
}

// errand is what the plan of a change begins with.
type errand struct {
	task   change.Task
	wishes []change.Wish // of a revert for several Deployments; the task is not used then
	note   CommitNote
}

// errandOf gathers what a change wishes, from the ledger as it is now, or from the task of one that somebody waits for;
// false: nobody wants it any more.
func (l *Loop) errandOf(c state.GitChange, waited *change.Task) (errand, bool) {
	if len(l.together(c)) == 0 {
		return errand{}, false
	}
	e := errand{note: CommitNote{Trailer: "Belay-Request", ID: c.ID, By: c.By, Why: c.Why, Instance: l.o.Store.Instance(), At: l.o.Now()}}
	switch {
	case waited != nil:
		e.task = *waited
		return e, true
	case c.Revert != "":
		return l.errandTogether(c, e)
	}
	if c.Field != FieldTemplate {
		for _, o := range l.o.Store.Overrides(c.Namespace, c.Name) {
			if o.Field == c.Field && o.ID == c.ID {
				var ok bool
				e.task, ok = change.OverrideTask(o)
				return e, ok
			}
		}
		return errand{}, false
	}
	h, held := l.o.Store.Hold(c.Namespace, c.Name)
	if !held || h.ID != c.ID {
		return errand{}, false
	}
	t := l.template(h.Template)
	if t == nil {
		return errand{}, false
	}
	e.task = change.RollbackTask(h, l.o.Store.Rows(c.Namespace, c.Name), t, rollback.Mode(c.Mode))
	e.task.Secrets = c.Secrets
	e.note.Trailer, e.note.To, e.note.ToCommit = "Belay-Rollback", change.Target(h), e.task.Then
	return e, true
}

// queue says what becomes of a rollback in Git, and gives the writes that record it; with adds to the change.
func (l *Loop) queue(h state.Hold, source string, mode rollback.Mode, with func(*state.GitChange)) (rollback.GitChange, []state.Write) {
	none := func(why string) (rollback.GitChange, []state.Write) {
		return rollback.GitChange{Mode: rollback.ModeHold, State: rollback.GitNone, Why: why},
			[]state.Write{state.RemoveGitChange(h.Namespace, h.Name, FieldTemplate)}
	}
	f := l.follows.Load().named[source]
	switch {
	case h.Manual:
		return none("a pin changes nothing in Git")
	case mode == rollback.ModeHold:
		return none("only a hold was asked for")
	case f == nil || f.Writer == nil:
		return none("pushing is not configured")
	}
	mode = cmp.Or(mode, rollback.ModeAuto)
	c := state.GitChange{
		ID: h.ID, Namespace: h.Namespace, Name: h.Name, Field: FieldTemplate, Source: source, Mode: string(mode), By: h.By, Why: h.Reason,
		Since: h.Since, State: string(rollback.GitQueued),
	}
	with(&c)
	return rollback.GitChange{Mode: mode, State: rollback.GitQueued}, []state.Write{state.PutGitChange(c)}
}

// queueEdit gives the writes that record what becomes of an override in Git.
func (l *Loop) queueEdit(o state.Override, source string) []state.Write {
	f := l.follows.Load().named[source]
	if _, ok := change.OverrideTask(o); !ok || f == nil || f.Writer == nil {
		return nil
	}
	return []state.Write{state.PutGitChange(state.GitChange{
		ID: o.ID, Namespace: o.Namespace, Name: o.Name, Field: o.Field, Source: source, By: o.By, Since: o.Since, State: string(rollback.GitQueued),
	})}
}

// kick has the changes of a source tried now.
func (l *Loop) kick(source string) {
	f := l.follows.Load().named[source]
	if f == nil {
		return
	}
	select {
	case f.writing <- struct{}{}:
	default:
	}
}
