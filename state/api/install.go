package api

import (
	"context"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	coordinationv1 "k8s.io/api/coordination/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	_ "k8s.io/kubernetes/pkg/apis/authentication/install" // the types
	_ "k8s.io/kubernetes/pkg/apis/authorization/install"
	_ "k8s.io/kubernetes/pkg/apis/autoscaling/install"
	core "k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/printers"
	printersinternal "k8s.io/kubernetes/pkg/printers/internalversion"
	printerstorage "k8s.io/kubernetes/pkg/printers/storage"
	deployments "k8s.io/kubernetes/pkg/registry/apps/deployment/storage"
	replicasets "k8s.io/kubernetes/pkg/registry/apps/replicaset/storage"
	"k8s.io/kubernetes/pkg/registry/authentication/selfsubjectreview"
	"k8s.io/kubernetes/pkg/registry/authorization/selfsubjectaccessreview"
	"k8s.io/kubernetes/pkg/registry/authorization/selfsubjectrulesreview"
	autoscalers "k8s.io/kubernetes/pkg/registry/autoscaling/horizontalpodautoscaler/storage"
	configmaps "k8s.io/kubernetes/pkg/registry/core/configmap/storage"
	events "k8s.io/kubernetes/pkg/registry/core/event/storage"
	namespaces "k8s.io/kubernetes/pkg/registry/core/namespace/storage"
	"k8s.io/kubernetes/pkg/registry/core/pod"
	quotas "k8s.io/kubernetes/pkg/registry/core/resourcequota/storage"
	secrets "k8s.io/kubernetes/pkg/registry/core/secret/storage"
	"k8s.io/kubernetes/pkg/registry/core/service"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// install adds the groups to the server.
func (b *backend) install(s *genericapiserver.GenericAPIServer, allowed access) error {
	legacy, err := b.core()
	if err != nil {
		return err
	}
	apps, err := b.apps()
	if err != nil {
		return err
	}
	scaling, err := b.autoscaling()
	if err != nil {
		return err
	}
	slices, err := b.endpointSlices()
	if err != nil {
		return err
	}
	if err := s.InstallLegacyAPIGroup(genericapiserver.DefaultLegacyAPIPrefix, group(core.GroupName, legacy)); err != nil {
		return err
	}
	groups := []*genericapiserver.APIGroupInfo{
		group("apps", apps),
		scaling,
		group(discoveryv1.GroupName, map[string]rest.Storage{"endpointslices": slices}),
		group("authorization.k8s.io", map[string]rest.Storage{
			"selfsubjectaccessreviews": selfsubjectaccessreview.NewREST(allowed),
			"selfsubjectrulesreviews":  selfsubjectrulesreview.NewREST(allowed),
		}),
		group("authentication.k8s.io", map[string]rest.Storage{"selfsubjectreviews": selfsubjectreview.NewREST()}),
	}
	if b.node != nil {
		leases, err := b.leases()
		if err != nil {
			return err
		}
		groups = append(groups, group(coordinationv1.GroupName, map[string]rest.Storage{"leases": leases}))
	}
	return s.InstallAPIGroups(groups...)
}

func group(name string, resources map[string]rest.Storage) *genericapiserver.APIGroupInfo {
	g := genericapiserver.NewDefaultAPIGroupInfo(name, legacyscheme.Scheme, legacyscheme.ParameterCodec, legacyscheme.Codecs)
	g.VersionedResourcesStorageMap["v1"] = resources
	g.PrioritizedVersions = []schema.GroupVersion{{Group: name, Version: "v1"}} // the library complains about the others
	return &g
}

// autoscaling is served in both of its versions: older clients ask for v1.
func (b *backend) autoscaling() (*genericapiserver.APIGroupInfo, error) {
	hpa, hpaStatus, err := autoscalers.NewREST(b)
	if err != nil {
		return nil, err
	}
	resources := map[string]rest.Storage{"horizontalpodautoscalers": hpa, "horizontalpodautoscalers/status": hpaStatus}
	g := group(autoscalingv2.GroupName, resources)
	g.VersionedResourcesStorageMap["v2"] = resources
	g.PrioritizedVersions = []schema.GroupVersion{{Group: autoscalingv2.GroupName, Version: "v2"}, {Group: autoscalingv2.GroupName, Version: "v1"}}
	return g, nil
}

func (b *backend) apps() (map[string]rest.Storage, error) {
	d, err := deployments.NewStorage(b)
	if err != nil {
		return nil, err
	}
	rs, err := replicasets.NewStorage(b)
	if err != nil {
		return nil, err
	}
	return map[string]rest.Storage{
		"deployments": d.Deployment, "deployments/status": d.Status, "deployments/scale": d.Scale,
		"replicasets": rs.ReplicaSet, "replicasets/status": rs.Status, "replicasets/scale": rs.Scale,
	}, nil
}

func (b *backend) core() (map[string]rest.Storage, error) {
	// The life of an Event is the business of the collector.
	ev, err := events.NewREST(b, 0)
	if err != nil {
		return nil, err
	}
	ns, nsStatus, nsFinalize, err := namespaces.NewREST(b)
	if err != nil {
		return nil, err
	}
	cm, err := configmaps.NewREST(b)
	if err != nil {
		return nil, err
	}
	secret, err := secrets.NewREST(b)
	if err != nil {
		return nil, err
	}
	quota, quotaStatus, err := quotas.NewREST(b)
	if err != nil {
		return nil, err
	}
	ep, err := b.endpoints()
	if err != nil {
		return nil, err
	}
	pods, podStatus, err := b.pods()
	if err != nil {
		return nil, err
	}
	svc, svcStatus, err := b.services()
	if err != nil {
		return nil, err
	}
	accounts, err := b.serviceAccounts()
	if err != nil {
		return nil, err
	}
	in := inside{b, pods.Store}
	all := map[string]rest.Storage{
		"events": ev, "configmaps": cm, "secrets": secret, "endpoints": ep,
		"namespaces": ns, "namespaces/status": nsStatus, "namespaces/finalize": nsFinalize,
		"resourcequotas": quota, "resourcequotas/status": quotaStatus,
		"pods": pods, "pods/status": podStatus,
		"pods/log": logs{in}, "pods/portforward": portForwards{connects{in}},
		"pods/exec": execs{connects{in}}, "pods/attach": attaches{connects{in}},
		"services": svc, "services/status": svcStatus, "serviceaccounts": accounts,
	}
	if b.node != nil {
		all["nodes"], err = b.nodes()
	}
	return all, err
}

// named is a resource with the short names and categories under which kubectl knows it.
type named struct {
	*registry.Store
	short, categories []string
}

func (n named) ShortNames() []string { return n.short }
func (n named) Categories() []string { return n.categories }

// status is the subresource of that name: it is read and changed, never made or deleted.
type status struct{ store *registry.Store }

func (s status) New() runtime.Object { return s.store.New() }
func (s status) Destroy()            {} // the store is the resource's

func (s status) Get(ctx context.Context, name string, o *metav1.GetOptions) (runtime.Object, error) {
	return s.store.Get(ctx, name, o)
}

func (s status) Update(ctx context.Context, name string, o rest.UpdatedObjectInfo, create rest.ValidateObjectFunc,
	update rest.ValidateObjectUpdateFunc, _ bool, options *metav1.UpdateOptions) (runtime.Object, bool, error) {
	return s.store.Update(ctx, name, o, create, update, false, options)
}

func (s status) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	return s.store.GetResetFields()
}

