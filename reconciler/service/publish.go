package service

import (
	"context"
	"fmt"
	"time"

	"github.com/rs/zerolog"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/belay-dev/belay/reconciler/controller"
	"github.com/belay-dev/belay/state"
)

// NewPublisher is the controller that keeps the EndpointSlices and the Endpoints of every Service that chooses pods.
func NewPublisher(store *state.Store, log zerolog.Logger, now func() time.Time) controller.Config {
	p := &publisher{store: store}
	return controller.Config{
		Name:  "endpointslice",
		Kinds: []state.Kind{state.KindService, state.KindPod, state.KindEndpointSlice, state.KindEndpoints},
		Keys:  p.keys, Resync: p.resync, Reconcile: p.reconcile, Now: now, Log: log,
	}
}

type publisher struct{ store *state.Store }

// resync looks at every Service, and at what is left of those that went while nobody looked.
func (p *publisher) resync(store *state.Store) []state.Key {
	var keys []state.Key
	for _, kind := range []state.Kind{state.KindService, state.KindEndpointSlice, state.KindEndpoints} {
		for _, o := range store.List(kind, "") {
			if key, ok := serviceOf(o); ok {
				keys = append(keys, key)
			}
		}
	}
	return keys
}

// serviceOf is the Service whose endpoints an object tells of, or which it is; not when they are somebody else's.
func serviceOf(o state.Object) (state.Key, bool) {
	key := state.Key{Kind: state.KindService, Namespace: o.GetNamespace(), Name: o.GetName()}
	labels := o.GetLabels()
	switch o.(type) {
	case *discoveryv1.EndpointSlice:
		key.Name = labels[discoveryv1.LabelServiceName]
		return key, key.Name != "" && labels[discoveryv1.LabelManagedBy] == managedBy
	case *corev1.Endpoints:
		return key, labels[labelEndpoints] == managedEndpoints
	}
	return key, true
}

// keys maps a pod to the Services that select it, or did, when what makes it an endpoint has changed; and what tells of
// endpoints to its Service when somebody changed it.
func (p *publisher) keys(e state.Event) []state.Key {
	after, ok := e.Object.(*corev1.Pod)
	if !ok {
		if key, ok := serviceOf(e.Object); ok {
			return []state.Key{key}
		}
		return nil
	}
	before, _ := e.Old.(*corev1.Pod)
	if e.Type == state.Modified && before != nil && sameEndpoint(before, after) && before.Status.PodIP == after.Status.PodIP &&
		before.Spec.NodeName == after.Spec.NodeName {
		return nil
	}
	var keys []state.Key
	for _, o := range state.List[*corev1.Service](p.store, after.Namespace) {
		if Selects(o, after.Labels) || before != nil && Selects(o, before.Labels) {
			keys = append(keys, state.KeyOf(o))
		}
	}
	return keys
}

func (p *publisher) reconcile(_ context.Context, key state.Key, _ time.Time) (time.Time, error) {
	var there []*discoveryv1.EndpointSlice
	for _, s := range state.List[*discoveryv1.EndpointSlice](p.store, key.Namespace) {
		if of, ok := serviceOf(s); ok && of == key && s.DeletionTimestamp == nil {
			there = append(there, s)
		}
	}
	addresses, _ := state.Get[*corev1.Endpoints](p.store, key.Namespace, key.Name)
	service, ok := state.Get[*corev1.Service](p.store, key.Namespace, key.Name)
	var writes []state.Write
	if ok {
		writes = publication(service, state.List[*corev1.Pod](p.store, key.Namespace), there, addresses)
	} else {
		for _, s := range there {
			writes = append(writes, remove(s))
		}
		if addresses != nil && addresses.Labels[labelEndpoints] == managedEndpoints {
			writes = append(writes, remove(addresses))
		}
	}
	if len(writes) == 0 {
		return time.Time{}, nil
	}
	_, err := p.store.Commit(writes...)
	switch {
	case err == nil, apierrors.IsNotFound(err): // what is gone was seen to go: this is looked at again
		return time.Time{}, nil
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return time.Time{}, nil // nothing is made there any more
	}
	return time.Time{}, fmt.Errorf("write endpoints: %w", err)
}

// publication are the writes after which what is stored tells of the pods.
func publication(service *corev1.Service, pods []*corev1.Pod, there []*discoveryv1.EndpointSlice, addresses *corev1.Endpoints) []state.Write {
	var writes []state.Write
	plan := PlanSlices(service, pods, there)
	for _, s := range plan.Create {
		writes = append(writes, state.Create(s))
	}
	for _, s := range plan.Update {
		writes = append(writes, state.Update(s))
	}
	for _, s := range plan.Delete {
		writes = append(writes, remove(s))
	}
	switch want := PlanAddresses(service, pods, addresses); {
	case want == nil:
	case addresses == nil:
		writes = append(writes, state.Create(want))
	default:
		writes = append(writes, state.Update(want))
	}
	return writes
}

func remove(o state.Object) state.Write {
	return state.Delete(state.KeyOf(o), state.DeleteOptions{UID: o.GetUID(), ResourceVersion: o.GetResourceVersion()})
}
