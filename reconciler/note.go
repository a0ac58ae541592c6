package reconciler

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/belay-dev/belay/reconciler/engine"
	"github.com/belay-dev/belay/reconciler/rollback"
	"github.com/belay-dev/belay/state"
)

// Note sets annotations of a Deployment that are never Git's, or takes those away whose value is empty. A change-cause
// that is given so is the one of the revision that runs, here and in the ledger. It is durable when it returns.
func (l *Loop) Note(ctx context.Context, namespace, name string, notes map[string]string) error {
	return l.durably(ctx, func(ctx context.Context) error {
		for range passes {
			if err := l.note(ctx, namespace, name, notes); !apierrors.IsConflict(err) {
				return err
			}
		}
		return errMoving
	})
}

func (l *Loop) note(ctx context.Context, namespace, name string, notes map[string]string) error {
	key := engine.Key{Kind: state.KindDeployment, Namespace: namespace, Name: name}
	live := l.o.Engine.Live(key)
	d := live.Deployment()
	if d == nil {
		return &rollback.Refusal{Reason: rollback.NotRunning, Message: "Deployment " + namespace + "/" + name + " does not run"}
	}
	c := engine.Change{Key: key, Desired: d, Notes: notes}
	if cause, ok := notes[engine.ChangeCause]; ok {
		rows := l.o.Store.Rows(namespace, name)
		if i := current(rows, live); i >= 0 {
			rows[i].ChangeCause = cause
			c.Ledger = []state.Write{state.PutRow(rows[i])}
		}
	}
	return l.o.Engine.Apply(ctx, c)
}
