package quota

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/rs/zerolog"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/belay-dev/belay/reconciler/controller"
	"github.com/belay-dev/belay/state"
)

// New is the controller of the status of ResourceQuotas.
func New(store *state.Store, log zerolog.Logger, now func() time.Time) controller.Config {
	q := &quotas{store: store}
	return controller.Config{
		Name: "quota", Kinds: slices.Sorted(maps.Keys(names)), Keys: q.keys, Resync: q.resync, Reconcile: q.reconcile, Now: now, Log: log,
	}
}

type quotas struct{ store *state.Store }

func (q *quotas) resync(store *state.Store) []state.Key {
	var keys []state.Key
	for _, o := range store.List(state.KindResourceQuota, "") {
		keys = append(keys, state.KeyOf(o))
	}
	return keys
}

// keys maps what changes a number of objects to the quotas of its namespace, and a changed quota to itself.
func (q *quotas) keys(e state.Event) []state.Key {
	if e.Type == state.Modified {
		if quota, ok := e.Object.(*corev1.ResourceQuota); ok {
			return []state.Key{state.KeyOf(quota)}
		}
		after, ok := e.Object.(*corev1.Pod)
		if before, was := e.Old.(*corev1.Pod); !ok || !was || ended(before) == ended(after) {
			return nil
		}
	}
	var keys []state.Key
	for _, o := range q.store.List(state.KindResourceQuota, e.Object.GetNamespace()) {
		keys = append(keys, state.KeyOf(o))
	}
	return keys
}

func (q *quotas) reconcile(_ context.Context, key state.Key, now time.Time) (time.Time, error) {
	quota, ok := state.Get[*corev1.ResourceQuota](q.store, key.Namespace, key.Name)
	if !ok {
		return time.Time{}, nil
	}
	status := Plan(quota, func(kind state.Kind) []state.Object { return q.store.List(kind, key.Namespace) })
	if equality.Semantic.DeepEqual(quota.Status, status) {
		return time.Time{}, nil
	}
	after := quota.DeepCopy()
	after.Status = status
	_, err := q.store.Commit(state.UpdateStatus(after))
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) { // look once more
		return now, nil
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("write quota status: %w", err)
	}
	return time.Time{}, nil
}
