package reserve

import (
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/belay-dev/belay/state"
)

// TestFor: a held Deployment, its ReplicaSets and their pods may use the reserve, and nothing else.
func TestFor(t *testing.T) {
	t.Parallel()
	store, err := state.OpenMemory(state.Options{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	create := func(o state.Object, owner state.Object) state.Object {
		t.Helper()
		o.SetNamespace("default")
		if owner != nil {
			yes := true
			o.SetOwnerReferences([]metav1.OwnerReference{{
				Kind: string(state.KeyOf(owner).Kind), Name: owner.GetName(), UID: owner.GetUID(), Controller: &yes,
			}})
		}
		r, err := Commit(store, o, state.Create(o))
		if err != nil {
			t.Fatal(err)
		}
		return r.Objects[0]
	}
	named := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Name: name} }
	want := map[state.Object]bool{}
	for _, held := range []bool{true, false} {
		name := map[bool]string{true: "held", false: "free"}[held]
		d := create(&appsv1.Deployment{ObjectMeta: named(name)}, nil)
		rs := create(&appsv1.ReplicaSet{ObjectMeta: named(name)}, d)
		want[d], want[rs] = held, held
		want[create(&corev1.Pod{ObjectMeta: named(name)}, rs)] = held
		want[create(&corev1.Pod{ObjectMeta: named(name + "-orphan")}, nil)] = false
		want[create(&corev1.ConfigMap{ObjectMeta: named(name)}, nil)] = false
		other := rs.DeepCopyObject().(state.Object)
		other.SetUID("another")
		want[create(&corev1.Pod{ObjectMeta: named(name + "-before")}, other)] = false
	}
	if _, err := store.Commit(state.PutHold(state.Hold{ID: "h", Namespace: "default", Name: "held"})); err != nil {
		t.Fatal(err)
	}
	for o, want := range want {
		if got := len(For(store, state.KeyOf(o), o)) == 1; got != want {
			t.Errorf("%s: %v", state.KeyOf(o), got)
		}
	}
	if len(For(store, state.Key{Kind: state.KindDeployment, Namespace: "default", Name: "held"}, nil)) != 1 {
		t.Error("a held Deployment that is not there")
	}
}
