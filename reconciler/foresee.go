package reconciler

import (
	"context"
	"time"

	"github.com/belay-dev/belay/manifests"
	"github.com/belay-dev/belay/reconciler/change"
	"github.com/belay-dev/belay/reconciler/rollback"
)

// foresight bounds how long a preview plans the change in Git: who looks at it wants to go back.
const foresight = 10 * time.Second

// foresee says what a rollback's change in Git would be at the newest head that is known here. Git is not asked.
func (l *Loop) foresee(ctx context.Context, r rollback.Result, secrets bool) rollback.GitChange {
	out := r.Git
	f := l.follows.Load().named[r.Row.Source]
	held := l.template(r.Hold.Template)
	if f == nil || f.Writer == nil || held == nil || out.State != rollback.GitQueued {
		return out
	}
	rows := l.o.Store.Rows(r.Hold.Namespace, r.Hold.Name)
	task := change.RollbackTask(r.Hold, rows, held, out.Mode)
	task.Secrets = secrets
	ctx, cancel := context.WithTimeout(ctx, foresight)
	defer cancel()
	var p change.Plan
	err := f.Writer.Peek(func(b Branch) (err error) {
		p, err = change.Make(ctx, f.Cache, b, task)
		return err
	})
	if err != nil {
		out.Why = "not planned yet: " + err.Error()
		return out
	}
	foreseen(&out, p, func(id manifests.ID) bool { return id == task.ID })
	return out
}

// foreseen takes what a plan says into the change that it is for.
func foreseen(out *rollback.GitChange, p change.Plan, named func(manifests.ID) bool) {
	out.Mode, out.Why, out.Undo, out.Files = p.Mode, "", p.Commits, p.Touched
	for _, o := range p.Objects {
		if !named(o.ID) {
			out.Objects = append(out.Objects, o.ID.String())
		}
	}
	for _, f := range p.Failed {
		out.Failed = append(out.Failed, string(f.Mode)+": "+change.Why(f.Why))
		for _, r := range f.Why {
			if r.Hint != "" && out.Hint == "" {
				out.Hint = r.Hint
			}
		}
	}
	switch {
	case p.Agrees:
		out.Mode, out.State, out.Why = rollback.ModeHold, rollback.GitNone, "Git says so already"
	case p.Mode == rollback.ModeHold:
		out.State, out.Why = rollback.GitNone, "no way to change Git passes"
	}
}
