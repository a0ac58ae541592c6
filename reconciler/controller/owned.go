package controller

import (
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/belay-dev/belay/reconciler/owner"
	"github.com/belay-dev/belay/state"
)

// Owned follows the objects of one kind that those of another control: the ReplicaSets of Deployments, the pods of
// ReplicaSets. It is told of every change of them by Resync and Keys, which are Config's, and remembers the orphans.
type Owned[Owner, Object state.Object] struct {
	Store *state.Store
	Kind  state.Kind // of the owners
	// Selector says which orphans an owner wants.
	Selector func(Owner) *metav1.LabelSelector

	orphans owner.Orphans
}

// Resync looks at every object, and lists the keys of all owners.
func (w *Owned[Owner, Object]) Resync(store *state.Store) []state.Key {
	for _, o := range state.List[Object](store, "") {
		w.orphans.Observe(o, false)
	}
	owners := store.List(w.Kind, "")
	keys := make([]state.Key, len(owners))
	for i, o := range owners {
		keys[i] = state.KeyOf(o)
	}
	return keys
}

// Keys names the owner that controls an object that changed and the one that did, or, for an orphan that is new or looks
// different, every owner that may want it.
func (w *Owned[Owner, Object]) Keys(e state.Event) []state.Key {
	gone := e.Type == state.Deleted
	w.orphans.Observe(e.Object, gone)
	keys := w.controlling(e.Object)
	changed := e.Old == nil
	if e.Old != nil {
		for _, key := range w.controlling(e.Old) {
			if !slices.Contains(keys, key) {
				keys = append(keys, key)
			}
		}
		changed = metav1.GetControllerOfNoCopy(e.Old) != nil || !maps.Equal(e.Old.GetLabels(), e.Object.GetLabels())
	}
	if gone || !changed || metav1.GetControllerOfNoCopy(e.Object) != nil {
		return keys
	}
	for _, o := range state.List[Owner](w.Store, e.Object.GetNamespace()) {
		selector, err := metav1.LabelSelectorAsSelector(w.Selector(o))
		if err == nil && !selector.Empty() && selector.Matches(labels.Set(e.Object.GetLabels())) {
			keys = append(keys, state.KeyOf(o))
		}
	}
	return keys
}

// controlling names the owner that controls an object; none when it has no controller, or one of another kind.
func (w *Owned[Owner, Object]) controlling(o metav1.Object) []state.Key {
	ref := metav1.GetControllerOfNoCopy(o)
	if ref == nil || ref.Kind != string(w.Kind) {
		return nil
	}
	return []state.Key{{Kind: w.Kind, Namespace: o.GetNamespace(), Name: ref.Name}}
}

// Of lists what an owner controls, and the orphans of its namespace.
func (w *Owned[Owner, Object]) Of(o Owner) []Object {
	objects := state.OwnedBy[Object](w.Store, o.GetUID())
	for _, name := range w.orphans.In(o.GetNamespace()) {
		if orphan, ok := state.Get[Object](w.Store, name.Namespace, name.Name); ok && metav1.GetControllerOfNoCopy(orphan) == nil {
			objects = append(objects, orphan)
		}
	}
	return objects
}
