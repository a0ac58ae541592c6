package service

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// What Kubernetes' controller of EndpointSlices calls itself, and how much a slice of its may hold.
const (
	managedBy         = "endpointslice-controller.k8s.io"
	maxSliceEndpoints = 100
)

// SlicePlan is what has to be done so that the EndpointSlices of a Service tell of its pods.
type SlicePlan struct {
	Create, Update, Delete []*discoveryv1.EndpointSlice
}

// PlanSlices decides as the EndpointSlice controller of Kubernetes 1.36 does for one family of addresses: every selected
// pod that has an address and has not ended is an endpoint, ready or not, in a slice with those that have the same ports;
// a Service without any has one empty slice. Of what is there, slices with the wanted ports are filled first and the rest
// goes. The slices of a Service that chooses no pods are somebody else's to write. No argument is modified.
func PlanSlices(service *corev1.Service, pods []*corev1.Pod, there []*discoveryv1.EndpointSlice) SlicePlan {
	var plan SlicePlan
	if !chooses(service) {
		return plan
	}
	free := slices.SortedFunc(slices.Values(there), func(a, b *discoveryv1.EndpointSlice) int { return cmp.Compare(a.Name, b.Name) })
	take := func(ports []discoveryv1.EndpointPort) *discoveryv1.EndpointSlice {
		i := slices.IndexFunc(free, func(s *discoveryv1.EndpointSlice) bool {
			return s.AddressType == discoveryv1.AddressTypeIPv4 && equality.Semantic.DeepEqual(s.Ports, ports)
		})
		if i < 0 {
			return nil
		}
		s := free[i]
		free = slices.Delete(free, i, i+1)
		return s
	}
	for _, want := range wantedSlices(service, pods) {
		have := take(want.Ports)
		if have == nil {
			plan.Create = append(plan.Create, want)
			continue
		}
		if maps.Equal(have.Labels, want.Labels) && equality.Semantic.DeepEqual(have.Endpoints, want.Endpoints) &&
			equality.Semantic.DeepEqual(have.OwnerReferences, want.OwnerReferences) {
			continue
		}
		after := have.DeepCopy()
		after.Labels, after.Endpoints, after.OwnerReferences = want.Labels, want.Endpoints, want.OwnerReferences
		plan.Update = append(plan.Update, after)
	}
	plan.Delete = free
	return plan
}

// chooses reports whether a Service chooses pods at all, and is to stay.
func chooses(service *corev1.Service) bool {
	return service.DeletionTimestamp == nil && len(service.Spec.Selector) > 0 && service.Spec.Type != corev1.ServiceTypeExternalName
}

// wantedSlices are the slices that a Service needs, still without names.
func wantedSlices(service *corev1.Service, pods []*corev1.Pod) []*discoveryv1.EndpointSlice {
	var keys []string // in the order of the first pod with those ports
	ports := map[string][]discoveryv1.EndpointPort{}
	endpoints := map[string][]discoveryv1.Endpoint{}
	for _, pod := range endpointPods(service, pods) {
		p := slicePorts(service, pod)
		key := fmt.Sprint(portWords(p))
		if _, ok := ports[key]; !ok {
			keys, ports[key] = append(keys, key), p
		}
		endpoints[key] = append(endpoints[key], endpointOf(service, pod))
	}
	if len(keys) == 0 { // a placeholder, so that who watches sees that nobody is there
		keys, endpoints = []string{""}, map[string][]discoveryv1.Endpoint{"": nil}
	}
	var out []*discoveryv1.EndpointSlice
	for _, key := range keys {
		for chunk := range chunks(endpoints[key]) {
			out = append(out, newSlice(service, ports[key], chunk))
		}
	}
	return out
}

// chunks are the parts of a list that fit into one slice each: one even of none.
func chunks(all []discoveryv1.Endpoint) func(func([]discoveryv1.Endpoint) bool) {
	if len(all) == 0 {
		return func(yield func([]discoveryv1.Endpoint) bool) { yield(nil) }
	}
	return slices.Chunk(all, maxSliceEndpoints)
}

