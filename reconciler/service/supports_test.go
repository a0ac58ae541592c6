package service

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestSupports(t *testing.T) {
	t.Parallel()
	class := "example.com/lb"
	ports := []corev1.ServicePort{{Port: 80}, {Port: 53, Protocol: corev1.ProtocolUDP}}
	sctp := []corev1.ServicePort{{Port: 80}, {Port: 53, Protocol: corev1.ProtocolSCTP}}
	for _, tt := range []struct {
		name string
		spec corev1.ServiceSpec
		want []string
	}{
		{"plain", corev1.ServiceSpec{Ports: ports, SessionAffinity: corev1.ServiceAffinityClientIP, ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicyLocal}, nil},
		{"SCTP", corev1.ServiceSpec{Ports: sctp}, []string{"spec.ports[1].protocol"}},
		{"headless", corev1.ServiceSpec{Ports: sctp, ClusterIP: corev1.ClusterIPNone}, nil},
		{"a name for another", corev1.ServiceSpec{Ports: sctp, Type: corev1.ServiceTypeExternalName}, nil},
		{"from outside", corev1.ServiceSpec{
			ExternalIPs: []string{"192.0.2.1"}, LoadBalancerSourceRanges: []string{"192.0.2.0/24"}, LoadBalancerIP: "192.0.2.1", LoadBalancerClass: &class,
		}, []string{"spec.externalIPs", "spec.loadBalancerSourceRanges", "spec.loadBalancerIP", "spec.loadBalancerClass"}},
	} {
		var got []string
		for _, u := range Supports(&corev1.Service{Spec: tt.spec}) {
			got = append(got, u.Field)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}
