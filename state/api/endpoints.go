package api

import (
	"context"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/storage/names"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	core "k8s.io/kubernetes/pkg/apis/core"
	corevalidation "k8s.io/kubernetes/pkg/apis/core/validation"
	"k8s.io/kubernetes/pkg/apis/discovery"
	"k8s.io/kubernetes/pkg/apis/discovery/validation"
)

// Endpoints and EndpointSlices have registries of their own here: the upstream ones link Kubernetes' controllers.

func (b *backend) endpoints() (named, error) {
	s := &registry.Store{
		NewFunc:                   func() runtime.Object { return &core.Endpoints{} },
		NewListFunc:               func() runtime.Object { return &core.EndpointsList{} },
		DefaultQualifiedResource:  core.Resource("endpoints"),
		SingularQualifiedResource: core.Resource("endpoints"),
		TableConvertor:            table,
	}
	plainly(s, plain{
		createOnUpdate: true,
		valid: func(o runtime.Object) field.ErrorList {
			return corevalidation.ValidateEndpointsCreate(o.(*core.Endpoints))
		},
		validUpdate: func(o, old runtime.Object) field.ErrorList {
			return corevalidation.ValidateEndpointsUpdate(o.(*core.Endpoints), old.(*core.Endpoints))
		},
	})
	return named{s, []string{"ep"}, nil}, s.CompleteWithOptions(&generic.StoreOptions{RESTOptions: b})
}

func (b *backend) endpointSlices() (*registry.Store, error) {
	s := &registry.Store{
		NewFunc:                   func() runtime.Object { return &discovery.EndpointSlice{} },
		NewListFunc:               func() runtime.Object { return &discovery.EndpointSliceList{} },
		DefaultQualifiedResource:  discovery.Resource("endpointslices"),
		SingularQualifiedResource: discovery.Resource("endpointslice"),
		TableConvertor:            table,
	}
	plainly(s, plain{
		valid: func(o runtime.Object) field.ErrorList {
			return validation.ValidateEndpointSliceCreate(o.(*discovery.EndpointSlice))
		},
		validUpdate: func(o, old runtime.Object) field.ErrorList {
			return validation.ValidateEndpointSliceUpdate(o.(*discovery.EndpointSlice), old.(*discovery.EndpointSlice))
		},
		prepare: func(o runtime.Object) { o.(*discovery.EndpointSlice).Generation = 1 },
		prepareUpdate: func(o, old runtime.Object) {
			after, before := o.(*discovery.EndpointSlice), old.(*discovery.EndpointSlice)
			a, b := *after, *before
			a.ObjectMeta, b.ObjectMeta = metav1.ObjectMeta{Labels: a.Labels}, metav1.ObjectMeta{Labels: b.Labels}
			if !equality.Semantic.DeepEqual(&a, &b) {
				after.Generation = before.Generation + 1
			}
		},
	})
	return s, s.CompleteWithOptions(&generic.StoreOptions{RESTOptions: b})
}

// plain is the strategy of a kind that has neither a status nor anything to be filled in.
type plain struct {
	runtime.ObjectTyper
	names.NameGenerator
	global         bool
	createOnUpdate bool
	valid          func(o runtime.Object) field.ErrorList
	validUpdate    func(o, old runtime.Object) field.ErrorList
	prepare        func(o runtime.Object)      // nil: nothing
	prepareUpdate  func(o, old runtime.Object) // nil: nothing
}

// plainly gives a registry a strategy.
func plainly(s *registry.Store, p plain) {
	p.ObjectTyper, p.NameGenerator = legacyscheme.Scheme, names.SimpleNameGenerator
	s.CreateStrategy, s.UpdateStrategy, s.DeleteStrategy = p, p, p
}

func (p plain) NamespaceScoped() bool                                                   { return !p.global }
func (p plain) AllowCreateOnUpdate() bool                                               { return p.createOnUpdate }
func (plain) AllowUnconditionalUpdate() bool                                            { return true }
func (plain) Canonicalize(runtime.Object)                                               {}
func (plain) WarningsOnCreate(context.Context, runtime.Object) []string                 { return nil }
func (plain) WarningsOnUpdate(context.Context, runtime.Object, runtime.Object) []string { return nil }

func (p plain) PrepareForCreate(_ context.Context, o runtime.Object) {
	if p.prepare != nil {
		p.prepare(o)
	}
}

func (p plain) PrepareForUpdate(_ context.Context, o, old runtime.Object) {
	if p.prepareUpdate != nil {
		p.prepareUpdate(o, old)
	}
}

func (p plain) Validate(_ context.Context, o runtime.Object) field.ErrorList { return p.valid(o) }

func (p plain) ValidateUpdate(_ context.Context, o, old runtime.Object) field.ErrorList {
	return p.validUpdate(o, old)
}
