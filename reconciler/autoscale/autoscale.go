package autoscale

import (
	"context"
	"fmt"
	"time"

	"github.com/rs/zerolog"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/belay-dev/belay/reconciler/controller"
	"github.com/belay-dev/belay/state"
)

// Recorder tells Events.
type Recorder interface {
	Event(obj state.Object, eventType, reason, message string)
}

// New is the controller of HorizontalPodAutoscalers.
func New(store *state.Store, events Recorder, log zerolog.Logger, now func() time.Time) controller.Config {
	s := &autoscalers{store: store, events: events}
	return controller.Config{
		Name: "autoscale", Kinds: []state.Kind{state.KindHorizontalPodAutoscaler, state.KindDeployment, state.KindReplicaSet},
		Keys: s.keys, Resync: s.resync, Reconcile: s.reconcile, Now: now, Log: log,
	}
}

type autoscalers struct {
	store  *state.Store
	events Recorder
}

func (s *autoscalers) resync(store *state.Store) []state.Key {
	var keys []state.Key
	for _, hpa := range store.List(state.KindHorizontalPodAutoscaler, "") {
		keys = append(keys, state.KeyOf(hpa))
	}
	return keys
}

// keys maps an autoscaler to itself, and what can be scaled to its autoscalers when its replicas have changed.
func (s *autoscalers) keys(e state.Event) []state.Key {
	key := state.KeyOf(e.Object)
	if key.Kind == state.KindHorizontalPodAutoscaler {
		return []state.Key{key}
	}
	if e.Type == state.Modified && replicasOf(e.Object) == replicasOf(e.Old) {
		return nil
	}
	var keys []state.Key
	for _, hpa := range state.List[*autoscalingv2.HorizontalPodAutoscaler](s.store, key.Namespace) {
		if hpa.Spec.ScaleTargetRef.Kind == string(key.Kind) && hpa.Spec.ScaleTargetRef.Name == key.Name {
			keys = append(keys, state.KeyOf(hpa))
		}
	}
	return keys
}

// replicasOf is how many replicas are asked for.
func replicasOf(o state.Object) int32 {
	var replicas *int32
	switch o := o.(type) {
	case *appsv1.Deployment:
		replicas = o.Spec.Replicas
	case *appsv1.ReplicaSet:
		replicas = o.Spec.Replicas
	}
	if replicas == nil {
		return 1 // the default
	}
	return *replicas
}

// scaled is a copy with another number of replicas.
func scaled(o state.Object, replicas int32) state.Object {
	after := o.DeepCopyObject().(state.Object)
	switch o := after.(type) {
	case *appsv1.Deployment:
		o.Spec.Replicas = &replicas
	case *appsv1.ReplicaSet:
		o.Spec.Replicas = &replicas
	}
	return after
}

// target finds what an autoscaler scales; nil with the problem when there is none.
func (s *autoscalers) target(hpa *autoscalingv2.HorizontalPodAutoscaler) (state.Object, Target) {
	ref := hpa.Spec.ScaleTargetRef
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil {
		return nil, Target{Problem: err.Error()}
	}
	key := state.Key{Kind: state.Kind(ref.Kind), Namespace: hpa.Namespace, Name: ref.Name}
	if gv.Group != appsv1.GroupName || key.Kind != state.KindDeployment && key.Kind != state.KindReplicaSet {
		return nil, Target{Problem: fmt.Sprintf("no matches for kind %q in group %q", ref.Kind, gv.Group)}
	}
	o, ok := s.store.Get(key)
	if !ok {
		resource := "deployments"
		if key.Kind == state.KindReplicaSet {
			resource = "replicasets"
		}
		return nil, Target{Problem: apierrors.NewNotFound(schema.GroupResource{Group: gv.Group, Resource: resource}, ref.Name).Error()}
	}
	_, managed := s.store.Managed(key)
	return o, Target{Replicas: replicasOf(o), Managed: managed}
}

func (s *autoscalers) reconcile(_ context.Context, key state.Key, now time.Time) (time.Time, error) {
	hpa, ok := state.Get[*autoscalingv2.HorizontalPodAutoscaler](s.store, key.Namespace, key.Name)
	if !ok || hpa.DeletionTimestamp != nil {
		return time.Time{}, nil
	}
	object, target := s.target(hpa)
	result := Plan(hpa, target, now)
	var writes []state.Write
	if result.Scale != nil {
		writes = append(writes, state.Update(scaled(object, *result.Scale)))
	}
	if !equality.Semantic.DeepEqual(hpa.Status, result.Status) {
		after := hpa.DeepCopy()
		after.Status = result.Status
		writes = append(writes, state.UpdateStatus(after))
	}
	if len(writes) == 0 {
		return time.Time{}, nil
	}
	if _, err := s.store.Commit(writes...); err != nil {
		if apierrors.IsNotFound(err) {
			return now, nil
		}
		return time.Time{}, fmt.Errorf("scale: %w", err)
	}
	for _, e := range result.Events {
		s.events.Event(hpa, e.Type, e.Reason, e.Message)
	}
	return time.Time{}, nil
}
