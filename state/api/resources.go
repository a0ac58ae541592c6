package api

import (
	"cmp"
	"fmt"
	"strings"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/storage/storagebackend/factory"
	"k8s.io/client-go/tools/cache"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	_ "k8s.io/kubernetes/pkg/apis/apps/install" // the types
	_ "k8s.io/kubernetes/pkg/apis/coordination/install"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	_ "k8s.io/kubernetes/pkg/apis/discovery/install"

	"github.com/belay-dev/belay/state"
)

// kept are the resources whose objects the store keeps.
var kept = map[schema.GroupResource]struct {
	kind    state.Kind
	global  bool
	version string // in which objects are kept; empty: v1
	tell    *teller
}{
	{Resource: "configmaps"}:      {kind: state.KindConfigMap},
	{Resource: "events"}:          {kind: state.KindEvent},
	{Resource: "namespaces"}:      {kind: state.KindNamespace, global: true},
	{Resource: "pods"}:            {kind: state.KindPod},
	{Resource: "resourcequotas"}:  {kind: state.KindResourceQuota},
	{Resource: "secrets"}:         {kind: state.KindSecret},
	{Resource: "services"}:        {kind: state.KindService},
	{Resource: "serviceaccounts"}: {kind: state.KindNamespace, tell: &teller{name: "default"}},
	{Resource: "nodes"}:           {kind: state.KindNamespace, global: true, tell: &teller{from: metav1.NamespaceDefault}},
	{Group: coordinationv1.GroupName, Resource: "leases"}: {
		kind: state.KindNamespace, tell: &teller{from: metav1.NamespaceDefault, in: corev1.NamespaceNodeLease},
	},
	{Resource: "endpoints"}:                                                {kind: state.KindEndpoints},
	{Group: appsv1.GroupName, Resource: "deployments"}:                     {kind: state.KindDeployment},
	{Group: appsv1.GroupName, Resource: "replicasets"}:                     {kind: state.KindReplicaSet},
	{Group: autoscalingv2.GroupName, Resource: "horizontalpodautoscalers"}: {kind: state.KindHorizontalPodAutoscaler, version: "v2"},
	{Group: discoveryv1.GroupName, Resource: "endpointslices"}:             {kind: state.KindEndpointSlice},
}

// backend gives every registry its storage over the one store.
type backend struct {
	store    *state.Store
	writer   Writer // nil: Git manages nothing
	warn     func(before, after state.Object) []string
	reach    Pods
	node     *corev1.Node // nil: none is shown
	now      func() time.Time
	watches  sync.WaitGroup // of the goroutines of all watches and streams
	stopping chan struct{}  // closed when the server stops
}

var _ generic.RESTOptionsGetter = (*backend)(nil)

func (b *backend) GetRESTOptions(gr schema.GroupResource, _ runtime.Object) (generic.RESTOptions, error) {
	k, ok := kept[gr]
	if !ok {
		return generic.RESTOptions{}, fmt.Errorf("resource %s is not kept", gr)
	}
	version := schema.GroupVersion{Group: gr.Group, Version: cmp.Or(k.version, "v1")}
	config := storagebackend.NewDefaultConfig("", legacyscheme.Codecs.LegacyCodec(version))
	config.EncodeVersioner = version
	return generic.RESTOptions{
		StorageConfig:           config.ForResource(gr),
		ResourcePrefix:          gr.Resource,
		DeleteCollectionWorkers: 1,
		EnableGarbageCollection: true,
		Decorator: func(_ *storagebackend.ConfigForResource, prefix string, _ func(runtime.Object) (string, error),
			fresh, _ func() runtime.Object, _ storage.AttrFunc, _ storage.IndexerFuncs, _ *cache.Indexers,
		) (storage.Interface, factory.DestroyFunc, error) {
			r := resource{kind: k.kind, global: k.global, prefix: "/" + strings.Trim(prefix, "/") + "/", fresh: fresh}
			r.encode, r.decode, r.tell = encoder(version), decode, k.tell
			switch gr.Resource {
			case "serviceaccounts":
				r.decode = decodeServiceAccount(r.tell)
			case "nodes":
				r.tell = &teller{name: b.node.Name, from: r.tell.from}
				r.decode = decodeNode(r.tell, b.node, b.now)
			case "leases":
				r.tell = &teller{name: b.node.Name, from: r.tell.from, in: r.tell.in}
				r.decode = decodeLease(r.tell, b.now)
			}
			return &objects{resource: r, store: b.store, ask: b.ask, watches: &b.watches, bookmark: bookmarkEvery}, func() {}, nil
		},
	}, nil
}

// encoder turns the registry's objects into those of a version. Conversions share memory, so that they work on copies.
func encoder(version schema.GroupVersion) func(runtime.Object) (state.Object, error) {
	return func(o runtime.Object) (state.Object, error) {
		v, err := legacyscheme.Scheme.ConvertToVersion(o.DeepCopyObject(), version)
		if err != nil {
			return nil, err
		}
		s, ok := v.(state.Object)
		if !ok {
			return nil, fmt.Errorf("%T cannot be kept", v)
		}
		s.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
		return s, nil
	}
}

// decode turns a stored object into the registry's, with the defaults of what was stored without them.
func decode(from state.Object, into runtime.Object) error {
	o := from.DeepCopyObject()
	legacyscheme.Scheme.Default(o)
	return legacyscheme.Scheme.Convert(o, into, nil)
}

// clearStatus takes an object's status away.
func clearStatus(o state.Object) {
	switch o := o.(type) {
	case *appsv1.Deployment:
		o.Status = appsv1.DeploymentStatus{}
	case *appsv1.ReplicaSet:
		o.Status = appsv1.ReplicaSetStatus{}
	case *corev1.Pod:
		o.Status = corev1.PodStatus{}
	case *corev1.Service:
		o.Status = corev1.ServiceStatus{}
	case *autoscalingv2.HorizontalPodAutoscaler:
		o.Status = autoscalingv2.HorizontalPodAutoscalerStatus{}
	case *corev1.Namespace:
		o.Status = corev1.NamespaceStatus{}
	case *corev1.ResourceQuota:
		o.Status = corev1.ResourceQuotaStatus{}
	}
}