func (s status) ConvertToTable(ctx context.Context, o, options runtime.Object) (*metav1.Table, error) {
	return s.store.ConvertToTable(ctx, o, options)
}

var table = printerstorage.TableConvertor{TableGenerator: printers.NewTableGenerator().With(printersinternal.AddHandlers)}

// pods and services have registries of their own here: the upstream ones want to reach kubelets and allocate addresses.
func (b *backend) pods() (named, status, error) {
	s := &registry.Store{
		NewFunc:                   func() runtime.Object { return &core.Pod{} },
		NewListFunc:               func() runtime.Object { return &core.PodList{} },
		PredicateFunc:             pod.MatchPod,
		DefaultQualifiedResource:  core.Resource("pods"),
		SingularQualifiedResource: core.Resource("pod"),
		CreateStrategy:            pod.Strategy, UpdateStrategy: pod.Strategy, DeleteStrategy: pod.Strategy,
		ResetFieldsStrategy: pod.Strategy,
		ReturnDeletedObject: true,
		TableConvertor:      table,
	}
	err := s.CompleteWithOptions(&generic.StoreOptions{RESTOptions: b, AttrFunc: pod.GetAttrs})
	st := *s
	st.UpdateStrategy, st.ResetFieldsStrategy = pod.StatusStrategy, pod.StatusStrategy
	return named{s, []string{"po"}, []string{"all"}}, status{&st}, err
}

