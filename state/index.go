package state

import (
	"iter"
	"net/netip"
	"slices"

	"github.com/google/btree"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const treeDegree = 32

// index holds the objects and the ways to find them. It has no lock of its own.
type index struct {
	objects *btree.BTreeG[entry]
	owned   *btree.BTreeG[ownedBy]
	ips     map[netip.Addr]Key // ClusterIPs in use

	nodePorts map[int32]Key  // in use
	moves     map[Kind]int64 // how often an object was added or deleted
}

type entry struct {
	key    Key
	object Object
}

type ownedBy struct {
	owner types.UID
	key   Key
}

func newIndex() index {
	return index{
		objects: btree.NewG(treeDegree, func(a, b entry) bool { return a.key.Compare(b.key) < 0 }),
		owned: btree.NewG(treeDegree, func(a, b ownedBy) bool {
			if a.owner != b.owner {
				return a.owner < b.owner
			}
			return a.key.Compare(b.key) < 0
		}),
		ips: map[netip.Addr]Key{}, nodePorts: map[int32]Key{}, moves: map[Kind]int64{},
	}
}

// get is nil when there is no such object.
func (x *index) get(key Key) Object {
	e, _ := x.objects.Get(entry{key: key})
	return e.object
}

// set puts after in the place of before; either is nil for none.
func (x *index) set(key Key, before, after Object) {
	if after == nil {
		x.objects.Delete(entry{key: key})
	} else {
		x.objects.ReplaceOrInsert(entry{key: key, object: after})
	}
	if before == nil || after == nil {
		x.moves[key.Kind]++
	}
	x.setOwners(key, ownersOf(before), ownersOf(after))
	if key.Kind == KindService {
		for _, ip := range addressesOf(before) {
			delete(x.ips, ip)
		}
		for _, ip := range addressesOf(after) {
			x.ips[ip] = key
		}
		for _, port := range nodePortsOf(before) {
			delete(x.nodePorts, port)
		}
		for _, port := range nodePortsOf(after) {
			x.nodePorts[port] = key
		}
	}
}

func (x *index) setOwners(key Key, before, after []metav1.OwnerReference) {
	if slices.EqualFunc(before, after, func(a, b metav1.OwnerReference) bool { return a.UID == b.UID }) {
		return
	}
	for _, ref := range before {
		x.owned.Delete(ownedBy{ref.UID, key})
	}
	for _, ref := range after {
		x.owned.ReplaceOrInsert(ownedBy{ref.UID, key})
	}
}

// list yields the objects of a kind in the order of their keys; an empty namespace stands for all.
func (x *index) list(kind Kind, namespace string) iter.Seq[Object] {
	return func(yield func(Object) bool) {
		x.objects.AscendGreaterOrEqual(entry{key: Key{Kind: kind, Namespace: namespace}}, func(e entry) bool {
			if e.key.Kind != kind || namespace != "" && e.key.Namespace != namespace {
				return false
			}
			return yield(e.object)
		})
	}
}

// ownedBy yields the objects that name the owner in the order of their keys; an empty kind stands for all.
func (x *index) ownedBy(owner types.UID, kind Kind) iter.Seq[Object] {
	return func(yield func(Object) bool) {
		x.owned.AscendGreaterOrEqual(ownedBy{owner, Key{Kind: kind}}, func(o ownedBy) bool {
			if o.owner != owner || kind != "" && o.key.Kind != kind {
				return false
			}
			return yield(x.get(o.key))
		})
	}
}

// occupied says whether any object lives in the namespace.
func (x *index) occupied(namespace string) bool {
	for _, info := range kinds {
		if !info.global {
			for range x.list(info.kind, namespace) {
				return true
			}
		}
	}
	return false
}

func ownersOf(o Object) []metav1.OwnerReference {
	if o == nil {
		return nil
	}
	return o.GetOwnerReferences()
}

func addressesOf(o Object) []netip.Addr {
	service, ok := o.(*corev1.Service)
	if !ok {
		return nil
	}
	var ips []netip.Addr
	for _, text := range service.Spec.ClusterIPs {
		if ip, err := netip.ParseAddr(text); err == nil { // "None" is not an address
			ips = append(ips, ip)
		}
	}
	return ips
}

// nodePortsOf has no number twice.
func nodePortsOf(o Object) []int32 {
	service, ok := o.(*corev1.Service)
	if !ok {
		return nil
	}
	var ports []int32
	for _, p := range service.Spec.Ports {
		if p.NodePort != 0 && !slices.Contains(ports, p.NodePort) {
			ports = append(ports, p.NodePort)
		}
	}
	return ports
}
