package state

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// What Kubernetes' admission decides from stored objects, decided here inside the transaction: nothing can change
// between the check and the write.

// admit refuses a new object whose namespace is missing or going, or which a quota of the namespace does not allow.
func (t *transaction) admit(info *kindInfo, key Key) error {
	if info.global {
		return nil
	}
	ns, ok := t.store.index.get(Key{Kind: KindNamespace, Name: key.Namespace}).(*corev1.Namespace)
	if !ok {
		return apierrors.NewNotFound(kindByName[KindNamespace].groupResource(), key.Namespace)
	}
	if ns.DeletionTimestamp != nil || ns.Status.Phase == corev1.NamespaceTerminating {
		err := apierrors.NewForbidden(info.groupResource(), key.Name, fmt.Errorf(
			"unable to create new content in namespace %s because it is being terminated", key.Namespace))
		err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{
			Type:    corev1.NamespaceTerminatingCause,
			Message: fmt.Sprintf("namespace %s is being terminated", key.Namespace),
			Field:   "metadata.namespace",
		})
		return err
	}
	for q := range t.store.index.list(KindResourceQuota, key.Namespace) {
		if err := t.admitQuota(info, key, q.(*corev1.ResourceQuota)); err != nil {
			return err
		}
	}
	return nil
}

// admitQuota checks the numbers of objects that a quota allows. Quotas of computing resources, and those with
// scopes, limit nothing.
func (t *transaction) admitQuota(info *kindInfo, key Key, quota *corev1.ResourceQuota) error {
	if len(quota.Spec.Scopes) > 0 || quota.Spec.ScopeSelector != nil {
		return nil
	}
	var requested, used, limited []string
	for _, name := range quotaNames(info) {
		hard, ok := quota.Spec.Hard[corev1.ResourceName(name)]
		if !ok {
			continue
		}
		n := t.count(info, key.Namespace, name)
		if resource.NewQuantity(n+1, resource.DecimalSI).Cmp(hard) <= 0 {
			continue
		}
		requested = append(requested, name+"=1")
		used = append(used, fmt.Sprintf("%s=%d", name, n))
		limited = append(limited, name+"="+hard.String())
	}
	if requested == nil {
		return nil
	}
	return apierrors.NewForbidden(info.groupResource(), key.Name, fmt.Errorf(
		"exceeded quota: %s, requested: %s, used: %s, limited: %s", quota.Name,
		strings.Join(requested, ","), strings.Join(used, ","), strings.Join(limited, ",")))
}

// quotaNames are the names under which a quota limits the number of objects of a kind, sorted.
func quotaNames(info *kindInfo) []string {
	if info.group != "" {
		return []string{"count/" + info.resource + "." + info.group}
	}
	return []string{"count/" + info.resource, info.resource}
}

// count is how many objects of the namespace a quota counts under the name. Under their old name pods count only
// while they may still run.
func (t *transaction) count(info *kindInfo, namespace, name string) int64 {
	n := int64(0)
	for o := range t.store.index.list(info.kind, namespace) {
		pod, ok := o.(*corev1.Pod)
		if !ok || name != info.resource || t.mayRun(pod) {
			n++
		}
	}
	return n
}

func (t *transaction) mayRun(pod *corev1.Pod) bool {
	if pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded {
		return false
	}
	if pod.DeletionTimestamp == nil || pod.DeletionGracePeriodSeconds == nil {
		return true
	}
	end := pod.DeletionTimestamp.Add(time.Duration(*pod.DeletionGracePeriodSeconds) * time.Second)
	return !t.now.After(end)
}

// allocate gives a new Service its ClusterIP.
func (t *transaction) allocate(key Key, service *corev1.Service) error {
	if service.Spec.Type == corev1.ServiceTypeExternalName {
		return nil
	}
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
		ip, err = t.askedAddress(asked)
	}
	if err != nil {
		return apierrors.NewInvalid(kindByName[KindService].groupKind(), key.Name, field.ErrorList{
			field.Invalid(field.NewPath("spec", "clusterIPs"), []string{asked}, err.Error())})
	}
	service.Spec.ClusterIP, service.Spec.ClusterIPs = ip.String(), []string{ip.String()}
	if len(service.Spec.IPFamilies) == 0 {
		service.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv4Protocol}
	}
	if service.Spec.IPFamilyPolicy == nil {
		single := corev1.IPFamilyPolicySingleStack
		service.Spec.IPFamilyPolicy = &single
	}
	return nil
}

// freeAddress begins to look at a place which the key decides: a Service that comes again gets its address again
// unless another has it by then.
func (t *transaction) freeAddress(key Key) (netip.Addr, error) {
	r := t.store.addresses
	start := uint64(checksum([]byte(key.Namespace), []byte("/"+key.Name))) % r.size
	for i := range r.size {
		ip := r.at((start + i) % r.size)
		if _, used := t.store.index.ips[ip]; !used {
			return ip, nil
		}
	}
	return netip.Addr{}, errors.New("failed to allocate a serviceIP: range is full")
}

func (t *transaction) askedAddress(asked string) (netip.Addr, error) {
	ip, err := netip.ParseAddr(asked)
	if err != nil {
		return netip.Addr{}, errors.New("must be a valid IP address")
	}
	if !t.store.addresses.prefix.Contains(ip) {
		return netip.Addr{}, fmt.Errorf("failed to allocate IP %s: the provided IP (%s) is not in the valid range. "+
			"The range of valid IPs is %s", ip, ip, t.store.addresses.prefix)
	}
	if _, used := t.store.index.ips[ip]; used {
		return netip.Addr{}, fmt.Errorf("failed to allocate IP %s: provided IP is already allocated", ip)
	}
	return ip, nil
}

// reallocate keeps the ClusterIP over an Update, which may leave it out but not change it. A Service that turns into
// an ExternalName loses it, one that turns back gets one.
func (t *transaction) reallocate(before, after *corev1.Service) error {
	was := before.Spec.Type == corev1.ServiceTypeExternalName
	is := after.Spec.Type == corev1.ServiceTypeExternalName
	switch {
	case is && !was:
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
	if after.Spec.ClusterIP != before.Spec.ClusterIP || !slices.Equal(after.Spec.ClusterIPs, before.Spec.ClusterIPs) {
		return apierrors.NewInvalid(kindByName[KindService].groupKind(), after.Name, field.ErrorList{
			field.Invalid(field.NewPath("spec", "clusterIPs").Index(0), after.Spec.ClusterIPs, "may not change once set")})
	}
	return nil
}

// addressRange is where ClusterIPs come from: a prefix without its first two addresses and its last.
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

func (r addressRange) at(n uint64) netip.Addr {
	b := r.prefix.Addr().As4()
	v := uint64(b[0])<<24 | uint64(b[1])<<16 | uint64(b[2])<<8 | uint64(b[3])
	v += n + 2
	return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
}
