package service

import (
	"net"
	"strconv"

	corev1 "k8s.io/api/core/v1"
)

// Listeners lists where the host answers for a Service: every node port, and of a LoadBalancer every port itself. Other
// types, and what is not TCP, have none.
func Listeners(service *corev1.Service, host string, pods []*corev1.Pod) []Listener {
	if !Listens(service) {
		return nil
	}
	var out []Listener
	for _, p := range service.Spec.Ports {
		if protocol(p.Protocol) != corev1.ProtocolTCP {
			continue
		}
		l := Listener{
			Sticky: service.Spec.SessionAffinity == corev1.ServiceAffinityClientIP, Backends: Endpoints(service, p, pods),
		}
		if p.NodePort != 0 {
			l.Address = address(host, p.NodePort)
			out = append(out, l)
		}
		if service.Spec.Type == corev1.ServiceTypeLoadBalancer && p.Port != p.NodePort {
			l.Address = address(host, p.Port)
			out = append(out, l)
		}
	}
	return out
}

// Listens reports whether a Service has addresses on the host.
func Listens(service *corev1.Service) bool {
	if service.DeletionTimestamp != nil {
		return false
	}
	return service.Spec.Type == corev1.ServiceTypeNodePort || service.Spec.Type == corev1.ServiceTypeLoadBalancer
}

func address(host string, port int32) string { return net.JoinHostPort(host, strconv.Itoa(int(port))) }

// ingress is the status of a LoadBalancer that answers on host, with the ports it could have.
func ingress(service *corev1.Service, host string, bound map[string]string) []corev1.LoadBalancerIngress {
	for _, p := range service.Spec.Ports {
		if protocol(p.Protocol) == corev1.ProtocolTCP && bound[address(host, p.Port)] == "" {
			return nil
		}
	}
	if len(bound) == 0 {
		return nil
	}
	if net.ParseIP(host) == nil {
		return []corev1.LoadBalancerIngress{{Hostname: host}}
	}
	mode := corev1.LoadBalancerIPModeVIP
	return []corev1.LoadBalancerIngress{{IP: host, IPMode: &mode}}
}
