package kubelet

import (
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/belay-dev/belay/reconciler/names"
	"github.com/belay-dev/belay/reconciler/node"
)

// dns is whom a pod asks for names, as the kubelet has it: the cluster's server where there is one and the policy wants
// it, and what dnsConfig adds. The zero value leaves it to the driver.
func dns(pod *corev1.Pod, server netip.Addr) node.DNS {
	var out node.DNS
	policy := pod.Spec.DNSPolicy
	if server.IsValid() && (policy == corev1.DNSClusterFirstWithHostNet ||
		!pod.Spec.HostNetwork && (policy == "" || policy == corev1.DNSClusterFirst)) {
		out = node.DNS{Servers: []string{server.String()}, Searches: names.Searches(pod.Namespace), Options: []string{names.Dots}}
	}
	d := pod.Spec.DNSConfig
	if d == nil {
		return out
	}
	out.Servers = added(out.Servers, d.Nameservers)
	out.Searches = added(out.Searches, d.Searches)
	for _, o := range d.Options {
		text := o.Name
		if o.Value != nil {
			text += ":" + *o.Value
		}
		out.Options = slices.DeleteFunc(out.Options, func(had string) bool {
			name, _, _ := strings.Cut(had, ":")
			return name == o.Name
		})
		out.Options = append(out.Options, text)
	}
	return out
}

// added is a list with what it lacks of another.
func added(to, more []string) []string {
	for _, s := range more {
		if !slices.Contains(to, s) {
			to = append(to, s)
		}
	}
	return to
}
