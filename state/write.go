package state

import (
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validate/content"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Write is one write of a transaction. It may be committed more than once, and the object given to its
// constructor stays the caller's.
type Write struct {
	op     operation
	object Object
	key    Key
	delete DeleteOptions
	ledger func(*ledger) (undo func(), change diskChange, err error)
	err    error
}

type operation string

const (
	opCreate       operation = "create"
	opUpdate       operation = "update"
	opUpdateStatus operation = "update status"
	opDelete       operation = "delete"
	opPlace        operation = "place"
	opRemove       operation = "remove"
	opLedger       operation = "ledger"
	opReserve      operation = "use reserve"
)

// DeleteOptions says what to delete, and how fast. The zero value deletes whatever is there as the object says.
type DeleteOptions struct {
	UID             types.UID // when set, only the object with this uid
	ResourceVersion string    // when set, only the object in this version
	// GracePeriodSeconds replaces a pod's own terminationGracePeriodSeconds; 0 removes the pod at once.
	GracePeriodSeconds *int64
}

// Create adds an object. Its status, uid, timestamps and generation are set here, whatever they are; a name is
// generated from generateName when it has none, and a Service gets its ClusterIP.
func Create(o Object) Write { return objectWrite(opCreate, o) }

// Update replaces an object's spec and metadata, and keeps the stored status. With a resource version it is refused
// when the stored object has another.
func Update(o Object) Write { return objectWrite(opUpdate, o) }

// UpdateStatus replaces an object's status, annotations, owner references, finalizers and managed fields, and keeps
// the stored spec and labels. With a resource version it is refused when the stored object has another.
func UpdateStatus(o Object) Write { return objectWrite(opUpdateStatus, o) }

// Delete removes an object, or marks it as being deleted: a running pod has its grace period, a Namespace stays
// until its finalizers are gone from spec and metadata, and any object while it has finalizers.
func Delete(key Key, options DeleteOptions) Write {
	w := Write{op: opDelete, key: key, delete: options}
	if kindByName[key.Kind] == nil {
		w.err = apierrors.NewBadRequest(fmt.Sprintf("kind %q is not kept", key.Kind))
	}
	return w
}

func objectWrite(op operation, o Object) Write {
	info := infoOf(o)
	if info == nil {
		return Write{op: op, err: apierrors.NewBadRequest(fmt.Sprintf("type %T is not kept", o))}
	}
	w := Write{op: op, key: KeyOf(o)}
	if w.object, w.err = detach(o); w.err != nil {
		return w
	}
	switch {
	case info.global && w.key.Namespace != "":
		w.err = apierrors.NewBadRequest("a namespace may not be set on a " + string(info.kind))
	case !info.global && w.key.Namespace == "":
		w.err = apierrors.NewBadRequest("the namespace of the object is missing")
	case op == opUpdateStatus && info.status == nil:
		w.err = apierrors.NewMethodNotSupported(info.groupResource(), string(op))
	case w.key.Name == "" && (op != opCreate || o.GetGenerateName() == ""):
		w.err = apierrors.NewInvalid(info.groupKind(), "", field.ErrorList{
			field.Required(field.NewPath("metadata", "name"), "name or generateName is required")})
	case op == opCreate && o.GetResourceVersion() != "":
		w.err = apierrors.NewBadRequest("resourceVersion should not be set on objects to be created")
	case op == opCreate:
		w.err = checkName(info, o)
	}
	return w
}

// checkName refuses only what cannot be part of a path: the rules of each kind are its validation's.
func checkName(info *kindInfo, o Object) error {
	at, name, check := "name", o.GetName(), content.IsPathSegmentName
	if name == "" {
		at, name, check = "generateName", o.GetGenerateName(), content.IsPathSegmentPrefix
	}
	for _, problem := range check(name) {
		return apierrors.NewInvalid(info.groupKind(), name, field.ErrorList{
			field.Invalid(field.NewPath("metadata", at), name, problem)})
	}
	return nil
}

// detach is a copy as the store keeps objects: without TypeMeta, and with times of the precision in which they are
// written to disk, so that an object is the same before and after a restart.
func detach(o Object) (Object, error) {
	c := o.DeepCopyObject().(Object)
	c.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	truncateTimes(c)
	if err := settle(c); err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	return c, nil
}

// carryMeta gives an object the metadata that no writer sets.
func carryMeta(o, stored Object) {
	o.SetUID(stored.GetUID())
	o.SetCreationTimestamp(stored.GetCreationTimestamp())
	o.SetGeneration(stored.GetGeneration())
	o.SetResourceVersion(stored.GetResourceVersion())
	o.SetDeletionTimestamp(stored.GetDeletionTimestamp())
	o.SetDeletionGracePeriodSeconds(stored.GetDeletionGracePeriodSeconds())
	o.SetGenerateName(stored.GetGenerateName())
	o.SetSelfLink("")
}

// clearMeta takes away what a created object cannot bring along.
func clearMeta(o Object) {
	o.SetSelfLink("")
	o.SetDeletionTimestamp(nil)
	o.SetDeletionGracePeriodSeconds(nil)
	o.SetCreationTimestamp(metav1.Time{})
	o.SetUID("")
	o.SetGeneration(0)
}