func (b *backend) services() (named, status, error) {
	s := &registry.Store{
		NewFunc:                   func() runtime.Object { return &core.Service{} },
		NewListFunc:               func() runtime.Object { return &core.ServiceList{} },
		PredicateFunc:             service.Matcher,
		DefaultQualifiedResource:  core.Resource("services"),
		SingularQualifiedResource: core.Resource("service"),
		CreateStrategy:            service.Strategy, UpdateStrategy: service.Strategy, DeleteStrategy: service.Strategy,
		ResetFieldsStrategy: service.Strategy,
		ReturnDeletedObject: true,
		TableConvertor:      table,
		BeginCreate:         nameAddresses,
		BeginUpdate:         keepAddresses,
	}
	err := s.CompleteWithOptions(&generic.StoreOptions{RESTOptions: b, AttrFunc: service.GetAttrs})
	st := *s
	st.UpdateStrategy, st.ResetFieldsStrategy, st.BeginUpdate, st.BeginCreate = service.StatusStrategy, service.StatusStrategy, nil, nil
	return named{s, []string{"svc"}, []string{"all"}}, status{&st}, err
}

// nameAddresses lists the one address that a client asks for, as validation wants it: most ask for the one.
func nameAddresses(_ context.Context, o runtime.Object, _ *metav1.CreateOptions) (registry.FinishFunc, error) {
	if s := o.(*core.Service); s.Spec.ClusterIP != "" && len(s.Spec.ClusterIPs) == 0 {
		s.Spec.ClusterIPs = []string{s.Spec.ClusterIP}
	}
	return func(context.Context, bool) {}, nil
}

// keepAddresses fills in what the store allocated and an update leaves out.
func keepAddresses(_ context.Context, o, old runtime.Object, _ *metav1.UpdateOptions) (registry.FinishFunc, error) {
	after, before := o.(*core.Service), old.(*core.Service)
	if after.Spec.Type != core.ServiceTypeExternalName && before.Spec.Type != core.ServiceTypeExternalName {
		if after.Spec.ClusterIP == "" {
			after.Spec.ClusterIP = before.Spec.ClusterIP
		}
		if len(after.Spec.ClusterIPs) == 0 && after.Spec.ClusterIP != "" {
			after.Spec.ClusterIPs = []string{after.Spec.ClusterIP}
		}
		if len(after.Spec.IPFamilies) == 0 {
			after.Spec.IPFamilies = before.Spec.IPFamilies
		}
		if after.Spec.IPFamilyPolicy == nil {
			after.Spec.IPFamilyPolicy = before.Spec.IPFamilyPolicy
		}
	}
	return func(context.Context, bool) {}, nil
}
