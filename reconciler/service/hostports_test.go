package service_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	corev1 "k8s.io/api/core/v1"

	"github.com/belay-dev/belay/reconciler/service"
	"github.com/belay-dev/belay/state"
)

// TestHostPorts: a pod answers at its ports of the machine for as long as it runs, also where it is not ready.
func TestHostPorts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store, err := state.OpenMemory(state.Options{Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		d := &desk{t: t, store: store, taken: map[string]bool{}, doors: map[string]string{}}
		stop := beside(t, store, service.NewHostPorts(store, d, "192.0.2.7", zerolog.Nop(), time.Now))
		with := func(words string, ports ...corev1.ContainerPort) *corev1.Pod {
			p := bare(words)
			p.Spec.Containers[0].Ports = ports
			return p
		}
		ports := []corev1.ContainerPort{
			{ContainerPort: 8080, HostPort: 80}, {ContainerPort: 9, HostPort: 9, Protocol: corev1.ProtocolSCTP}, {ContainerPort: 9000},
		}
		a, own := with("a unready", ports...), with("own", ports...)
		own.Spec.HostNetwork = true
		d.commit(state.Create(a), state.Create(own), state.Create(with("none")))
		d.expect("before it runs", "")
		d.commit(state.UpdateStatus(a), state.UpdateStatus(own))
		d.expect("it runs", "pod/default/a: 192.0.2.7:80 → a:8080")
		grace := int64(0)
		d.commit(state.Delete(state.KeyOf(a), state.DeleteOptions{GracePeriodSeconds: &grace}))
		d.expect("it is gone", "")

		d.taken["192.0.2.7:81"] = true
		b := with("b", corev1.ContainerPort{ContainerPort: 1, HostPort: 81})
		d.commit(state.Create(b))
		d.commit(state.UpdateStatus(b))
		synctest.Wait()
		events := state.List[*corev1.Event](store, "")
		if len(events) != 1 || events[0].Message != "listen tcp 192.0.2.7:81: address already in use" || events[0].InvolvedObject.Name != "b" {
			t.Errorf("events: %v", events)
		}
		stop()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestOwner(t *testing.T) {
	t.Parallel()
	for owner, want := range map[string]state.Key{
		"shop/web":                             {Kind: state.KindService, Namespace: "shop", Name: "web"},
		"pod/web":                              {Kind: state.KindService, Namespace: "pod", Name: "web"},
		service.HostPortOwner("pod", "web-5d"): {Kind: state.KindPod, Namespace: "pod", Name: "web-5d"},
	} {
		kind, namespace, name := service.Owner(owner)
		if got := (state.Key{Kind: kind, Namespace: namespace, Name: name}); got != want {
			t.Errorf("%s: got %v, want %v", owner, got, want)
		}
	}
}
