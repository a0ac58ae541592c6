package service

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/belay-dev/belay/reconciler/engine"
)

// Supports lists what of a Service is not honoured: where it answers, it does as if that were not there. What has no meaning
// on a single machine (traffic policies and the like) is honoured by doing nothing.
func Supports(service *corev1.Service) []engine.Unsupported {
	var found []engine.Unsupported
	when := func(is bool, field, message string) {
		if is {
			found = append(found, engine.Unsupported{Field: "spec." + field, Message: message})
		}
	}
	spec := &service.Spec
	answers := spec.Type != corev1.ServiceTypeExternalName && spec.ClusterIP != corev1.ClusterIPNone // else it is a name only
	for i, p := range spec.Ports {
		when(answers && !carried(p), fmt.Sprintf("ports[%d].protocol", i), "only TCP and UDP are carried")
	}
	const noSuch = "is not supported"
	when(len(spec.ExternalIPs) > 0, "externalIPs", noSuch)
	when(len(spec.LoadBalancerSourceRanges) > 0, "loadBalancerSourceRanges", "connections are taken from everywhere")
	when(spec.LoadBalancerIP != "", "loadBalancerIP", noSuch)
	when(spec.LoadBalancerClass != nil, "loadBalancerClass", noSuch)
	return found
}
