package state

import (
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// What one write does to one object: the rules of Kubernetes' API server that need the stored object.

var (
	errModified = errors.New("the object has been modified; please apply your changes to the latest version and try again")
	errNotEmpty = errors.New("the namespace is not empty")
)

const nameAttempts = 8

func (t *transaction) create(info *kindInfo, w *Write) (Object, error) {
	luck := &t.chance[0]
	t.chance = t.chance[1:]
	o := info.shallow(w.object)
	key := w.key
	if key.Name == "" {
		for range nameAttempts {
			key.Name = luck.name(o.GetGenerateName())
			if t.store.index.get(key) == nil {
				break
			}
		}
		o.SetName(key.Name)
	}
	if err := t.admit(info, key); err != nil {
		return nil, err
	}
	if t.store.index.get(key) != nil {
		if w.key.Name == "" {
			return nil, apierrors.NewGenerateNameConflict(info.groupResource(), key.Name, 1)
		}
		return nil, apierrors.NewAlreadyExists(info.groupResource(), key.Name)
	}
	clearMeta(o)
	o.SetUID(luck.uid())
	o.SetCreationTimestamp(metav1.NewTime(t.now))
	if info.generation != nil {
		o.SetGeneration(1)
	}
	if info.status != nil {
		info.status(o, info.fresh())
	}
	switch o := o.(type) {
	case *corev1.Pod:
		o.Status.Phase = corev1.PodPending
	case *corev1.Namespace:
		o.Status.Phase = corev1.NamespaceActive
		if len(o.Spec.Finalizers) == 0 {
			o.Spec.Finalizers = []corev1.FinalizerName{corev1.FinalizerKubernetes}
		}
	case *corev1.Service:
		if err := t.allocate(key, o); err != nil {
			return nil, err
		}
	}
	t.put(key, nil, o)
	return o, nil
}

func (t *transaction) update(info *kindInfo, w *Write) (after, removed Object, err error) {
	before, err := t.get(info, w)
	if err != nil {
		return nil, nil, err
	}
	var o Object
	if w.op == opUpdate {
		o, err = t.merge(info, before, w.object)
	} else {
		o = mergeStatus(info, before, w.object)
	}
	if err == nil {
		err = checkFinalizers(info, before, o)
	}
	if err != nil {
		return nil, nil, err
	}
	if same, err := equalObjects(before, o); same || err != nil {
		return before, nil, err
	}
	if w.op == opUpdate && info.generation != nil && info.generation(before, o) {
		o.SetGeneration(o.GetGeneration() + 1)
	}
	return t.settleDeletion(info, w.key, before, o)
}

// settleDeletion stores an object, or removes it when it is being deleted and nothing keeps it.
func (t *transaction) settleDeletion(info *kindInfo, key Key, before, o Object) (after, removed Object, err error) {
	if !gone(o) {
		t.put(key, before, o)
		return o, nil, nil
	}
	if info.kind == KindNamespace && t.store.index.occupied(key.Name) {
		return nil, nil, apierrors.NewConflict(info.groupResource(), key.Name, errNotEmpty)
	}
	t.remove(key, before, o)
	return nil, o, nil
}

// merge is the object after an Update.
func (t *transaction) merge(info *kindInfo, before, given Object) (Object, error) {
	o := info.shallow(given)
	carryMeta(o, before)
	if info.status != nil {
		info.status(o, before)
	}
	switch o := o.(type) {
	case *corev1.Namespace:
		if o.DeletionTimestamp == nil { // only the end of a deletion takes them away
			o.Spec.Finalizers = before.(*corev1.Namespace).Spec.Finalizers
		}
	case *corev1.Service:
		if err := t.reallocate(before.(*corev1.Service), o); err != nil {
			return nil, err
		}
	}
	return o, nil
}

func mergeStatus(info *kindInfo, before, given Object) Object {
	o := info.shallow(before)
	info.status(o, given)
	o.SetAnnotations(given.GetAnnotations())
	o.SetOwnerReferences(given.GetOwnerReferences())
	o.SetFinalizers(given.GetFinalizers())
	o.SetManagedFields(given.GetManagedFields())
	return o
}

// checkFinalizers refuses new finalizers on an object that is being deleted.
func checkFinalizers(info *kindInfo, before, after Object) error {
	if before.GetDeletionTimestamp() == nil {
		return nil
	}
	var added []string
	for _, f := range after.GetFinalizers() {
		if !slices.Contains(before.GetFinalizers(), f) {
			added = append(added, f)
		}
	}
	if len(added) == 0 {
		return nil
	}
	slices.Sort(added)
	return apierrors.NewInvalid(info.groupKind(), after.GetName(), field.ErrorList{
		field.Forbidden(field.NewPath("metadata", "finalizers"), fmt.Sprintf(
			"no new finalizers can be added if the object is being deleted, found new finalizers %#v", added))})
}

// gone says whether nothing keeps an object that is being deleted.
func gone(o Object) bool {
	if o.GetDeletionTimestamp() == nil || len(o.GetFinalizers()) > 0 {
		return false
	}
	if ns, ok := o.(*corev1.Namespace); ok && len(ns.Spec.Finalizers) > 0 {
		return false
	}
	grace := o.GetDeletionGracePeriodSeconds()
	return grace == nil || *grace == 0
}

func (t *transaction) delete(info *kindInfo, w *Write) (after, removed Object, err error) {
	before, err := t.get(info, w)
	if err != nil {
		return nil, nil, err
	}
	if w.key == defaultNamespace {
		return nil, nil, apierrors.NewForbidden(info.groupResource(), w.key.Name, errKeptNamespace)
	}
	o := info.shallow(before)
	t.markDeleted(o, graceOf(before, w.delete.GracePeriodSeconds))
	if gone(o) {
		return t.settleDeletion(info, w.key, before, o)
	}
	if same, err := equalObjects(before, o); same || err != nil {
		return before, nil, err
	}
	t.put(w.key, before, o)
	return o, nil, nil
}

// markDeleted marks an object as being deleted, or brings the end of a deletion forward; it never puts it off.
func (t *transaction) markDeleted(o Object, grace int64) {
	at := t.now.Add(time.Duration(grace) * time.Second)
	if marked := o.GetDeletionTimestamp(); marked == nil {
		if o.GetGeneration() > 0 {
			o.SetGeneration(o.GetGeneration() + 1)
		}
	} else {
		old := int64(0)
		if p := o.GetDeletionGracePeriodSeconds(); p != nil {
			old = *p
		}
		if grace >= old {
			return
		}
		at = marked.Add(time.Duration(grace-old) * time.Second)
		if at.Before(t.now) {
			at = t.now
			grace = min(grace, 1)
		}
	}
	stamp := metav1.NewTime(at)
	o.SetDeletionTimestamp(&stamp)
	o.SetDeletionGracePeriodSeconds(&grace)
	if ns, ok := o.(*corev1.Namespace); ok {
		ns.Status.Phase = corev1.NamespaceTerminating
	}
}

// graceOf is how long a deletion may take: nothing but a running pod gets any time. A deletion asked for again keeps
// its time unless another is asked for.
func graceOf(o Object, asked *int64) int64 {
	pod, ok := o.(*corev1.Pod)
	if !ok {
		return 0
	}
	own := pod.Spec.TerminationGracePeriodSeconds
	if pod.DeletionTimestamp != nil {
		own = pod.DeletionGracePeriodSeconds
	} else if pod.Spec.NodeName == "" || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return 0
	}
	if asked == nil {
		asked = own
	}
	switch {
	case asked == nil:
		return 0
	case *asked < 0:
		return 1
	}
	return *asked
}
