package node

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/belay-dev/belay/reconciler/reserve"
	"github.com/belay-dev/belay/state"
)

// hostPort is a port of this machine that a pod asks for; whichever address it names, there is one for all pods.
type hostPort struct {
	number   int32
	protocol corev1.Protocol
}

// hostPorts are those of all containers of a pod, as Kubernetes' scheduler counts them: with sidecars.
func hostPorts(pod *corev1.Pod) []hostPort {
	var out []hostPort
	add := func(c *corev1.Container) {
		for _, p := range c.Ports {
			if p.HostPort > 0 {
				protocol := p.Protocol
				if protocol == "" {
					protocol = corev1.ProtocolTCP
				}
				out = append(out, hostPort{p.HostPort, protocol})
			}
		}
	}
	for i := range pod.Spec.InitContainers {
		if c := &pod.Spec.InitContainers[i]; Sidecar(c) {
			add(c)
		}
	}
	for i := range pod.Spec.Containers {
		add(&pod.Spec.Containers[i])
	}
	return out
}

// over says whether a pod has ended, and with it what it has of the machine.
func over(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// clashes says whether a pod on the node has one of the ports that another one asks for.
func clashes(pod *corev1.Pod, others []*corev1.Pod) bool {
	asked := hostPorts(pod)
	return len(asked) > 0 && slices.ContainsFunc(others, func(other *corev1.Pod) bool {
		return other.UID != pod.UID && other.Spec.NodeName == Name && !over(other) &&
			slices.ContainsFunc(hostPorts(other), func(p hostPort) bool { return slices.Contains(asked, p) })
	})
}

// noFreePorts is what Kubernetes' scheduler says of the only node.
const noFreePorts = "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports."

// place binds a pod to the node, unless its ports are another one's; nil: they are, and the pod says so.
func (a *agent) place(pod *corev1.Pod, now time.Time) (*corev1.Pod, error) {
	if len(hostPorts(pod)) == 0 {
		return a.bind(pod, now)
	}
	a.placing.Lock() // of two with the same ports one comes first
	defer a.placing.Unlock()
	if !clashes(pod, state.List[*corev1.Pod](a.store, "")) {
		return a.bind(pod, now)
	}
	if c := conditionOf(pod.Status.Conditions, corev1.PodScheduled); c != nil && c.Reason == corev1.PodReasonUnschedulable {
		return nil, nil
	}
	after := *pod // the store copies what it is given
	after.Status.Conditions = scheduled(pod, corev1.PodCondition{
		Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable, Message: noFreePorts,
	}, now)
	if _, err := reserve.Commit(a.store, pod, state.UpdateStatus(&after)); err != nil {
		return nil, fmt.Errorf("write pod status: %w", err)
	}
	a.scheduler.Event(pod, corev1.EventTypeWarning, "FailedScheduling", noFreePorts)
	return nil, nil
}

// keys are the pod of an event and, when it gives ports of the machine back, those that wait for ports.
func (a *agent) keys(e state.Event) []state.Key {
	keys := []state.Key{state.KeyOf(e.Object)}
	pod, ok := e.Object.(*corev1.Pod)
	if !ok || len(hostPorts(pod)) == 0 || e.Type != state.Deleted && !over(pod) {
		return keys
	}
	for _, other := range state.List[*corev1.Pod](a.store, "") {
		if other.Spec.NodeName == "" && len(hostPorts(other)) > 0 {
			keys = append(keys, state.KeyOf(other))
		}
	}
	return keys
}
