package service

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/rs/zerolog"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/belay-dev/belay/reconciler/controller"
	"github.com/belay-dev/belay/state"
)

// NewKubernetes is the controller that keeps the Service of the Kubernetes API, kubernetes in the namespace default, and
// what says that the API answers at an address. Like the API server of Kubernetes it makes them anew when they go, and
// puts back their type, ports and endpoints. Nothing carries connections to it: see FrontOf.
func NewKubernetes(store *state.Store, at netip.AddrPort, log zerolog.Logger, now func() time.Time) controller.Config {
	return controller.Config{
		Name: "kubernetes", Kinds: []state.Kind{state.KindService, state.KindEndpoints, state.KindEndpointSlice},
		Keys: func(e state.Event) []state.Key {
			if key := e.Key(); key.Namespace == state.KubernetesService.Namespace && key.Name == state.KubernetesService.Name {
				return []state.Key{state.KubernetesService}
			}
			return nil
		},
		Resync: func(*state.Store) []state.Key { return []state.Key{state.KubernetesService} },
		Reconcile: func(_ context.Context, key state.Key, _ time.Time) (time.Time, error) {
			var have kubernetes
			have.service, _ = state.Get[*corev1.Service](store, key.Namespace, key.Name)
			have.addresses, _ = state.Get[*corev1.Endpoints](store, key.Namespace, key.Name)
			have.slice, _ = state.Get[*discoveryv1.EndpointSlice](store, key.Namespace, key.Name)
			writes := planKubernetes(at, have)
			if len(writes) == 0 {
				return time.Time{}, nil
			}
			if _, err := store.Commit(writes...); err != nil {
				return time.Time{}, fmt.Errorf("write the service of the kubernetes api: %w", err)
			}
			return time.Time{}, nil
		},
		Now: now, Log: log,
	}
}

// kubernetes is what there is of the API's own Service; nil: it is missing.
type kubernetes struct {
	service   *corev1.Service
	addresses *corev1.Endpoints
	slice     *discoveryv1.EndpointSlice
}

const portHTTPS = 443

// wantedKubernetes is the API's own Service as clusters have it, for an API at an address. The store gives it its
// ClusterIP.
func wantedKubernetes(at netip.AddrPort) kubernetes {
	host, port, name, protocol := at.Addr().Unmap(), int32(at.Port()), "https", corev1.ProtocolTCP
	if host.IsUnspecified() { // the API answers at every address of this machine: at this one, too
		host = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	family := discoveryv1.AddressTypeIPv4
	if host.Is6() {
		family = discoveryv1.AddressTypeIPv6
	}
	meta := func(labels map[string]string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: state.KubernetesService.Namespace, Name: state.KubernetesService.Name, Labels: labels}
	}
	ready, inside := true, corev1.ServiceInternalTrafficPolicyCluster
	return kubernetes{
		service: &corev1.Service{
			ObjectMeta: meta(map[string]string{"component": "apiserver", "provider": "kubernetes"}),
			Spec: corev1.ServiceSpec{
				Type: corev1.ServiceTypeClusterIP, SessionAffinity: corev1.ServiceAffinityNone, InternalTrafficPolicy: &inside,
				Ports: []corev1.ServicePort{{Name: name, Protocol: protocol, Port: portHTTPS, TargetPort: intstr.FromInt32(port)}},
			},
		},
		addresses: &corev1.Endpoints{
			ObjectMeta: meta(map[string]string{discoveryv1.LabelSkipMirror: "true"}),
			Subsets: []corev1.EndpointSubset{{
				Addresses: []corev1.EndpointAddress{{IP: host.String()}},
				Ports:     []corev1.EndpointPort{{Name: name, Port: port, Protocol: protocol}},
			}},
		},
		slice: &discoveryv1.EndpointSlice{
			ObjectMeta:  meta(map[string]string{discoveryv1.LabelServiceName: state.KubernetesService.Name}),
			AddressType: family,
			Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{host.String()}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}},
			Ports:       []discoveryv1.EndpointPort{{Name: &name, Port: &port, Protocol: &protocol}},
		},
	}
}

// planKubernetes are the writes after which the API's own Service is as it is to be: missing objects are made, of others
// what their clients go by is put back. What is there is not modified.
func planKubernetes(at netip.AddrPort, have kubernetes) []state.Write {
	want := wantedKubernetes(at)
	var writes []state.Write
	switch s := have.service; {
	case s == nil:
		writes = append(writes, state.Create(want.service))
	case s.Spec.Type != want.service.Spec.Type || !equality.Semantic.DeepEqual(s.Spec.Ports, want.service.Spec.Ports):
		after := s.DeepCopy()
		after.Spec.Type, after.Spec.Ports = want.service.Spec.Type, want.service.Spec.Ports
		writes = append(writes, state.Update(after))
	}
	switch e := have.addresses; {
	case e == nil:
		writes = append(writes, state.Create(want.addresses))
	case !equality.Semantic.DeepEqual(e.Subsets, want.addresses.Subsets):
		after := e.DeepCopy()
		after.Subsets = want.addresses.Subsets
		writes = append(writes, state.Update(after))
	}
	switch s := have.slice; {
	case s == nil:
		writes = append(writes, state.Create(want.slice))
	case s.AddressType != want.slice.AddressType: // it may not change
		writes = append(writes, remove(s))
	case !equality.Semantic.DeepEqual(s.Endpoints, want.slice.Endpoints) || !equality.Semantic.DeepEqual(s.Ports, want.slice.Ports) ||
		s.Labels[discoveryv1.LabelServiceName] != state.KubernetesService.Name:
		after := s.DeepCopy()
		after.Labels, after.Endpoints, after.Ports = want.slice.Labels, want.slice.Endpoints, want.slice.Ports
		writes = append(writes, state.Update(after))
	}
	return writes
}
