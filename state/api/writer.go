package api

import (
	"context"
	"errors"
	"strings"
	"unicode"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/warning"
	"k8s.io/kubernetes/pkg/apis/autoscaling"

	"github.com/belay-dev/belay/state"
)

// Writer decides about requests to change what Git manages.
type Writer interface {
	// Write is asked once for each request that would change more than an object's status, after the request has been
	// found valid and before anything is stored. No lock is held. An error refuses the request and goes to the client
	// as it is; else the writer has seen to it, the answer is the object as it is in the store then, and the warnings
	// go with it. A dry run is answered as the request would be, and does nothing.
	Write(context.Context, ManagedWrite) (warnings []string, err error)
}

// ManagedWrite is one request to change an object that Git manages.
type ManagedWrite struct {
	Managed state.Managed
	User    User
	// Verb is that of Kubernetes: create, update, patch, delete or deletecollection.
	Verb        string
	Subresource string
	AuditID     string
	DryRun      bool
	// Old is the object as stored, nil when there is none. New is the object asked for, nil when it is to be deleted.
	// Neither may be modified.
	Old, New state.Object
}

// ask hands a write to the writer where Git manages the object. It is false when the write is free: nothing was asked.
func (b *backend) ask(ctx context.Context, key state.Key, before, after state.Object, dryRun bool) (bool, error) {
	user, _ := UserOf(ctx)
	local, err := onlyLocal(before, after)
	if err != nil {
		return false, err
	}
	m, managed := b.store.Managed(key)
	if b.writer == nil || !managed || local {
		if err := free(user, key); err != nil {
			return false, err
		}
		if b.warn != nil {
			warn(ctx, b.warn(before, after))
		}
		return false, nil
	}
	w := ManagedWrite{Managed: m, User: user, Old: before, New: after, AuditID: audit.GetAuditIDTruncated(ctx), DryRun: dryRun}
	if info, ok := request.RequestInfoFrom(ctx); ok {
		w.Verb, w.Subresource = info.Verb, info.Subresource
	}
	warnings, err := b.writer.Write(ctx, w)
	warn(ctx, warnings)
	return true, err
}

// warn sends warnings with the answer to a request.
func warn(ctx context.Context, warnings []string) {
	for _, text := range warnings {
		warning.AddWarning(ctx, "", printable(text))
	}
}

// free refuses what is no rollback to who may do nothing else.
func free(u User, key state.Key) error {
	if u.Role != RoleRollback {
		return nil
	}
	return apierrors.NewForbidden(schema.GroupResource{Group: "apps", Resource: "deployments"}, key.Name,
		errors.New("the role rollback may roll back what git manages, and nothing else"))
}

// printable is a text as a header may carry it.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, string(unicode.ReplacementChar)))
}

// rehearsal has dry runs refused that would be refused if they were none. Admission is where they are seen: what they
// change never reaches the storage.
type rehearsal struct{ *backend }

var _ admission.ValidationInterface = rehearsal{}

func (rehearsal) Handles(admission.Operation) bool { return true }

func (r rehearsal) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	kind, ok := kept[a.GetResource().GroupResource()]
	if !a.IsDryRun() || !ok || a.GetSubresource() != "" && a.GetSubresource() != "scale" {
		return nil
	}
	key := state.Key{Kind: kind.kind, Namespace: a.GetNamespace(), Name: a.GetName()}
	before, _ := r.store.Get(key)
	var after state.Object
	if o := a.GetObject(); o != nil {
		var err error
		if after, err = rehearsed(before, o, a.GetResource().GroupVersion()); err != nil {
			return err
		}
	}
	_, err := r.ask(ctx, key, before, after, true)
	return err
}

// rehearsed is the object that a request would leave behind.
func rehearsed(before state.Object, asked runtime.Object, version schema.GroupVersion) (state.Object, error) {
	scale, ok := asked.(*autoscaling.Scale)
	if !ok {
		return encoder(version)(asked)
	}
	if before == nil {
		return nil, nil
	}
	after := before.DeepCopyObject().(state.Object)
	switch o := after.(type) {
	case *appsv1.Deployment:
		o.Spec.Replicas = &scale.Spec.Replicas
	case *appsv1.ReplicaSet:
		o.Spec.Replicas = &scale.Spec.Replicas
	}
	return after, nil
}

// onlyLocal says whether a write changes nothing but what is never Git's: the status, and who set which field.
func onlyLocal(before, after state.Object) (bool, error) {
	if before == nil || after == nil {
		return false, nil
	}
	a := after.DeepCopyObject().(state.Object)
	b := before.DeepCopyObject().(state.Object)
	for _, o := range []state.Object{a, b} {
		o.SetManagedFields(nil)
		o.SetResourceVersion("")
		clearStatus(o)
	}
	return equal(a, b)
}
