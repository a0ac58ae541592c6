package service

import (
	"net"
	"net/netip"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/belay-dev/belay/reconciler/names"
	"github.com/belay-dev/belay/state"
)

// Reach says where Services can be reached.
type Reach struct {
	// Host is the IP address of this machine on which NodePort and LoadBalancer Services answer; empty: nowhere.
	Host string
	// Cluster says that ClusterIPs are addresses of this machine, for its pods.
	Cluster bool
}

// Front is what one Service is to its clients.
type Front struct {
	Listeners []Listener
	Name      *names.Service // what its name stands for; nil: it has none
}

// FrontOf is what a Service is to its clients, given the pods of its namespace. That of the Kubernetes API has a name, and
// answers nowhere: pods have no token for the API. Neither argument is modified.
func FrontOf(service *corev1.Service, reach Reach, pods []*corev1.Pod) Front {
	var f Front
	if state.KeyOf(service) != state.KubernetesService {
		f.Listeners = Listeners(service, reach, pods)
	}
	if reach.Cluster && service.DeletionTimestamp == nil {
		f.Name = nameOf(service, pods)
	}
	return f
}

// Listeners lists where a Service answers: on its ClusterIP, on every node port of the host, and of a LoadBalancer on
// every port itself. SCTP answers nowhere.
func Listeners(service *corev1.Service, reach Reach, pods []*corev1.Pod) []Listener {
	if service.DeletionTimestamp != nil {
		return nil
	}
	ip, err := netip.ParseAddr(service.Spec.ClusterIP) // a headless Service has none
	cluster := reach.Cluster && err == nil
	host := reach.Host != "" && onHost(service)
	var out []Listener
	for _, p := range service.Spec.Ports {
		if !carried(p) {
			continue
		}
		l := Listener{
			UDP: protocol(p.Protocol) == corev1.ProtocolUDP, Sticky: service.Spec.SessionAffinity == corev1.ServiceAffinityClientIP, Backends: Endpoints(service, p, pods),
		}
		if cluster {
			l.Address = address(ip.String(), p.Port)
			out = append(out, l)
		}
		if host && p.NodePort != 0 {
			l.Address = address(reach.Host, p.NodePort)
			out = append(out, l)
		}
		if host && service.Spec.Type == corev1.ServiceTypeLoadBalancer && p.Port != p.NodePort {
			l.Address = address(reach.Host, p.Port)
			out = append(out, l)
		}
	}
	return out
}

// carried says whether what is said to a port is carried at all.
func carried(p corev1.ServicePort) bool {
	return protocol(p.Protocol) == corev1.ProtocolTCP || protocol(p.Protocol) == corev1.ProtocolUDP
}

// onHost says whether a Service of this type has addresses on the host.
func onHost(service *corev1.Service) bool {
	return service.Spec.Type == corev1.ServiceTypeNodePort || service.Spec.Type == corev1.ServiceTypeLoadBalancer
}

// reached says whether anybody is to reach a Service.
func reached(service *corev1.Service, reach Reach) bool {
	return service.DeletionTimestamp == nil && (reach.Cluster || reach.Host != "" && onHost(service))
}

// nameOf is what the name of a Service stands for: its ClusterIP, the pods of a headless one, or another name.
func nameOf(service *corev1.Service, pods []*corev1.Pod) *names.Service {
	out := &names.Service{Namespace: service.Namespace, Name: service.Name, Alias: service.Spec.ExternalName}
	for _, p := range service.Spec.Ports {
		if p.Name != "" {
			out.Ports = append(out.Ports, names.Port{Name: p.Name, Protocol: strings.ToLower(string(protocol(p.Protocol))), Number: uint16(p.Port)})
		}
	}
	if ip, err := netip.ParseAddr(service.Spec.ClusterIP); err == nil {
		out.Addresses = []netip.Addr{ip}
	}
	if service.Spec.ClusterIP == corev1.ClusterIPNone {
		for _, pod := range chosen(service, pods) {
			if ip, err := netip.ParseAddr(pod.Status.PodIP); err == nil {
				out.Addresses = append(out.Addresses, ip)
			}
		}
	}
	return out
}

func address(host string, port int32) string { return net.JoinHostPort(host, strconv.Itoa(int(port))) }

// ingress is the status of a LoadBalancer that answers on host, with the ports it could have.
func ingress(service *corev1.Service, host string, bound map[string]string) []corev1.LoadBalancerIngress {
	for _, p := range service.Spec.Ports {
		l := Listener{Address: address(host, p.Port), UDP: protocol(p.Protocol) == corev1.ProtocolUDP}
		if carried(p) && bound[l.Key()] == "" {
			return nil
		}
	}
	if len(bound) == 0 || host == "" {
		return nil
	}
	if net.ParseIP(host) == nil {
		return []corev1.LoadBalancerIngress{{Hostname: host}}
	}
	mode := corev1.LoadBalancerIPModeVIP
	return []corev1.LoadBalancerIngress{{IP: host, IPMode: &mode}}
}
