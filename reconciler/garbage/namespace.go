package garbage

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/rs/zerolog"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/belay-dev/belay/reconciler/controller"
	"github.com/belay-dev/belay/state"
)

// contents are the kinds that live in a namespace, in the order in which they go: owners first, so that nothing is made
// anew, and Events last, since all the others leave some.
var contents = []state.Kind{
	state.KindHorizontalPodAutoscaler, state.KindDeployment, state.KindReplicaSet, state.KindPod, state.KindService, state.KindEndpointSlice, state.KindEndpoints,
	state.KindConfigMap, state.KindSecret, state.KindResourceQuota, state.KindEvent,
}

// The reasons of a plan for a namespace.
const (
	NamespaceStays     Reason = "NamespaceStays"     // nobody deletes it
	ContentRemains     Reason = "ContentRemains"     // what is in it goes first
	NamespaceEmptied   Reason = "NamespaceEmptied"   // the namespace may go
	NamespaceFinalized Reason = "NamespaceFinalized" // only finalizers of somebody else keep it
)

// PlanNamespace decides what becomes of a namespace, given all that lives in it, as Kubernetes' namespace controller
// does: when it is being deleted, so is everything in it; once that has gone, the namespace is let go.
func PlanNamespace(ns *corev1.Namespace, inside []state.Object) Result {
	if ns.DeletionTimestamp == nil {
		return Result{Reason: NamespaceStays}
	}
	if len(inside) == 0 {
		if !slices.Contains(ns.Spec.Finalizers, corev1.FinalizerKubernetes) {
			return Result{Reason: NamespaceFinalized}
		}
		return Result{Reason: NamespaceEmptied, Actions: []Action{{Verb: DropFinalizer, Object: ns, Finalizer: string(corev1.FinalizerKubernetes)}}}
	}
	r := Result{Reason: ContentRemains}
	for _, o := range inside {
		if o.GetDeletionTimestamp() == nil {
			r.Actions = append(r.Actions, Action{Verb: Delete, Object: o})
		}
	}
	return r
}

// NewNamespaces is the controller that empties namespaces which are being deleted.
func NewNamespaces(store *state.Store, log zerolog.Logger, now func() time.Time) controller.Config {
	n := &namespaces{store: store, log: log}
	return controller.Config{
		Name: "namespace", Kinds: append([]state.Kind{state.KindNamespace}, contents...), Keys: n.keys, Resync: n.resync,
		Reconcile: n.reconcile, Now: now, Log: log,
	}
}

type namespaces struct {
	store *state.Store
	log   zerolog.Logger
}

func (n *namespaces) resync(store *state.Store) []state.Key {
	var keys []state.Key
	for _, ns := range store.List(state.KindNamespace, "") {
		if ns.GetDeletionTimestamp() != nil {
			keys = append(keys, state.KeyOf(ns))
		}
	}
	return keys
}

// keys maps to the namespace, if it is being deleted, what changes it, and what goes from it.
func (n *namespaces) keys(e state.Event) []state.Key {
	if ns, ok := e.Object.(*corev1.Namespace); ok {
		if e.Type == state.Modified && ns.DeletionTimestamp != nil {
			return []state.Key{state.KeyOf(ns)}
		}
		return nil
	}
	if e.Type == state.Modified { // it is there before and after
		return nil
	}
	ns, ok := state.Get[*corev1.Namespace](n.store, "", e.Object.GetNamespace())
	if !ok || ns.DeletionTimestamp == nil {
		return nil
	}
	return []state.Key{state.KeyOf(ns)}
}

func (n *namespaces) reconcile(ctx context.Context, key state.Key, now time.Time) (time.Time, error) {
	ns, ok := state.Get[*corev1.Namespace](n.store, "", key.Name)
	if !ok || ns.DeletionTimestamp == nil {
		return time.Time{}, nil
	}
	var inside []state.Object
	for _, kind := range contents {
		inside = append(inside, n.store.List(kind, key.Name)...)
	}
	result := PlanNamespace(ns, inside)
	if result.Reason == NamespaceEmptied {
		after := ns.DeepCopy()
		after.Spec.Finalizers = slices.DeleteFunc(after.Spec.Finalizers, func(f corev1.FinalizerName) bool { return f == corev1.FinalizerKubernetes })
		_, err := n.store.Commit(state.Update(after))
		if apierrors.IsConflict(err) { // changed, or not empty any more: look once more
			return now, nil
		}
		return again(time.Time{}, now, err)
	}
	for batch := range slices.Chunk(result.Actions, maxDeletes) {
		if ctx.Err() != nil {
			return time.Time{}, ctx.Err()
		}
		writes := make([]state.Write, 0, len(batch))
		for _, a := range batch {
			writes = append(writes, state.Delete(state.KeyOf(a.Object), state.DeleteOptions{UID: a.Object.GetUID()}))
		}
		if _, err := n.store.Commit(writes...); err != nil {
			return again(time.Time{}, now, fmt.Errorf("empty namespace: %w", err))
		}
	}
	if len(result.Actions) > 0 {
		n.log.Debug().Stringer(logKey, key).Str(logReason, string(result.Reason)).Msg("emptied")
	}
	return time.Time{}, nil
}
