package owner

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

// Claimed divides candidates by what their would-be controller does with them. Every list keeps the order of the
// candidates; candidates that are none of the controller's business are in none.
type Claimed[T metav1.Object] struct {
	Owned   []T // controlled already and still matching
	Adopt   []T // controlled by nobody and matching
	Release []T // controlled, but matching no more
}

// Claim compares candidates with the controller's selector, by the labels of each candidate.
//
// An object with another controller is left out. While the controller is being deleted it neither adopts nor
// releases; an object that is being deleted is never adopted, nor one of another namespace.
func Claim[T metav1.Object](controller metav1.Object, selector labels.Selector, candidates []T) Claimed[T] {
	var c Claimed[T]
	deleting := controller.GetDeletionTimestamp() != nil
	for _, o := range candidates {
		matches := selector.Matches(labels.Set(o.GetLabels()))
		ref := metav1.GetControllerOfNoCopy(o)
		switch {
		case ref != nil && ref.UID != controller.GetUID():
		case ref != nil && matches:
			c.Owned = append(c.Owned, o)
		case ref != nil && !deleting:
			c.Release = append(c.Release, o)
		case ref == nil && matches && !deleting && o.GetDeletionTimestamp() == nil &&
			o.GetNamespace() == controller.GetNamespace():
			c.Adopt = append(c.Adopt, o)
		}
	}
	return c
}

// Add returns refs with ref in it, in place of an entry with the same UID if there is one. refs is not changed.
func Add(refs []metav1.OwnerReference, ref metav1.OwnerReference) []metav1.OwnerReference {
	return append(Remove(refs, ref.UID), ref)
}

// Remove returns refs without the entries of uid. refs is not changed.
func Remove(refs []metav1.OwnerReference, uid types.UID) []metav1.OwnerReference {
	return slices.DeleteFunc(slices.Clone(refs), func(r metav1.OwnerReference) bool { return r.UID == uid })
}
