package state

import (
	"errors"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Place stores an object as it is given, status and metadata included. It is for a writer that has applied Kubernetes'
// rules itself to the version of the object that it names: without a resource version the object is added, with one
// the stored object of that version is replaced, even by one that is being deleted and that nothing keeps. Namespaces
// and quotas are checked and a Service's ClusterIP is allocated as for every writer; a write that changes nothing is
// none.
func Place(o Object) Write { return objectWrite(opPlace, o) }

// Remove takes away the object in the given version, whatever its finalizers. It is Place's other half. A namespace
// that is not empty stays, and so does the one that is always there.
func Remove(key Key, version string) Write {
	w := Delete(key, DeleteOptions{ResourceVersion: version})
	w.op = opRemove
	if w.err == nil && version == "" {
		w.err = apierrors.NewBadRequest("the version of the object to remove is missing")
	}
	return w
}

// allocatePlaced gives a Service its ClusterIP, or keeps the one it has.
func (t *transaction) allocatePlaced(key Key, before, o Object) error {
	service, ok := o.(*corev1.Service)
	switch {
	case !ok:
		return nil
	case before == nil:
		return t.allocate(key, service)
	}
	return t.reallocate(before.(*corev1.Service), service)
}

var errKeptNamespace = errors.New("this namespace may not be deleted")

func (t *transaction) place(info *kindInfo, w *Write) (Object, error) {
	o := info.shallow(w.object)
	if o.GetResourceVersion() == "" {
		if err := t.admit(info, w.key); err != nil {
			return nil, err
		}
		if t.store.index.get(w.key) != nil {
			return nil, apierrors.NewAlreadyExists(info.groupResource(), w.key.Name)
		}
		if err := t.allocatePlaced(w.key, nil, o); err != nil {
			return nil, err
		}
		t.put(w.key, nil, o)
		return o, nil
	}
	before, err := t.get(info, w)
	if err != nil {
		return nil, err
	}
	if w.key == defaultNamespace && o.GetDeletionTimestamp() != nil {
		return nil, apierrors.NewForbidden(info.groupResource(), w.key.Name, errKeptNamespace)
	}
	if err := t.allocatePlaced(w.key, before, o); err != nil {
		return nil, err
	}
	if same, err := equalObjects(before, o); same || err != nil {
		return before, err
	}
	t.put(w.key, before, o)
	return o, nil
}

func (t *transaction) removeNow(info *kindInfo, w *Write) (Object, error) {
	before, err := t.get(info, w)
	if err != nil {
		return nil, err
	}
	switch {
	case w.key == defaultNamespace:
		return nil, apierrors.NewForbidden(info.groupResource(), w.key.Name, errKeptNamespace)
	case info.kind == KindNamespace && t.store.index.occupied(w.key.Name):
		return nil, apierrors.NewConflict(info.groupResource(), w.key.Name, errNotEmpty)
	}
	last := info.shallow(before)
	t.remove(w.key, before, last)
	return last, nil
}
