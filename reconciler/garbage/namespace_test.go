package garbage

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/belay-dev/belay/reconciler/controller"
	"github.com/belay-dev/belay/state"
)

func TestPlanNamespace(t *testing.T) {
	t.Parallel()
	now := metav1.NewTime(time.Unix(1, 0))
	going := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", DeletionTimestamp: &now}, Spec: corev1.NamespaceSpec{
		Finalizers: []corev1.FinalizerName{corev1.FinalizerKubernetes, "example.com/mine"}}}
	waiting := going.DeepCopy()
	waiting.Spec.Finalizers = waiting.Spec.Finalizers[1:]
	stays := going.DeepCopy()
	stays.DeletionTimestamp = nil
	there := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "there"}}
	leaving := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "leaving", DeletionTimestamp: &now}}
	for _, c := range []struct {
		ns     *corev1.Namespace
		inside []state.Object
		reason Reason
		verbs  []Verb
	}{
		{stays, []state.Object{there}, NamespaceStays, nil},
		{going, []state.Object{there, leaving}, ContentRemains, []Verb{Delete}},
		{going, []state.Object{leaving}, ContentRemains, nil},
		{going, nil, NamespaceEmptied, []Verb{DropFinalizer}},
		{waiting, nil, NamespaceFinalized, nil},
	} {
		got := PlanNamespace(c.ns, c.inside)
		var verbs []Verb
		for _, a := range got.Actions {
			verbs = append(verbs, a.Verb)
		}
		if got.Reason != c.reason || !slices.Equal(verbs, c.verbs) {
			t.Errorf("%s %v, want %s %v", got.Reason, verbs, c.reason, c.verbs)
		}
	}
}

// TestNamespaceGoes: with everything in it, a pod with its grace period too, and nothing of another.
func TestNamespaceGoes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- controller.Run(ctx, w.store, NewNamespaces(w.store, zerolog.Nop(), time.Now)) }()
		ns := w.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}})
		in := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: "shop", Name: name} }
		grace := int64(30)
		pod := &corev1.Pod{ObjectMeta: in("web"), Spec: corev1.PodSpec{NodeName: "belay", TerminationGracePeriodSeconds: &grace}}
		for _, o := range []state.Object{
			&appsv1.Deployment{ObjectMeta: in("web")}, &appsv1.ReplicaSet{ObjectMeta: in("web")}, pod, &corev1.ConfigMap{ObjectMeta: in("web")},
			&corev1.Secret{ObjectMeta: in("web")}, &corev1.Event{ObjectMeta: in("web")},
			&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "mine"}},
		} {
			w.create(o)
		}
		synctest.Wait()
		w.commit(state.Delete(state.KeyOf(ns), state.DeleteOptions{}))
		synctest.Wait()
		left := func() (names []types.NamespacedName) {
			for _, kind := range contents {
				for _, o := range w.store.List(kind, "") {
					names = append(names, types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetName()})
				}
			}
			return names
		}
		if got := left(); len(got) != 2 || got[0].Namespace != "shop" || got[1].Name != "mine" {
			t.Errorf("while the pod ends there are %v", got)
		}
		if _, ok := w.store.Get(state.KeyOf(ns)); !ok {
			t.Error("the namespace is gone before its pod")
		}
		w.commitNothing(state.Delete(state.KeyOf(pod), state.DeleteOptions{GracePeriodSeconds: new(int64)}))
		synctest.Wait()
		if _, ok := w.store.Get(state.KeyOf(ns)); ok {
			t.Error("the namespace stays")
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// commitNothing is commit of what leaves no object behind.
func (w *world) commitNothing(writes ...state.Write) {
	w.t.Helper()
	if _, err := w.store.Commit(writes...); err != nil {
		w.t.Fatal(err)
	}
}
