package kubelet

import (
	"fmt"
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestDNS(t *testing.T) {
	t.Parallel()
	server := netip.MustParseAddr("10.96.0.1")
	config := &corev1.PodDNSConfig{
		Nameservers: []string{"192.0.2.1"}, Searches: []string{"example.org", "svc.cluster.local"},
		Options: []corev1.PodDNSConfigOption{{Name: "ndots", Value: new("2")}, {Name: "edns0"}},
	}
	const first = "{[10.96.0.1] [shop.svc.cluster.local svc.cluster.local cluster.local] [ndots:5]}"
	for _, c := range []struct {
		name   string
		policy corev1.DNSPolicy
		host   bool
		config *corev1.PodDNSConfig
		server netip.Addr
		want   string
	}{
		{"the cluster first", corev1.DNSClusterFirst, false, nil, server, first},
		{"no policy is that", "", false, nil, server, first},
		{"on the machine's network the machine's", corev1.DNSClusterFirst, true, nil, server, "{[] [] []}"},
		{"unless it is wanted", corev1.DNSClusterFirstWithHostNet, true, nil, server, first},
		{"the machine's", corev1.DNSDefault, false, nil, server, "{[] [] []}"},
		{"more", corev1.DNSClusterFirst, false, config, server,
			"{[10.96.0.1 192.0.2.1] [shop.svc.cluster.local svc.cluster.local cluster.local example.org] [ndots:2 edns0]}"},
		{"nothing else", corev1.DNSNone, false, config, server, "{[192.0.2.1] [example.org svc.cluster.local] [ndots:2 edns0]}"},
		{"no server", corev1.DNSClusterFirst, false, nil, netip.Addr{}, "{[] [] []}"},
	} {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop"}, Spec: corev1.PodSpec{
			DNSPolicy: c.policy, HostNetwork: c.host, DNSConfig: c.config,
		}}
		if got := fmt.Sprint(dns(pod, c.server)); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}
