package state

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// The addresses and ports that Kubernetes' API server gives Services, given inside the transaction.

// KubernetesService is the Service of the Kubernetes API itself. The first address of the range is for it alone, and no
// quota refuses it.
var KubernetesService = Key{Kind: KindService, Namespace: metav1.NamespaceDefault, Name: "kubernetes"}

// allocate gives a new Service its ClusterIP and its node ports.
func (t *transaction) allocate(key Key, service *corev1.Service) error {
	if service.Spec.Type == corev1.ServiceTypeExternalName {
		return nil
	}
	if err := giveFamilies(service); err != nil {
		return err
	}
	if err := t.allocateAddress(key, service); err != nil {
		return err
	}
	return t.allocatePorts(key, service)
}

// giveFamilies settles the families of addresses as a cluster does whose Services have IPv4 alone: who prefers both gets one,
// and who requires both, or names another, is refused. Who has neither an address nor a selector may say what he likes.
func giveFamilies(service *corev1.Service) error {
	spec := &service.Spec
	single, both := corev1.IPFamilyPolicySingleStack, corev1.IPFamilyPolicyRequireDualStack
	if spec.ClusterIP == corev1.ClusterIPNone && len(spec.Selector) == 0 {
		if spec.IPFamilyPolicy == nil {
			spec.IPFamilyPolicy = &both
		}
		if len(spec.IPFamilies) == 0 {
			spec.IPFamilies = []corev1.IPFamily{corev1.IPv4Protocol}
		}
		if len(spec.IPFamilies) == 1 && *spec.IPFamilyPolicy != single {
			other := map[corev1.IPFamily]corev1.IPFamily{corev1.IPv4Protocol: corev1.IPv6Protocol, corev1.IPv6Protocol: corev1.IPv4Protocol}
			spec.IPFamilies = append(spec.IPFamilies, other[spec.IPFamilies[0]])
		}
		return nil
	}
	var errs field.ErrorList
	if spec.IPFamilyPolicy != nil && *spec.IPFamilyPolicy == both {
		errs = append(errs, field.Invalid(field.NewPath("spec", "ipFamilyPolicy"), both, "this cluster is not configured for dual-stack services"))
	}
	for i, family := range spec.IPFamilies {
		if family != corev1.IPv4Protocol {
			errs = append(errs, field.Invalid(field.NewPath("spec", "ipFamilies").Index(i), family, "not configured on this cluster"))
		}
	}
	if len(errs) > 0 {
		return apierrors.NewInvalid(kindByName[KindService].groupKind(), service.Name, errs)
	}
	spec.IPFamilies = []corev1.IPFamily{corev1.IPv4Protocol}
	if spec.IPFamilyPolicy == nil {
		spec.IPFamilyPolicy = &single
	}
	return nil
}

func (t *transaction) allocateAddress(key Key, service *corev1.Service) error {
	asked := service.Spec.ClusterIP
	if asked == "" && len(service.Spec.ClusterIPs) > 0 {
		asked = service.Spec.ClusterIPs[0]
	}
	if asked == corev1.ClusterIPNone {
		service.Spec.ClusterIP, service.Spec.ClusterIPs = asked, []string{asked}
		return nil
	}
	var ip netip.Addr
	var err error
	if asked == "" {
		ip, err = t.freeAddress(key)
	} else {
		ip, err = t.askedAddress(key, asked)
	}
	if err != nil {
		return apierrors.NewInvalid(kindByName[KindService].groupKind(), key.Name, field.ErrorList{
			field.Invalid(field.NewPath("spec", "clusterIPs"), []string{asked}, err.Error())})
	}
	service.Spec.ClusterIP, service.Spec.ClusterIPs = ip.String(), []string{ip.String()}
	return nil
}

