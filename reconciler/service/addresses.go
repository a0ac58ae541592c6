package service

import (
	"cmp"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// What Kubernetes' controller of Endpoints calls itself, and how many addresses it gives one object.
const (
	labelEndpoints   = "endpoints.kubernetes.io/managed-by"
	managedEndpoints = "endpoint-controller"
	maxAddresses     = 1000
)

// PlanAddresses is the Endpoints object that a Service is to have, as Kubernetes' controller writes it for clients which do
// not read EndpointSlices; nil when the one that is there, nil for none, is right or not for this Service to write.
// A pod that is leaving is no address any more, unless the Service publishes what is not ready. Beyond a thousand
// addresses those that are not ready are left out first, and the object says so. No argument is modified.
func PlanAddresses(service *corev1.Service, pods []*corev1.Pod, there *corev1.Endpoints) *corev1.Endpoints {
	if !chooses(service) {
		return nil
	}
	want := &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Namespace: service.Namespace, Name: service.Name}}
	if there != nil {
		want = there.DeepCopy()
	}
	want.Labels = copiedLabels(service)
	want.Labels[labelEndpoints] = managedEndpoints
	var whole bool
	want.Subsets, whole = subsets(service, pods)
	delete(want.Annotations, corev1.EndpointsOverCapacity)
	if !whole {
		if want.Annotations == nil {
			want.Annotations = map[string]string{}
		}
		want.Annotations[corev1.EndpointsOverCapacity] = "truncated"
	}
	if there != nil && maps.Equal(there.Labels, want.Labels) && maps.Equal(there.Annotations, want.Annotations) &&
		equality.Semantic.DeepEqual(there.Subsets, want.Subsets) {
		return nil
	}
	return want
}

// subsets are the addresses of a Service by their ports, and whether they are all of them.
func subsets(service *corev1.Service, pods []*corev1.Pod) (out []corev1.EndpointSubset, whole bool) {
	var candidates []*corev1.Pod
	for _, pod := range endpointPods(service, pods) {
		if pod.DeletionTimestamp == nil || service.Spec.PublishNotReadyAddresses {
			candidates = append(candidates, pod)
		}
	}
	isReady := func(pod *corev1.Pod) bool { return service.Spec.PublishNotReadyAddresses || readyPod(pod) }
	slices.SortStableFunc(candidates, func(a, b *corev1.Pod) int {
		switch {
		case isReady(a) == isReady(b):
			return cmp.Compare(a.Status.PodIP, b.Status.PodIP)
		case isReady(a):
			return -1
		}
		return 1
	})
	whole = len(candidates) <= maxAddresses
	for _, pod := range candidates[:min(len(candidates), maxAddresses)] {
		ports := subsetPorts(slicePorts(service, pod))
		if len(ports) == 0 && len(service.Spec.Ports) > 0 {
			continue
		}
		i := slices.IndexFunc(out, func(s corev1.EndpointSubset) bool { return equality.Semantic.DeepEqual(s.Ports, ports) })
		if i < 0 {
			i, out = len(out), append(out, corev1.EndpointSubset{Ports: ports})
		}
		address := corev1.EndpointAddress{IP: pod.Status.PodIP, Hostname: hostnameOf(service, pod), TargetRef: podReference(pod)}
		if pod.Spec.NodeName != "" {
			node := pod.Spec.NodeName
			address.NodeName = &node
		}
		if isReady(pod) {
			out[i].Addresses = append(out[i].Addresses, address)
		} else {
			out[i].NotReadyAddresses = append(out[i].NotReadyAddresses, address)
		}
	}
	return out, whole
}

func subsetPorts(ports []discoveryv1.EndpointPort) []corev1.EndpointPort {
	var out []corev1.EndpointPort
	for _, p := range ports {
		out = append(out, corev1.EndpointPort{Name: *p.Name, Port: *p.Port, Protocol: *p.Protocol, AppProtocol: p.AppProtocol})
	}
	return out
}
