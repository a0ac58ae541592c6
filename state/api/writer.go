package api

import (
	"context"

	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/endpoints/request"

	"github.com/belay-dev/belay/state"
)

// Writer decides about requests to change what Git manages.
type Writer interface {
	// Write is asked once for each request that would change more than an object's status, after the request has been
	// found valid and before anything is stored. No lock is held. An error refuses the request and goes to the client
	// as it is; nil says that the writer has seen to it, and the answer is the object as it is in the store then.
	Write(context.Context, ManagedWrite) error
}

// ManagedWrite is one request to change an object that Git manages.
type ManagedWrite struct {
	Managed state.Managed
	User    string
	// Verb is that of Kubernetes: create, update, patch, delete or deletecollection.
	Verb        string
	Subresource string
	AuditID     string
	// Old is the object as stored, nil when there is none. New is the object asked for, nil when it is to be deleted.
	// Neither may be modified.
	Old, New state.Object
}

// ask hands a write to the writer where Git manages the object. It is false when the write is free: nothing was asked.
func (s *objects) ask(ctx context.Context, key state.Key, before, after state.Object) (bool, error) {
	if s.writer == nil {
		return false, nil
	}
	m, ok := s.store.Managed(key)
	if !ok {
		return false, nil
	}
	if local, err := onlyLocal(before, after); local || err != nil {
		return false, err
	}
	w := ManagedWrite{Managed: m, Old: before, New: after, AuditID: audit.GetAuditIDTruncated(ctx)}
	if user, ok := request.UserFrom(ctx); ok {
		w.User = user.GetName()
	}
	if info, ok := request.RequestInfoFrom(ctx); ok {
		w.Verb, w.Subresource = info.Verb, info.Subresource
	}
	return true, s.writer.Write(ctx, w)
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