func newSlice(service *corev1.Service, ports []discoveryv1.EndpointPort, endpoints []discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
	labels := copiedLabels(service)
	labels[discoveryv1.LabelServiceName], labels[discoveryv1.LabelManagedBy] = service.Name, managedBy
	prefix := service.Name + "-"
	if len(prefix) > maxGenerated {
		prefix = prefix[:maxGenerated]
	}
	return &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: service.Namespace, GenerateName: prefix, Labels: labels,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(service, corev1.SchemeGroupVersion.WithKind("Service"))},
		},
		AddressType: discoveryv1.AddressTypeIPv4, Ports: ports, Endpoints: endpoints,
	}
}

// maxGenerated is how long the part of a name may be to which five letters are added.
const maxGenerated = 58

// copiedLabels are the labels of a Service that its endpoints carry, and whether it is headless.
func copiedLabels(service *corev1.Service) map[string]string {
	labels := map[string]string{}
	for key, value := range service.Labels {
		if key != discoveryv1.LabelServiceName && key != discoveryv1.LabelManagedBy && key != corev1.IsHeadlessService {
			labels[key] = value
		}
	}
	if service.Spec.ClusterIP == corev1.ClusterIPNone {
		labels[corev1.IsHeadlessService] = ""
	}
	return labels
}

// endpointPods are the pods that are endpoints of a Service, in the order of their names.
func endpointPods(service *corev1.Service, pods []*corev1.Pod) []*corev1.Pod {
	var out []*corev1.Pod
	for _, pod := range pods {
		ended := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
		if !ended && pod.Status.PodIP != "" && !strings.Contains(pod.Status.PodIP, ":") &&
			pod.Namespace == service.Namespace && Selects(service, pod.Labels) {
			out = append(out, pod)
		}
	}
	slices.SortFunc(out, func(a, b *corev1.Pod) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// slicePorts are the ports of a Service as one pod has them. Those that it lacks are left out.
func slicePorts(service *corev1.Service, pod *corev1.Pod) []discoveryv1.EndpointPort {
	var out []discoveryv1.EndpointPort
	for _, p := range service.Spec.Ports {
		number := targetPort(pod, p)
		if number == 0 {
			continue
		}
		name, kind := p.Name, protocol(p.Protocol)
		out = append(out, discoveryv1.EndpointPort{Name: &name, Port: &number, Protocol: &kind, AppProtocol: p.AppProtocol})
	}
	if len(out) == 0 && len(service.Spec.Ports) == 0 && service.Spec.ClusterIP == corev1.ClusterIPNone {
		return []discoveryv1.EndpointPort{} // a headless Service needs no ports
	}
	return out
}

// portWords tell ports apart, which are full of pointers.
func portWords(ports []discoveryv1.EndpointPort) []string {
	var out []string
	for _, p := range ports {
		word := fmt.Sprintf("%s/%d/%s", *p.Name, *p.Port, *p.Protocol)
		if p.AppProtocol != nil {
			word += "/" + *p.AppProtocol
		}
		out = append(out, word)
	}
	return out
}

func endpointOf(service *corev1.Service, pod *corev1.Pod) discoveryv1.Endpoint {
	serving, leaving := readyPod(pod), pod.DeletionTimestamp != nil
	ready := service.Spec.PublishNotReadyAddresses || serving && !leaving
	e := discoveryv1.Endpoint{
		Addresses:  []string{pod.Status.PodIP},
		Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &serving, Terminating: &leaving},
		TargetRef:  podReference(pod),
	}
	if pod.Spec.NodeName != "" {
		node := pod.Spec.NodeName
		e.NodeName = &node
	}
	if hostname := hostnameOf(service, pod); hostname != "" {
		e.Hostname = &hostname
	}
	return e
}

func podReference(pod *corev1.Pod) *corev1.ObjectReference {
	return &corev1.ObjectReference{Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID}
}

// hostnameOf is the name of its own that a pod has below a Service.
func hostnameOf(service *corev1.Service, pod *corev1.Pod) string {
	if pod.Spec.Hostname != "" && pod.Spec.Subdomain == service.Name && service.Namespace == pod.Namespace {
		return pod.Spec.Hostname
	}
	return ""
}

func readyPod(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}
