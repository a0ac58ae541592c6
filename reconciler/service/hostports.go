package service

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"
	corev1 "k8s.io/api/core/v1"

	"github.com/belay-dev/belay/reconciler/controller"
	"github.com/belay-dev/belay/reconciler/event"
	"github.com/belay-dev/belay/state"
)

// NewHostPorts is the controller that has d listen on an address of this machine, host, at the ports of it that pods ask for,
// and lead to them for as long as they run: ready or not, as a node does it.
func NewHostPorts(store *state.Store, d Doorkeeper, host string, log zerolog.Logger, now func() time.Time) controller.Config {
	h := &hostPorts{store: store, doors: d, host: host, events: event.NewRecorder(store, "kubelet", now, event.Log(log))}
	return controller.Config{
		Name: "hostport", Kinds: []state.Kind{state.KindPod}, Keys: h.keys, Resync: h.resync, Reconcile: h.reconcile, Now: now, Log: log,
	}
}

type hostPorts struct {
	store  *state.Store
	doors  Doorkeeper
	host   string
	events *event.Recorder
}

func (h *hostPorts) keys(e state.Event) []state.Key {
	if pod, ok := e.Object.(*corev1.Pod); !ok || len(portsOnHost(pod)) == 0 {
		return nil
	}
	return []state.Key{state.KeyOf(e.Object)}
}

func (h *hostPorts) resync(store *state.Store) []state.Key {
	var keys []state.Key
	for _, pod := range state.List[*corev1.Pod](store, "") {
		if len(portsOnHost(pod)) > 0 {
			keys = append(keys, state.KeyOf(pod))
		}
	}
	return keys
}

func (h *hostPorts) reconcile(ctx context.Context, key state.Key, _ time.Time) (time.Time, error) {
	pod, _ := state.Get[*corev1.Pod](h.store, key.Namespace, key.Name)
	_, err := h.doors.Set(ctx, HostPortOwner(key.Namespace, key.Name), Front{Listeners: hostListeners(pod, h.host)})
	if err == nil || ctx.Err() != nil {
		return time.Time{}, ctx.Err()
	}
	if pod != nil {
		h.events.Event(pod, corev1.EventTypeWarning, "ListenFailed", err.Error())
	}
	return time.Time{}, fmt.Errorf("listen for pod: %w", err)
}

const podOwner = "pod/"

// HostPortOwner is whom the listeners of a pod's ports are Set for: no Service.
func HostPortOwner(namespace, name string) string { return podOwner + namespace + "/" + name }

// Owner tells what an owner is: the kind of an object, its namespace and its name.
func Owner(owner string) (kind state.Kind, namespace, name string) {
	kind = state.KindService
	if rest, ok := strings.CutPrefix(owner, podOwner); ok && strings.Contains(rest, "/") {
		kind, owner = state.KindPod, rest
	}
	namespace, name, _ = strings.Cut(owner, "/")
	return kind, namespace, name
}

// portsOnHost are the ports of this machine that a pod asks for. One on the machine's network has them by itself.
func portsOnHost(pod *corev1.Pod) []corev1.ContainerPort {
	if pod.Spec.HostNetwork {
		return nil
	}
	var out []corev1.ContainerPort
	for _, c := range slices.Concat(sidecars(pod), pod.Spec.Containers) {
		for _, p := range c.Ports {
			if p.HostPort > 0 {
				out = append(out, p)
			}
		}
	}
	return out
}

// hostListeners are where a pod answers on the machine; nil: there is none.
func hostListeners(pod *corev1.Pod, host string) []Listener {
	if pod == nil || pod.Status.Phase != corev1.PodRunning {
		return nil
	}
	var out []Listener
	for _, p := range portsOnHost(pod) {
		if !carried(corev1.ServicePort{Protocol: p.Protocol}) {
			continue
		}
		udp := protocol(p.Protocol) == corev1.ProtocolUDP
		out = append(out, Listener{Address: address(host, p.HostPort), UDP: udp, Backends: []Backend{{
			Pod: string(pod.UID), Namespace: pod.Namespace, Name: pod.Name, IP: pod.Status.PodIP, Port: p.ContainerPort, UDP: udp,
		}}})
	}
	return out
}
