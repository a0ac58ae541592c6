package service

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/rs/zerolog"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/belay-dev/belay/reconciler/controller"
	"github.com/belay-dev/belay/reconciler/event"
	"github.com/belay-dev/belay/state"
)

// Doorkeeper stands before the pods.
type Doorkeeper interface {
	// Set makes what one Service, NAMESPACE/NAME, is to its clients that which is given; the zero value ends it. It tells
	// the addresses that were opened by the address that was asked for, and of those that could not be opened the errors.
	Set(ctx context.Context, owner string, want Front) (map[string]string, error)
}

// Dialer reaches a port of a pod that runs.
type Dialer interface {
	Dial(ctx context.Context, pod *corev1.Pod, port int32) (net.Conn, error)
}

// DialPods reaches the backends that Endpoints names. A pod that went meanwhile, also one that came again under its name,
// is an error: another backend is tried then. It knows connections only.
func DialPods(store *state.Store, pods Dialer) Dial {
	return func(ctx context.Context, b Backend) (net.Conn, error) {
		if b.UDP {
			return nil, errors.ErrUnsupported
		}
		pod, ok := state.Get[*corev1.Pod](store, b.Namespace, b.Name)
		if !ok || string(pod.UID) != b.Pod {
			return nil, apierrors.NewNotFound(corev1.Resource("pods"), b.Name)
		}
		conn, err := pods.Dial(ctx, pod, b.Port)
		if err != nil {
			return nil, fmt.Errorf("dial pod %s: %w", b.Name, err)
		}
		return conn, nil
	}
}

// Who the Events of a Service say they are from: what makes load balancers in a cluster.
const component = "service-controller"

// New is the controller that keeps what d opens as Services and pods ask for.
func New(store *state.Store, d Doorkeeper, reach Reach, log zerolog.Logger, now func() time.Time) controller.Config {
	s := &services{store: store, doors: d, reach: reach, events: event.NewRecorder(store, component, now, event.Log(log))}
	return controller.Config{
		Name: "service", Kinds: []state.Kind{state.KindService, state.KindPod}, Keys: s.keys, Resync: s.resync,
		Reconcile: s.reconcile, Now: now, Log: log,
	}
}

type services struct {
	store  *state.Store
	doors  Doorkeeper
	reach  Reach
	events *event.Recorder
}

func (s *services) resync(store *state.Store) []state.Key {
	var keys []state.Key
	for _, service := range store.List(state.KindService, "") {
		keys = append(keys, state.KeyOf(service))
	}
	return keys
}

// keys maps a Service to itself, and a pod to the Services that select it, or did, when what makes it an
// endpoint has changed.
func (s *services) keys(e state.Event) []state.Key {
	after, ok := e.Object.(*corev1.Pod)
	if !ok {
		return []state.Key{state.KeyOf(e.Object)}
	}
	before, _ := e.Old.(*corev1.Pod)
	if e.Type == state.Modified && before != nil && sameEndpoint(before, after) {
		return nil
	}
	var keys []state.Key
	for _, o := range state.List[*corev1.Service](s.store, after.Namespace) {
		if reached(o, s.reach) && (Selects(o, after.Labels) || before != nil && Selects(o, before.Labels)) {
			keys = append(keys, state.KeyOf(o))
		}
	}
	return keys
}

// sameEndpoint reports whether a pod is to Services after a change what it was before.
func sameEndpoint(a, b *corev1.Pod) bool {
	ready := func(p *corev1.Pod) bool { return answers(&corev1.Service{}, p) }
	return a.Status.Phase == b.Status.Phase && a.Status.PodIP == b.Status.PodIP && ready(a) == ready(b) &&
		(a.DeletionTimestamp == nil) == (b.DeletionTimestamp == nil) && equality.Semantic.DeepEqual(a.Labels, b.Labels)
}

func (s *services) reconcile(ctx context.Context, key state.Key, _ time.Time) (time.Time, error) {
	service, _ := state.Get[*corev1.Service](s.store, key.Namespace, key.Name)
	var want Front
	if service != nil && reached(service, s.reach) {
		want = FrontOf(service, s.reach, state.List[*corev1.Pod](s.store, key.Namespace))
	}
	bound, err := s.doors.Set(ctx, key.Namespace+"/"+key.Name, want)
	if ctx.Err() != nil {
		return time.Time{}, ctx.Err()
	}
	if service == nil {
		return time.Time{}, err
	}
	if err != nil {
		reason, words := "ListenFailed", ""
		if service.Spec.Type == corev1.ServiceTypeLoadBalancer {
			reason, words = "SyncLoadBalancerFailed", "Error syncing load balancer: "
		}
		s.events.Event(service, corev1.EventTypeWarning, reason, words+err.Error())
		err = fmt.Errorf("listen for service: %w", err)
	}
	if writeErr := s.writeStatus(service, bound); writeErr != nil {
		return time.Time{}, writeErr
	}
	return time.Time{}, err
}

// writeStatus keeps the addresses of a LoadBalancer in its status; other types have none.
func (s *services) writeStatus(service *corev1.Service, bound map[string]string) error {
	var want []corev1.LoadBalancerIngress
	if service.Spec.Type == corev1.ServiceTypeLoadBalancer {
		want = ingress(service, s.reach.Host, bound)
	}
	if equality.Semantic.DeepEqual(service.Status.LoadBalancer.Ingress, want) {
		return nil
	}
	after := service.DeepCopy()
	after.Status.LoadBalancer.Ingress = want
	if _, err := s.store.Commit(state.UpdateStatus(after)); err != nil {
		return fmt.Errorf("write service status: %w", err)
	}
	if want != nil {
		s.events.Event(service, corev1.EventTypeNormal, "EnsuredLoadBalancer", "Ensured load balancer")
	}
	return nil
}
