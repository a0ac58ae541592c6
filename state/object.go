package state

import (
	"bytes"
	"cmp"
	"maps"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Object is a Kubernetes object of one of the kinds below: a pointer to a k8s.io/api v1 type. A stored object is
// never modified: whoever wants to change one changes a DeepCopy and writes that. Its TypeMeta is empty.
type Object interface {
	metav1.Object
	runtime.Object
}

// Kind names the type of an object, as a manifest does.
type Kind string

// The kinds that are kept.
const (
	KindDeployment    Kind = "Deployment"
	KindReplicaSet    Kind = "ReplicaSet"
	KindPod           Kind = "Pod"
	KindService       Kind = "Service"
	KindEvent         Kind = "Event"
	KindNamespace     Kind = "Namespace"
	KindConfigMap     Kind = "ConfigMap"
	KindSecret        Kind = "Secret"
	KindResourceQuota Kind = "ResourceQuota"
	KindEndpoints     Kind = "Endpoints"
	KindEndpointSlice Kind = "EndpointSlice"

	KindHorizontalPodAutoscaler Kind = "HorizontalPodAutoscaler" // of autoscaling/v2
)

// Key finds one object. Namespace is empty for a Namespace.
type Key struct {
	Kind      Kind   `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
}

// String is the key as people read it: "Deployment default/web", "Namespace shop".
func (k Key) String() string {
	if k.Namespace == "" {
		return string(k.Kind) + " " + k.Name
	}
	return string(k.Kind) + " " + k.Namespace + "/" + k.Name
}

// Compare orders keys by kind, namespace and name.
func (k Key) Compare(other Key) int {
	return cmp.Or(cmp.Compare(k.Kind, other.Kind), cmp.Compare(k.Namespace, other.Namespace), cmp.Compare(k.Name, other.Name))
}

// KeyOf is the key of an object. The kind is that of the Go type, whatever its TypeMeta says; it is empty for a
// type that is not kept.
func KeyOf(o Object) Key {
	var kind Kind
	if i := infoOf(o); i != nil {
		kind = i.kind
	}
	return Key{Kind: kind, Namespace: o.GetNamespace(), Name: o.GetName()}
}

// kindInfo is what the store has to know of a kind.
type kindInfo struct {
	kind     Kind
	bit      kindSet
	group    string
	resource string
	global   bool // lives in no namespace
	fresh    func() Object
	// shallow is a copy that shares all but the top struct with the original.
	shallow func(Object) Object
	// status copies the status of src to dst; nil when the kind has none.
	status func(dst, src Object)
	// generation says whether the objects of the kind have one, and when a write of spec and metadata raises it.
	generation func(before, after Object) bool
}

func (i *kindInfo) groupResource() schema.GroupResource {
	return schema.GroupResource{Group: i.group, Resource: i.resource}
}

func (i *kindInfo) groupKind() schema.GroupKind {
	return schema.GroupKind{Group: i.group, Kind: string(i.kind)}
}

// kindSet has one bit a kind.
type kindSet uint32

// everyChange is woken by transactions that changed no object too.
const everyChange = ^kindSet(0)

var kinds = []*kindInfo{
	{kind: KindConfigMap, resource: "configmaps", fresh: fresh[corev1.ConfigMap], shallow: shallow[corev1.ConfigMap]},
	{
		kind: KindDeployment, group: appsv1.GroupName, resource: "deployments",
		fresh: fresh[appsv1.Deployment], shallow: shallow[appsv1.Deployment],
		status: func(dst, src Object) { dst.(*appsv1.Deployment).Status = src.(*appsv1.Deployment).Status },
		generation: func(before, after Object) bool {
			b, a := before.(*appsv1.Deployment), after.(*appsv1.Deployment)
			return differ(&b.Spec, &a.Spec) || !equality.Semantic.DeepEqual(b.Annotations, a.Annotations)
		},
	},
	{kind: KindEndpoints, resource: "endpoints", fresh: fresh[corev1.Endpoints], shallow: shallow[corev1.Endpoints]},
	{
		kind: KindEndpointSlice, group: discoveryv1.GroupName, resource: "endpointslices",
		fresh: fresh[discoveryv1.EndpointSlice], shallow: shallow[discoveryv1.EndpointSlice],
		generation: func(before, after Object) bool {
			b, a := *before.(*discoveryv1.EndpointSlice), *after.(*discoveryv1.EndpointSlice)
			same := maps.Equal(b.Labels, a.Labels)
			b.ObjectMeta, a.ObjectMeta = metav1.ObjectMeta{}, metav1.ObjectMeta{}
			return !same || differ(&b, &a)
		},
	},
	{kind: KindEvent, resource: "events", fresh: fresh[corev1.Event], shallow: shallow[corev1.Event]},
	{
		kind: KindHorizontalPodAutoscaler, group: autoscalingv2.GroupName, resource: "horizontalpodautoscalers",
		fresh: fresh[autoscalingv2.HorizontalPodAutoscaler], shallow: shallow[autoscalingv2.HorizontalPodAutoscaler],
		status: func(dst, src Object) {
			dst.(*autoscalingv2.HorizontalPodAutoscaler).Status = src.(*autoscalingv2.HorizontalPodAutoscaler).Status
		},
	},
	{
		kind: KindNamespace, resource: "namespaces", global: true,
		fresh: fresh[corev1.Namespace], shallow: shallow[corev1.Namespace],
		status: func(dst, src Object) { dst.(*corev1.Namespace).Status = src.(*corev1.Namespace).Status },
	},
	{
		kind: KindPod, resource: "pods", fresh: fresh[corev1.Pod], shallow: shallow[corev1.Pod],
		status: func(dst, src Object) { dst.(*corev1.Pod).Status = src.(*corev1.Pod).Status },
		generation: func(before, after Object) bool {
			return differ(&before.(*corev1.Pod).Spec, &after.(*corev1.Pod).Spec)
		},
	},
	{
		kind: KindReplicaSet, group: appsv1.GroupName, resource: "replicasets",
		fresh: fresh[appsv1.ReplicaSet], shallow: shallow[appsv1.ReplicaSet],
		status: func(dst, src Object) { dst.(*appsv1.ReplicaSet).Status = src.(*appsv1.ReplicaSet).Status },
		generation: func(before, after Object) bool {
			return differ(&before.(*appsv1.ReplicaSet).Spec, &after.(*appsv1.ReplicaSet).Spec)
		},
	},
	{
		kind: KindResourceQuota, resource: "resourcequotas",
		fresh: fresh[corev1.ResourceQuota], shallow: shallow[corev1.ResourceQuota],
		status: func(dst, src Object) { dst.(*corev1.ResourceQuota).Status = src.(*corev1.ResourceQuota).Status },
	},
	{kind: KindSecret, resource: "secrets", fresh: fresh[corev1.Secret], shallow: shallow[corev1.Secret]},
	{
		kind: KindService, resource: "services", fresh: fresh[corev1.Service], shallow: shallow[corev1.Service],
		status: func(dst, src Object) { dst.(*corev1.Service).Status = src.(*corev1.Service).Status },
	},
}

var kindByName = func() map[Kind]*kindInfo {
	m := make(map[Kind]*kindInfo, len(kinds))
	for n, i := range kinds {
		i.bit = 1 << n
		m[i.kind] = i
	}
	return m
}()

// differ compares by meaning: nil and empty are equal, and so are quantities of the same value. Comparing the written
// forms first saves most of the time, since they are nearly always equal.
func differ[P interface{ Marshal() ([]byte, error) }](before, after P) bool {
	b, errBefore := before.Marshal()
	a, errAfter := after.Marshal()
	if errBefore == nil && errAfter == nil && bytes.Equal(b, a) {
		return false
	}
	return !equality.Semantic.DeepEqual(before, after)
}

func fresh[S any, P interface {
	*S
	Object
}]() Object {
	return P(new(S))
}

func shallow[S any, P interface {
	*S
	Object
}](o Object) Object {
	c := *o.(P)
	return P(&c)
}

// infoOf is nil for a type that is not kept.
func infoOf(o any) *kindInfo {
	var kind Kind
	switch o.(type) {
	case *appsv1.Deployment:
		kind = KindDeployment
	case *appsv1.ReplicaSet:
		kind = KindReplicaSet
	case *corev1.Pod:
		kind = KindPod
	case *corev1.Service:
		kind = KindService
	case *corev1.Event:
		kind = KindEvent
	case *corev1.Namespace:
		kind = KindNamespace
	case *corev1.ConfigMap:
		kind = KindConfigMap
	case *corev1.Secret:
		kind = KindSecret
	case *corev1.ResourceQuota:
		kind = KindResourceQuota
	case *corev1.Endpoints:
		kind = KindEndpoints
	case *discoveryv1.EndpointSlice:
		kind = KindEndpointSlice
	case *autoscalingv2.HorizontalPodAutoscaler:
		kind = KindHorizontalPodAutoscaler
	default:
		return nil
	}
	return kindByName[kind]
}
