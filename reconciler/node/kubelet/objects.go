package kubelet

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/belay-dev/belay/state"
)

// Stored are the objects of a store.
func Stored(store *state.Store) Objects { return objectsOf{store} }

type objectsOf struct{ store *state.Store }

func (s objectsOf) ConfigMap(namespace, name string) (*corev1.ConfigMap, bool) {
	return state.Get[*corev1.ConfigMap](s.store, namespace, name)
}

func (s objectsOf) Secret(namespace, name string) (*corev1.Secret, bool) {
	return state.Get[*corev1.Secret](s.store, namespace, name)
}
