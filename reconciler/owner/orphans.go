package owner

import (
	"cmp"
	"maps"
	"slices"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Orphans remembers which of the objects it was shown have no controller, so that a controller need not list a
// namespace to find what it may adopt. The zero value is empty and ready; it is safe for concurrent use.
//
// Show it objects of one kind only. It may lag behind the store: a name it gives may have found a controller or be
// gone, so read the object before use; an orphan it does not know yet is announced by an event of its own.
type Orphans struct {
	mu    sync.Mutex
	names map[string]map[string]struct{} // namespace → names
}

// Observe records whether obj, as it is now, has a controller; gone says that it exists no more.
func (o *Orphans) Observe(obj metav1.Object, gone bool) {
	namespace, name := obj.GetNamespace(), obj.GetName()
	orphan := !gone && metav1.GetControllerOfNoCopy(obj) == nil

	o.mu.Lock()
	defer o.mu.Unlock()
	names := o.names[namespace]
	if !orphan {
		delete(names, name)
		if len(names) == 0 {
			delete(o.names, namespace)
		}
		return
	}
	if names == nil {
		if o.names == nil {
			o.names = map[string]map[string]struct{}{}
		}
		names = map[string]struct{}{}
		o.names[namespace] = names
	}
	names[name] = struct{}{}
}

// In returns the orphans of a namespace, sorted by name.
func (o *Orphans) In(namespace string) []types.NamespacedName {
	o.mu.Lock()
	defer o.mu.Unlock()
	found := make([]types.NamespacedName, 0, len(o.names[namespace]))
	for name := range maps.Keys(o.names[namespace]) {
		found = append(found, types.NamespacedName{Namespace: namespace, Name: name})
	}
	slices.SortFunc(found, func(a, b types.NamespacedName) int { return cmp.Compare(a.Name, b.Name) })
	return found
}
