// Package reserve lets what a hold causes be written when the disk is full, with the space that state keeps for that.
//
// It owns the one question who may use that space: a Deployment that is held, its ReplicaSets and their pods, and what
// Events say of them. It never frees the space itself, and never waits for the disk.
package reserve

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/belay-dev/belay/state"
)

// Commit is store.Commit for writes about an object.
func Commit(store *state.Store, of state.Object, writes ...state.Write) (state.Receipt, error) {
	return store.Commit(append(slices.Clone(writes), For(store, state.KeyOf(of), of)...)...)
}

// For is what to add to a transaction about an object, which may be nil where it does not exist: nothing, unless it is a
// held Deployment or belongs to one. It is added before the disk refuses anything: what was taken while nobody knew that
// the disk is full has to be written, too.
func For(store *state.Store, key state.Key, of state.Object) []state.Write {
	for of != nil && key.Kind != state.KindDeployment {
		ref := metav1.GetControllerOfNoCopy(of)
		if ref == nil {
			return nil
		}
		above := state.Key{Kind: state.Kind(ref.Kind), Namespace: key.Namespace, Name: ref.Name}
		if above.Kind != state.KindDeployment && above.Kind != state.KindReplicaSet || above.Kind == key.Kind {
			return nil
		}
		key, of = above, nil
		if o, ok := store.Get(key); ok && o.GetUID() == ref.UID {
			of = o
		}
	}
	if key.Kind == state.KindDeployment {
		if _, ok := store.Hold(key.Namespace, key.Name); ok {
			return []state.Write{state.UseReserve()}
		}
	}
	return nil
}
