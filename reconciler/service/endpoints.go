package service

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Selects reports whether a Service chooses pods with these labels. A Service without a selector chooses none: its
// endpoints would be somebody else's to write.
func Selects(service *corev1.Service, of map[string]string) bool {
	return len(service.Spec.Selector) > 0 && service.Spec.Type != corev1.ServiceTypeExternalName &&
		labels.SelectorFromSet(service.Spec.Selector).Matches(labels.Set(of))
}

// Endpoints lists who answers for one port of a Service, in the order of the pods' names: the selected pods that are
// ready, or all that run where the Service publishes what is not ready. When none of them stays, those that are on
// their way out and still serve answer, as kube-proxy has it: better an old answer than none. Pods without the port
// that the Service names are left out. Neither argument is modified.
func Endpoints(service *corev1.Service, port corev1.ServicePort, pods []*corev1.Pod) []Backend {
	if !carried(port) {
		return nil
	}
	has := slices.DeleteFunc(slices.Clone(pods), func(p *corev1.Pod) bool { return targetPort(p, port) == 0 })
	var out []Backend
	for _, pod := range chosen(service, has) {
		out = append(out, Backend{
			Pod: string(pod.UID), Namespace: pod.Namespace, Name: pod.Name, IP: pod.Status.PodIP, Port: targetPort(pod, port),
			UDP: protocol(port.Protocol) == corev1.ProtocolUDP,
		})
	}
	return out
}

// chosen are the pods that answer for a Service: see Endpoints.
func chosen(service *corev1.Service, pods []*corev1.Pod) []*corev1.Pod {
	sorted := slices.SortedFunc(slices.Values(pods), func(a, b *corev1.Pod) int { return cmp.Compare(a.Name, b.Name) })
	var ready, leaving []*corev1.Pod
	for _, pod := range sorted {
		if pod.Namespace != service.Namespace || !Selects(service, pod.Labels) || !answers(service, pod) {
			continue
		}
		if pod.DeletionTimestamp == nil {
			ready = append(ready, pod)
		} else {
			leaving = append(leaving, pod)
		}
	}
	if len(ready) == 0 {
		return leaving
	}
	return ready
}

func answers(service *corev1.Service, pod *corev1.Pod) bool {
	if pod.Status.Phase != corev1.PodRunning {
		return false
	}
	return service.Spec.PublishNotReadyAddresses || slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// targetPort is the port of the pod that a Service's port leads to; 0 when the pod has none of that name.
func targetPort(pod *corev1.Pod, port corev1.ServicePort) int32 {
	switch {
	case port.TargetPort.Type == intstr.Int && port.TargetPort.IntVal != 0:
		return port.TargetPort.IntVal
	case port.TargetPort.Type == intstr.Int, port.TargetPort.StrVal == "":
		return port.Port
	}
	for _, c := range slices.Concat(pod.Spec.Containers, sidecars(pod)) {
		for _, p := range c.Ports {
			if p.Name == port.TargetPort.StrVal && protocol(p.Protocol) == protocol(port.Protocol) {
				return p.ContainerPort
			}
		}
	}
	return 0
}

// sidecars are the init containers that go on running.
func sidecars(pod *corev1.Pod) []corev1.Container {
	var out []corev1.Container
	for _, c := range pod.Spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			out = append(out, c)
		}
	}
	return out
}

func protocol(p corev1.Protocol) corev1.Protocol { return cmp.Or(p, corev1.ProtocolTCP) }
