package api

import (
	"cmp"
	"io"
	"net/http"
	"time"

	"github.com/google/uuid"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/kubernetes/pkg/apis/coordination"
	core "k8s.io/kubernetes/pkg/apis/core"

	"github.com/belay-dev/belay/state"
)

// Clients look for nodes, for their leases and for the ServiceAccount that pods have unless they name another. The store keeps none:
// they are told from namespaces, which come, go and have versions as they would, and can only be read.

// teller says how the objects of a resource are told from namespaces.
type teller struct {
	name string // of each object
	from string // the namespace that stands for the only one; empty: every namespace has one
	in   string // the namespace in which the only one is told to lie; empty: it lies in none
}

// at is where the namespaces lie that stand for what is asked for at a place.
func (t *teller) at(p place) place {
	p.none = p.none || p.name != "" && p.name != t.name
	switch {
	case t.from != "":
		p.none = p.none || p.namespace != "" && p.namespace != t.in
		p.namespace, p.name = "", t.from
	case p.namespace != "":
		p.namespace, p.name = "", p.namespace
	}
	return p
}

// path is the key under which the registry knows what a namespace stands for.
func (t *teller) path(prefix, namespace string) string {
	switch {
	case t.in != "":
		namespace = t.in
	case t.from != "":
		return prefix + t.name
	}
	return prefix + namespace + "/" + t.name
}

// after is where a list goes on that ended before a path, of which only the namespace matters: there is no second object.
func (t *teller) after(namespace string) state.Key {
	if t.from != "" {
		namespace = t.from
	}
	return state.Key{Kind: state.KindNamespace, Name: namespace + "\x00"}
}

// tell gives the metadata of what a namespace stands for.
func (t *teller) tell(ns *corev1.Namespace, namespaced bool) metav1.ObjectMeta {
	m := metav1.ObjectMeta{
		Name: t.name, UID: derived(ns.UID, t.name), ResourceVersion: ns.ResourceVersion, CreationTimestamp: ns.CreationTimestamp,
	}
	if namespaced {
		m.Namespace = cmp.Or(t.in, ns.Name)
	}
	return m
}

// derived is a UID of its own, the same each time.
func derived(from types.UID, name string) types.UID {
	return types.UID(uuid.NewSHA1(uuid.Nil, []byte(string(from)+"/"+name)).String())
}

// reads are what can be done with a resource that is only read.
type reads interface {
	rest.Storage
	rest.Getter
	rest.Lister
	rest.Watcher
	rest.Scoper
	rest.SingularNameProvider
}

// shown is a resource that is only read.
type shown struct {
	reads
	short []string
}

func (s shown) ShortNames() []string { return s.short }

// serviceAccounts are those named default, one in each namespace.
func (b *backend) serviceAccounts() (shown, error) {
	s := &registry.Store{
		NewFunc:                   func() runtime.Object { return &core.ServiceAccount{} },
		NewListFunc:               func() runtime.Object { return &core.ServiceAccountList{} },
		DefaultQualifiedResource:  core.Resource("serviceaccounts"),
		SingularQualifiedResource: core.Resource("serviceaccount"),
		TableConvertor:            table,
	}
	plainly(s, plain{})
	return shown{s, []string{"sa"}}, s.CompleteWithOptions(&generic.StoreOptions{RESTOptions: b})
}

// nodes are one: where the pods are.
func (b *backend) nodes() (shown, error) {
	s := &registry.Store{
		NewFunc:                   func() runtime.Object { return &core.Node{} },
		NewListFunc:               func() runtime.Object { return &core.NodeList{} },
		DefaultQualifiedResource:  core.Resource("nodes"),
		SingularQualifiedResource: core.Resource("node"),
		TableConvertor:            table,
	}
	plainly(s, plain{global: true})
	return shown{s, []string{"no"}}, s.CompleteWithOptions(&generic.StoreOptions{RESTOptions: b})
}

// leases are one: the node's.
func (b *backend) leases() (shown, error) {
	s := &registry.Store{
		NewFunc:                   func() runtime.Object { return &coordination.Lease{} },
		NewListFunc:               func() runtime.Object { return &coordination.LeaseList{} },
		DefaultQualifiedResource:  coordination.Resource("leases"),
		SingularQualifiedResource: coordination.Resource("lease"),
		TableConvertor:            table,
	}
	plainly(s, plain{})
	return shown{reads: s}, s.CompleteWithOptions(&generic.StoreOptions{RESTOptions: b})
}

// decodeServiceAccount tells the ServiceAccount of a namespace.
func decodeServiceAccount(t *teller) func(state.Object, runtime.Object) error {
	return func(from state.Object, into runtime.Object) error {
		return decode(&corev1.ServiceAccount{ObjectMeta: t.tell(from.(*corev1.Namespace), true)}, into)
	}
}

// decodeNode tells the node, which is ready as long as somebody answers who runs its pods.
func decodeNode(t *teller, node *corev1.Node, now func() time.Time) func(state.Object, runtime.Object) error {
	return func(from state.Object, into runtime.Object) error {
		n := node.DeepCopy()
		ns := from.(*corev1.Namespace)
		n.ObjectMeta = t.tell(ns, false)
		n.Labels = node.Labels
		n.Status.NodeInfo.KubeletVersion = kubernetesVersion + "+belay"
		n.Status.Conditions = []corev1.NodeCondition{{
			Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady", Message: "belay runs pods",
			LastHeartbeatTime: metav1.NewTime(now()), LastTransitionTime: ns.CreationTimestamp,
		}}
		return decode(n, into)
	}
}

// leaseSeconds is how long a node counts as alive without a sign of life, as kubelets have it.
const leaseSeconds int32 = 40

// decodeLease tells the node's lease, which is renewed as long as somebody answers.
func decodeLease(t *teller, now func() time.Time) func(state.Object, runtime.Object) error {
	return func(from state.Object, into runtime.Object) error {
		ns := from.(*corev1.Namespace)
		renewed, seconds := metav1.NewMicroTime(now()), leaseSeconds
		l := &coordinationv1.Lease{ObjectMeta: t.tell(ns, true), Spec: coordinationv1.LeaseSpec{
			HolderIdentity: &t.name, LeaseDurationSeconds: &seconds, RenewTime: &renewed,
		}}
		l.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: t.name, UID: l.UID}}
		l.UID = derived(l.UID, "lease")
		return decode(l, into)
	}
}

// customPath is where kubectl looks whether a kind that it does not find is somebody's own, before it says that there is none.
const customPath = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"

// noCustom answers there that nobody has kinds of their own.
func noCustom(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		http.Error(w, "there are no custom resources", http.StatusMethodNotAllowed)
		return
	}
	w.Header().Set("Content-Type", runtime.ContentTypeJSON)
	const none = `{"kind":"CustomResourceDefinitionList","apiVersion":"apiextensions.k8s.io/v1","metadata":{},"items":[]}`
	_, _ = io.WriteString(w, none) // who asked may have gone
}
