package service_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/belay-dev/belay/reconciler/service"
	"github.com/belay-dev/belay/state"
)

// TestKubernetes: the API has its own Service, which comes again and is put back whatever is done to it, and in front of
// which nobody listens.
func TestKubernetes(t *testing.T) {
	inBubble(t, service.Reach{Host: "127.0.0.1", Cluster: true}, func(d *desk) {
		keep := func(address string) (stop func()) {
			at := netip.MustParseAddrPort(address)
			return beside(d.t, d.store, service.NewKubernetes(d.store, at, zerolog.Nop(), time.Now))
		}
		stop := keep("127.0.0.1:7443")
		const first = "kubernetes 10.96.0.1 443→7443; 127.0.0.1:7443; IPv4 127.0.0.1 7443"
		is := func(when, want string) {
			d.t.Helper()
			synctest.Wait()
			if got := itself(d.store); got != want {
				d.t.Errorf("%s: %s, want %s", when, got, want)
			}
		}
		is("at first", first)
		d.expect("its name", "default/kubernetes: kubernetes is [10.96.0.1]")
		for _, kind := range []state.Kind{state.KindService, state.KindEndpoints, state.KindEndpointSlice} {
			key := state.KubernetesService
			key.Kind = kind
			d.commit(state.Delete(key, state.DeleteOptions{}))
			is(fmt.Sprint(kind, " deleted"), first)
		}
		s, _ := state.Get[*corev1.Service](d.store, "default", "kubernetes")
		s = s.DeepCopy()
		s.Spec.Type, s.Spec.Ports[0].TargetPort = corev1.ServiceTypeNodePort, intstr.FromInt32(80)
		e, _ := state.Get[*corev1.Endpoints](d.store, "default", "kubernetes")
		e = e.DeepCopy()
		e.Subsets[0].Addresses[0].IP = "10.0.0.1"
		l, _ := state.Get[*discoveryv1.EndpointSlice](d.store, "default", "kubernetes")
		l = l.DeepCopy()
		l.Endpoints[0].Addresses = []string{"10.0.0.1"}
		d.commit(state.Update(s), state.Update(e), state.Update(l))
		is("changed", first)
		stop()
		version := d.store.Version()
		stop = keep("127.0.0.1:7443")
		is("kept again", first)
		if d.store.Version() != version {
			d.t.Error("what is right is written")
		}
		stop()
		for address, want := range map[string]string{
			"0.0.0.0:8443": "kubernetes 10.96.0.1 443→8443; 127.0.0.1:8443; IPv4 127.0.0.1 8443",
			"[::1]:8443":   "kubernetes 10.96.0.1 443→8443; ::1:8443; IPv6 ::1 8443",
		} {
			stop := keep(address)
			is(address, want)
			stop()
		}
	})
}

// itself is what there is of the API's own Service.
func itself(store *state.Store) string {
	var parts []string
	if s, ok := state.Get[*corev1.Service](store, "default", "kubernetes"); ok && s.Spec.Type == corev1.ServiceTypeClusterIP {
		p := s.Spec.Ports[0]
		parts = append(parts, fmt.Sprintf("%s %s %d→%s", s.Name, s.Spec.ClusterIP, p.Port, p.TargetPort.String()))
	}
	if e, ok := state.Get[*corev1.Endpoints](store, "default", "kubernetes"); ok {
		parts = append(parts, fmt.Sprintf("%s:%d", e.Subsets[0].Addresses[0].IP, e.Subsets[0].Ports[0].Port))
	}
	if s, ok := state.Get[*discoveryv1.EndpointSlice](store, "default", "kubernetes"); ok {
		parts = append(parts, fmt.Sprintf("%s %s %d", s.AddressType, s.Endpoints[0].Addresses[0], *s.Ports[0].Port))
	}
	return strings.Join(parts, "; ")
}
