package reconciler

import (
	"context"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/belay-dev/belay/reconciler/engine"
	"github.com/belay-dev/belay/reconciler/rollback"
	"github.com/belay-dev/belay/state"
)

// Release ends the hold and the marks of a Deployment: what Git wants is rolled out by the ordinary path, windows and
// slots included. With Preview it says what that would be, and nothing changes.
func (l *Loop) Release(ctx context.Context, r rollback.ReleaseRequest) (rollback.Released, error) {
	var out rollback.Released
	err := l.durably(ctx, func(ctx context.Context) (err error) {
		for range passes {
			if out, err = l.release(ctx, r); !apierrors.IsConflict(err) {
				return err
			}
		}
		return errMoving
	})
	return out, err
}

func (l *Loop) release(ctx context.Context, r rollback.ReleaseRequest) (rollback.Released, error) {
	in, f, err := l.about(r.Namespace, r.Name)
	if err != nil {
		return rollback.Released{}, err
	}
	if r.Hold != "" && (f.Hold == nil || f.Hold.ID != r.Hold) {
		return rollback.Released{}, &rollback.Refusal{
			Reason: rollback.Moved, Message: "it is no longer held as it was shown", HintText: "look again with belay holds",
		}
	}
	if f.Hold == nil && len(f.Marks) == 0 {
		return rollback.Released{}, &rollback.Refusal{
			Reason: rollback.NotHeld, Message: fmt.Sprintf("Deployment %s/%s is not held, and nothing of it is bad", r.Namespace, r.Name),
			HintText: "belay holds lists what is",
		}
	}
	out := rollback.Released{Hold: f.Hold, Marks: f.Marks}
	w := wish{holds: Holds{Ended: f.Hold != nil}}
	for _, m := range f.Marks {
		w.holds.Unmarked = append(w.holds.Unmarked, m.ID)
	}
	message := "Marks ended"
	if f.Hold != nil {
		message = fmt.Sprintf("Hold %s ended", f.Hold.ID)
	}
	if r.By != "" {
		message += ": released by " + r.By
	}
	w.events = []Event{{Reason: ReasonHoldEnded, Message: message}}
	actions, change := l.granted(&in, w)
	forecast := l.forecast(&in.Subjects[0], change)
	out.Next = rowOf(actions)
	if r.Preview {
		out.Fields, out.Steps = forecast()
		return out, nil
	}
	err = l.carryOut(ctx, in.Subjects[0].Key, w, actions, func() {
		out.Fields, out.Steps = forecast()
		if row, ok := l.o.Store.Row(out.Next.ID); ok {
			out.Next = row
		}
	})
	if err != nil {
		return rollback.Released{}, err
	}
	return out, nil
}

// releasable lists the marks and holds of a source's Deployments, where one of the steps says that it ends any.
func (l *Loop) releasable(f *follower, steps []Rendered) ([]state.Mark, []state.Hold) {
	if !slices.ContainsFunc(steps, func(r Rendered) bool { return len(r.Step.Reverts)+len(r.Step.Releases) > 0 }) {
		return nil, nil
	}
	foreign := func(namespace, name string) bool {
		m, ok := l.o.Store.Managed(engine.Key{Kind: state.KindDeployment, Namespace: namespace, Name: name})
		return !ok || m.Source != f.Name
	}
	marks := slices.DeleteFunc(l.o.Store.AllMarks(), func(m state.Mark) bool { return foreign(m.Namespace, m.Name) })
	return marks, slices.DeleteFunc(l.o.Store.Holds(), func(h state.Hold) bool { return foreign(h.Namespace, h.Name) })
}

// released tells people of the holds and marks that commits ended, and gives their Deployments.
func (l *Loop) released(rec Recorded) []engine.Key {
	var keys []engine.Key
	add := func(namespace, name, message string) {
		k := engine.Key{Kind: state.KindDeployment, Namespace: namespace, Name: name}
		keys = append(keys, k)
		l.tell(Action{Key: k, Events: []Event{{Reason: ReasonHoldEnded, Message: message}}})
	}
	by := short(rec.Cursor.Commit)
	for _, h := range rec.Unheld {
		add(h.Namespace, h.Name, fmt.Sprintf("Hold %s ended: released by commit %s", h.ID, by))
	}
	for _, m := range rec.Unmarked {
		add(m.Namespace, m.Name, "Marks ended: released by commit "+by)
	}
	return keys
}

// rowOf is the row that actions hand over, or that waits to be; none when there is none.
func rowOf(actions []Action) state.Row {
	for _, a := range actions {
		for _, r := range a.Rows {
			if r.Open && (a.Kind == ActionRollout && r.ID == a.Row || a.Kind != ActionRollout && r.StartedAt.IsZero()) {
				return r
			}
		}
	}
	return state.Row{}
}

// Override sets one field of a Deployment past Git at once, and gives the Deployment as it is then.
func (l *Loop) Override(ctx context.Context, r rollback.OverrideRequest) (state.Object, error) {
	var out state.Object
	err := l.durably(ctx, func(ctx context.Context) (err error) {
		for range passes {
			if out, err = l.override(ctx, r); !apierrors.IsConflict(err) {
				return err
			}
		}
		return errMoving
	})
	return out, err
}

func (l *Loop) override(ctx context.Context, r rollback.OverrideRequest) (state.Object, error) {
	r.Now = l.o.Now()
	in, f, err := l.about(r.Namespace, r.Name)
	if err != nil {
		return nil, err
	}
	o, row, err := rollback.DecideOverride(f, r)
	if err != nil {
		return nil, err
	}
	w := wish{holds: Holds{Overrides: []state.Override{o}}}
	if row != nil {
		w.rows = []state.Row{*row}
	}
	source := sourceOf(in.Subjects[0])
	w.git = l.queueEdit(o, source)
	key := engine.Key{Kind: state.KindDeployment, Namespace: r.Namespace, Name: r.Name}
	actions, _ := l.granted(&in, w)
	var out state.Object
	if err := l.carryOut(ctx, key, w, actions, func() { out = l.o.Engine.Live(key).Object }); err != nil {
		return nil, err
	}
	l.kick(source)
	return out, nil
}
