package reconciler

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/belay-dev/belay/reconciler/engine"
	"github.com/belay-dev/belay/reconciler/ledger"
	"github.com/belay-dev/belay/reconciler/rollback"
	"github.com/belay-dev/belay/state"
)

// deadlineExceeded is Kubernetes' reason for a rollout without progress.
const deadlineExceeded = "ProgressDeadlineExceeded"

// missed is when a Deployment of a source passed its progress deadline.
type missed struct {
	source string
	at     time.Time
}

// loadMissed fills in when Deployments passed their deadlines.
func (w *workset) loadMissed(s *state.Store) {
	for _, r := range s.MissedRows() {
		w.missedBy(r)
	}
}

// missedBy takes in a row that may have passed its deadline.
func (w *workset) missedBy(r state.Row) {
	if key := rowKey(r); r.MissedAt.After(w.missed[key].at) {
		w.missed[key] = missed{source: r.Source, at: r.MissedAt}
	}
}

// automatic rolls back by itself the Deployments whose rollout passed its deadline, where their app asks for it and
// nothing speaks against it.
func (l *Loop) automatic(ctx context.Context, keys []engine.Key) {
	for _, k := range keys {
		delete(l.work.wakes, k)
		r, ok := l.failedRow(k)
		if !ok {
			continue
		}
		if at := r.EndedAt.Add(rollback.Patience); l.o.Now().Before(at) {
			l.work.wakes[k] = at
			continue
		}
		if err := l.decide(ctx, k, r); err != nil {
			l.o.Log.Warn().Stringer("object", k).Err(err).Msg("not rolled back")
		}
	}
}

// failedRow is the row of a Deployment that is to be decided on: its rollout passed its deadline, it is what runs, and
// nobody holds it.
func (l *Loop) failedRow(k engine.Key) (state.Row, bool) {
	d := l.desired(k)
	if k.Kind != state.KindDeployment || d == nil || l.onFailure(d).OnFailure == rollback.FailureNone {
		return state.Row{}, false
	}
	if _, held := l.o.Store.Hold(k.Namespace, k.Name); held {
		return state.Row{}, false
	}
	live := l.o.Engine.Live(k)
	rows := l.o.Store.Rows(k.Namespace, k.Name)
	i := current(rows, live)
	if i < 0 || live.Object == nil || rows[i].Template != live.Rollout.Template {
		return state.Row{}, false
	}
	r := rows[i]
	return r, r.Outcome == ledger.Failed && r.Reason == deadlineExceeded && r.Operation == "" && r.Suppressed == ""
}

// onFailure is what an app asks for.
func (l *Loop) onFailure(d *Desired) App {
	f := l.follows.Load().named[d.Source]
	if f == nil || f.cursor.Suspended {
		return App{OnFailure: rollback.FailureNone}
	}
	i := slices.IndexFunc(f.Apps, func(a App) bool { return a.Name == d.Manifest.App })
	if i < 0 {
		return App{OnFailure: rollback.FailureNone}
	}
	a := f.Apps[i]
	a.OnFailure = cmp.Or(a.OnFailure, rollback.FailureNone)
	return a
}

// byItself is what becomes in Git of a hold that nobody asked for.
func (l *Loop) byItself(a App) becoming {
	mode := rollback.ModeHold
	if a.OnFailure == rollback.FailureRollback {
		mode = rollback.ModeAuto
	}
	return func(h state.Hold, source string) (rollback.GitChange, []state.Write) {
		return l.queue(h, source, mode, func(c *state.GitChange) { c.Aside = !a.AutoPush })
	}
}

// planned gives the writes that record what becomes in Git of a hold that a plan made; none when it made none.
func (l *Loop) planned(a Action) []state.Write {
	h := a.Holds.Hold
	d := l.desired(a.Key)
	if h == nil || d == nil || h.Door != string(rollback.DoorAutomatic) {
		return nil
	}
	if before, held := l.o.Store.Hold(a.Key.Namespace, a.Key.Name); held && before.ID == h.ID {
		return nil
	}
	_, ws := l.byItself(l.onFailure(d))(*h, d.Source)
	return ws
}

// kickFor has what a hold that a plan made changes in Git tried now.
func (l *Loop) kickFor(a Action) {
	if d := l.desired(a.Key); a.Holds.Hold != nil && d != nil {
		l.kick(d.Source)
	}
}

// decide rolls one Deployment back, or records why not.
func (l *Loop) decide(ctx context.Context, k engine.Key, r state.Row) error {
	in, f, err := l.about(k.Namespace, k.Name)
	if err != nil {
		return err
	}
	x := rollback.Failure{Row: r, Since: l.since, Serving: in.Subjects[0].Live.Serving, Now: l.o.Now()}
	for other, m := range l.work.missed {
		if other != k && m.source == r.Source {
			x.Others = append(x.Others, m.at)
		}
	}
	req, why := rollback.Automatic(f, x)
	if why == "" {
		becomes := l.byItself(l.onFailure(l.desired(k)))
		_, err := l.held(ctx, k.Namespace, k.Name, becomes, false, func(f rollback.Facts) (rollback.Decision, error) { return rollback.Decide(f, req) })
		if refused, ok := errors.AsType[*rollback.Refusal](err); !ok || refused.Reason != rollback.Moved {
			return err
		}
		return nil
	}
	r.Suppressed = string(why)
	a := Action{Kind: ActionRecord, Reason: ReasonAutoRollbackSuppressed, Key: k, Row: r.ID, Rows: []state.Row{r}, Events: []Event{{
		Warning: true, Reason: ReasonAutoRollbackSuppressed, Message: fmt.Sprintf("%s: %s", why, why.Describe()),
	}}}
	if err := l.act(ctx, a); err != nil {
		return err
	}
	l.done(a)
	l.pass(ctx, []engine.Key{k}) // it says so from now on
	return nil
}