// freeAddress begins to look at a place which the key decides: a Service that comes again gets its address again
// unless another has it by then.
func (t *transaction) freeAddress(key Key) (netip.Addr, error) {
	r := t.store.addresses
	if _, used := t.store.index.ips[r.first()]; key == KubernetesService && !used {
		return r.first(), nil
	}
	start := uint64(checksum([]byte(key.Namespace), []byte("/"+key.Name))) % r.size
	for i := range r.size {
		ip := r.at((start + i) % r.size)
		if _, used := t.store.index.ips[ip]; !used {
			return ip, nil
		}
	}
	return netip.Addr{}, errors.New("failed to allocate a serviceIP: range is full")
}

func (t *transaction) askedAddress(key Key, asked string) (netip.Addr, error) {
	ip, err := netip.ParseAddr(asked)
	if err != nil {
		return netip.Addr{}, errors.New("must be a valid IP address")
	}
	if !t.store.addresses.prefix.Contains(ip) {
		return netip.Addr{}, fmt.Errorf("failed to allocate IP %s: the provided IP (%s) is not in the valid range. "+
			"The range of valid IPs is %s", ip, ip, t.store.addresses.prefix)
	}
	if _, used := t.store.index.ips[ip]; used || ip == t.store.addresses.first() && key != KubernetesService {
		return netip.Addr{}, fmt.Errorf("failed to allocate IP %s: provided IP is already allocated", ip)
	}
	return ip, nil
}

// reallocate keeps the ClusterIP over an Update, which may leave it out but not change it, and the node ports that it
// leaves out. A Service that turns into an ExternalName loses both, one that turns back gets new ones.
func (t *transaction) reallocate(before, after *corev1.Service) error {
	was := before.Spec.Type == corev1.ServiceTypeExternalName
	is := after.Spec.Type == corev1.ServiceTypeExternalName
	switch {
	case is && !was:
		keepPorts(before, after)
		after.Spec.ClusterIP, after.Spec.ClusterIPs = "", nil
		after.Spec.IPFamilies, after.Spec.IPFamilyPolicy = nil, nil
		return nil
	case was && !is:
		return t.allocate(KeyOf(after), after)
	case is:
		return nil
	}
	if after.Spec.ClusterIP == "" {
		after.Spec.ClusterIP = before.Spec.ClusterIP
	}
	if len(after.Spec.ClusterIPs) == 0 {
		after.Spec.ClusterIPs = before.Spec.ClusterIPs
	}
	if len(after.Spec.IPFamilies) == 0 {
		after.Spec.IPFamilies = before.Spec.IPFamilies
	}
	if after.Spec.IPFamilyPolicy == nil {
		after.Spec.IPFamilyPolicy = before.Spec.IPFamilyPolicy
	}
	if err := giveFamilies(after); err != nil {
		return err
	}
	if after.Spec.ClusterIP != before.Spec.ClusterIP || !slices.Equal(after.Spec.ClusterIPs, before.Spec.ClusterIPs) {
		return apierrors.NewInvalid(kindByName[KindService].groupKind(), after.Name, field.ErrorList{
			field.Invalid(field.NewPath("spec", "clusterIPs").Index(0), after.Spec.ClusterIPs, "may not change once set")})
	}
	keepPorts(before, after)
	return t.allocatePorts(KeyOf(after), after)
}

// Node ports are Kubernetes' default range.
const (
	firstNodePort = 30000
	lastNodePort  = 32767
)

// hasNodePorts reports whether every port of a Service is also one of the node.
func hasNodePorts(s *corev1.Service) bool {
	switch s.Spec.Type {
	case corev1.ServiceTypeNodePort:
		return true
	case corev1.ServiceTypeLoadBalancer:
		return s.Spec.AllocateLoadBalancerNodePorts == nil || *s.Spec.AllocateLoadBalancerNodePorts
	case corev1.ServiceTypeClusterIP, corev1.ServiceTypeExternalName:
	}
	return false
}

// keepPorts gives the ports of an update the node ports that they had, where it names none, and takes them away where
// the new type has none, as the API server of Kubernetes does.
func keepPorts(before, after *corev1.Service) {
	keep := hasNodePorts(after)
	for i := range after.Spec.Ports {
		p := &after.Spec.Ports[i]
		for _, old := range before.Spec.Ports {
			switch {
			case old.Port != p.Port || protocolOf(old) != protocolOf(*p):
			case keep && p.NodePort == 0 && !slices.ContainsFunc(after.Spec.Ports, func(o corev1.ServicePort) bool { return o.NodePort == old.NodePort }):
				p.NodePort = old.NodePort
			case !keep && p.NodePort == old.NodePort && after.Spec.Type != corev1.ServiceTypeLoadBalancer:
				p.NodePort = 0
			}
		}
	}
}

