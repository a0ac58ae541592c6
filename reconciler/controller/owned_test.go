package controller

import (
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/belay-dev/belay/state"
)

// TestOwned: whose keys a change of a pod concerns, and which pods a ReplicaSet is shown.
func TestOwned(t *testing.T) {
	t.Parallel()
	store, err := state.OpenMemory(state.Options{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	set := func(namespace, name, app string) *appsv1.ReplicaSet {
		rs := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
		rs.Spec.Selector = &metav1.LabelSelector{}
		if app != "" {
			rs.Spec.Selector.MatchLabels = map[string]string{"app": app}
		}
		return rs
	}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "other"}}
	receipt, err := store.Commit(state.Create(ns), state.Create(set("default", "a", "a")), state.Create(set("default", "a2", "a")),
		state.Create(set("default", "all", "")), state.Create(set("default", "b", "b")), state.Create(set("other", "a", "a")))
	if err != nil {
		t.Fatal(err)
	}
	a := receipt.Objects[1].(*appsv1.ReplicaSet)
	pod := func(name, app, kind, controller string) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{"app": app}}}
		if controller != "" {
			p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: kind, Name: controller, UID: a.UID, Controller: new(true)}}
		}
		return p
	}
	const rs = "ReplicaSet"
	orphan, owned := pod("p", "a", "", ""), pod("p", "a", rs, "a")
	for _, tt := range []struct {
		name  string
		event state.Event
		want  []string
	}{
		{"a new orphan is for all that select it", state.Event{Type: state.Added, Object: orphan}, []string{"a", "a2"}},
		{"one that looks as before is news to nobody", state.Event{Type: state.Modified, Old: orphan, Object: orphan.DeepCopy()}, nil},
		{"one with other labels", state.Event{Type: state.Modified, Old: orphan, Object: pod("p", "b", "", "")}, []string{"b"}},
		{"one that went", state.Event{Type: state.Deleted, Old: orphan, Object: orphan}, nil},
		{"one with a controller", state.Event{Type: state.Added, Object: owned}, []string{"a"}},
		{"one that changed hands", state.Event{Type: state.Modified, Old: owned, Object: pod("p", "a", rs, "a2")}, []string{"a2", "a"}},
		{"one that was let go", state.Event{Type: state.Modified, Old: owned, Object: orphan}, []string{"a", "a", "a2"}},
		{"one that went with its controller", state.Event{Type: state.Deleted, Old: owned, Object: owned}, []string{"a"}},
		{"one of another kind of controller", state.Event{Type: state.Added, Object: pod("p", "a", "Job", "a")}, nil},
	} {
		w := &Owned[*appsv1.ReplicaSet, *corev1.Pod]{Store: store, Kind: rs, Selector: func(rs *appsv1.ReplicaSet) *metav1.LabelSelector { return rs.Spec.Selector }}
		var got []string
		for _, k := range w.Keys(tt.event) {
			if k.Kind != rs || k.Namespace != "default" {
				t.Errorf("%s: %s", tt.name, k)
			}
			got = append(got, k.Name)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}

	mine, taken := pod("mine", "a", rs, "a"), pod("taken", "a", rs, "a2")
	taken.OwnerReferences[0].UID = receipt.Objects[2].GetUID()
	if _, err := store.Commit(state.Create(mine), state.Create(taken), state.Create(orphan)); err != nil {
		t.Fatal(err)
	}
	w := &Owned[*appsv1.ReplicaSet, *corev1.Pod]{Store: store, Kind: rs, Selector: func(rs *appsv1.ReplicaSet) *metav1.LabelSelector { return rs.Spec.Selector }}
	if keys := w.Resync(store); len(keys) != 5 {
		t.Errorf("owners: %v", keys)
	}
	var got []string
	for _, p := range w.Of(a) {
		got = append(got, p.Name)
	}
	if want := []string{"mine", "p"}; !slices.Equal(got, want) {
		t.Errorf("of a: got %q, want %q", got, want)
	}
}