func protocolOf(p corev1.ServicePort) corev1.Protocol { return cmp.Or(p.Protocol, corev1.ProtocolTCP) }

// allocatePorts gives every port of a Service its node port, where the type has them. One number serves one Service,
// there for at most one port of each protocol.
func (t *transaction) allocatePorts(key Key, service *corev1.Service) error {
	type number struct {
		port     int32
		protocol corev1.Protocol
	}
	seen := map[number]bool{}
	var errs field.ErrorList
	for i, p := range service.Spec.Ports {
		if p.NodePort == 0 {
			continue
		}
		at := field.NewPath("spec", "ports").Index(i).Child("nodePort")
		n := number{p.NodePort, protocolOf(p)}
		other, used := t.store.index.nodePorts[p.NodePort]
		switch {
		case p.NodePort < firstNodePort || p.NodePort > lastNodePort:
			errs = append(errs, field.Invalid(at, p.NodePort, fmt.Sprintf(
				"provided port is not in the valid range. The range of valid ports is %d-%d", firstNodePort, lastNodePort)))
		case seen[n] || used && other != key:
			errs = append(errs, field.Invalid(at, p.NodePort, "provided port is already allocated"))
		}
		seen[n] = true
	}
	if len(errs) > 0 {
		return apierrors.NewInvalid(kindByName[KindService].groupKind(), key.Name, errs)
	}
	if !hasNodePorts(service) {
		return nil
	}
	for i := range service.Spec.Ports {
		p := &service.Spec.Ports[i]
		if p.NodePort != 0 {
			continue
		}
		free := t.freePort(key, p.Port, func(n int32) bool { return seen[number{n, protocolOf(*p)}] })
		if free == 0 {
			return apierrors.NewInvalid(kindByName[KindService].groupKind(), key.Name, field.ErrorList{field.Invalid(
				field.NewPath("spec", "ports").Index(i).Child("nodePort"), 0, "failed to allocate a nodePort: range is full")})
		}
		p.NodePort = free
		seen[number{free, protocolOf(*p)}] = true
	}
	return nil
}

// freePort begins to look at a place which the key and the port decide, as freeAddress does; 0 when all are taken.
func (t *transaction) freePort(key Key, port int32, taken func(int32) bool) int32 {
	const size = lastNodePort - firstNodePort + 1
	start := uint64(checksum([]byte(key.Namespace), fmt.Appendf(nil, "/%s:%d", key.Name, port)))
	for i := range uint64(size) {
		n := int32(firstNodePort + (start+i)%size) //nolint:gosec // within the range of ports
		if _, used := t.store.index.nodePorts[n]; !used && !taken(n) {
			return n
		}
	}
	return 0
}

// addressRange is where ClusterIPs come from: a prefix without its first two addresses and its last. The second one, the
// first that a host can have, is the Kubernetes API's.
type addressRange struct {
	prefix netip.Prefix
	size   uint64
}

func newAddressRange(prefix netip.Prefix) (addressRange, error) {
	prefix = prefix.Masked()
	if !prefix.Addr().Is4() || prefix.Bits() > 29 {
		return addressRange{}, fmt.Errorf("service range %s: not an IPv4 prefix of 8 addresses or more", prefix)
	}
	return addressRange{prefix: prefix, size: uint64(1)<<(32-prefix.Bits()) - 3}, nil
}

func (r addressRange) first() netip.Addr { return r.prefix.Addr().Next() }

func (r addressRange) at(n uint64) netip.Addr {
	b := r.prefix.Addr().As4()
	v := uint64(b[0])<<24 | uint64(b[1])<<16 | uint64(b[2])<<8 | uint64(b[3])
	v += n + 2
	return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
}
