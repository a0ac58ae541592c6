package app

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/belay-dev/belay/cmd/belay/control"
	"github.com/belay-dev/belay/reconciler/embedded"
	"github.com/belay-dev/belay/reconciler/ledger"
	"github.com/belay-dev/belay/state"
)

// drawn draws writes of a small world. Those that the store refuses change nothing.
type drawn struct {
	*rapid.T
	store *state.Store
}

func (w drawn) name() string { return rapid.SampledFrom([]string{"a", "b"}).Draw(w.T, "name") }

func (w drawn) number(what string) int { return rapid.IntRange(0, 2).Draw(w.T, what) }

func (w drawn) owner(kind state.Kind, name string) []metav1.OwnerReference {
	o, ok := w.store.Get(state.Key{Kind: kind, Namespace: "default", Name: name})
	if !ok {
		return nil
	}
	return []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: string(kind), Name: name, UID: o.GetUID(), Controller: new(true)}}
}

func (w drawn) meta(name string) metav1.ObjectMeta {
	revision := map[string]string{"deployment.kubernetes.io/revision": fmt.Sprint(w.number("revision"))}
	return metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{"app": "a"}, Annotations: revision}
}

// template is one of two, of which one names a ConfigMap.
func (w drawn) template() corev1.PodTemplateSpec {
	c := corev1.Container{Name: "web", Image: "web:1"}
	if rapid.Bool().Draw(w.T, "names a ConfigMap") {
		c.EnvFrom = []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "words"}}}}
	}
	return corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "a"}}, Spec: corev1.PodSpec{Containers: []corev1.Container{c}}}
}

func (w drawn) objects() []state.Object {
	selector, replicas := &metav1.LabelSelector{MatchLabels: map[string]string{"app": "a"}}, new(int32(2))
	d := &appsv1.Deployment{ObjectMeta: w.meta(w.name()), Spec: appsv1.DeploymentSpec{Replicas: replicas, Selector: selector, Template: w.template()}}
	ready := int32(w.number("ready"))
	d.Status = appsv1.DeploymentStatus{ObservedGeneration: int64(w.number("generation")), Replicas: 2, UpdatedReplicas: 2, ReadyReplicas: ready, AvailableReplicas: ready}
	rs := &appsv1.ReplicaSet{ObjectMeta: w.meta("set-" + w.name()), Spec: appsv1.ReplicaSetSpec{Replicas: replicas, Selector: selector, Template: w.template()}}
	rs.OwnerReferences = w.owner(state.KindDeployment, w.name())
	pod := &corev1.Pod{ObjectMeta: w.meta("pod-" + w.name()), Spec: w.template().Spec}
	pod.OwnerReferences = w.owner(state.KindReplicaSet, "set-"+w.name())
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Image: "web:1", State: corev1.ContainerState{
		Waiting: &corev1.ContainerStateWaiting{Reason: fmt.Sprintf("Waits%d", w.number("waits"))},
	}}}
	return []state.Object{d, rs, pod, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "words"}}}
}

func (w drawn) row() state.Row {
	outcome := rapid.SampledFrom([]state.Outcome{ledger.Waiting, ledger.Progressing, ledger.Failed, ledger.Superseded, ledger.Complete}).Draw(w.T, "outcome")
	return state.Row{
		ID: fmt.Sprintf("row-%d", w.number("row")), Namespace: "default", Name: w.name(), Source: "shop", App: "shop",
		Outcome: outcome, Open: w.number("open") == 0, Reason: "Because",
	}
}

// write draws one write.
func (w drawn) write() state.Write {
	o := rapid.SampledFrom(w.objects()).Draw(w.T, "object")
	key, name := state.KeyOf(o), w.name()
	return rapid.SampledFrom([]state.Write{
		state.Create(o), state.Create(o), state.Update(o), state.Update(o), state.UpdateStatus(o), state.UpdateStatus(o),
		state.Delete(key, state.DeleteOptions{GracePeriodSeconds: new(int64(0))}),
		state.PutRow(w.row()),
		state.PutManaged(state.Managed{
			Key: state.Key{Kind: state.KindDeployment, Namespace: "default", Name: name}, App: rapid.SampledFrom([]string{"shop", "old"}).Draw(w.T, "app"),
			Source: rapid.SampledFrom([]string{"shop", "gone"}).Draw(w.T, "source"), File: "web.yaml",
		}),
		state.RemoveManaged(state.Key{Kind: state.KindDeployment, Namespace: "default", Name: name}),
		state.PutHold(state.Hold{ID: "h", Namespace: "default", Name: name, By: "ann", Commit: "c1"}), state.RemoveHold("default", name),
		state.PutOverride(state.Override{Namespace: "default", Name: name, Field: "replicas", Value: "5", By: "ann"}),
	}).Draw(w.T, "write")
}

// TestStatusRemembersAnything: after any writes, few or more than the store keeps, what is remembered is what is computed
// anew.
func TestStatusRemembersAnything(t *testing.T) {
	t.Parallel()
	base := readerOf(t, 0)
	over := func(store *state.Store) *reader {
		return &reader{store: store, engine: embedded.New(store, nil), loop: base.loop, doing: base.doing, wrong: base.wrong, found: base.found}
	}
	rapid.Check(t, func(rt *rapid.T) {
		store, err := state.OpenMemory(state.Options{Now: time.Now, HistorySize: rapid.SampledFrom([]int{1, 20}).Draw(rt, "kept")})
		if err != nil {
			rt.Fatal(err)
		}
		defer func() { _ = store.Close() }()
		r, w := over(store), drawn{rt, store}
		for range 3 { // each after what owns it
			for _, o := range w.objects() {
				_, _ = store.Commit(state.Create(o)) // one that is there is enough
			}
		}
		for _, name := range []string{"a", "b"} {
			key := state.Key{Kind: state.KindDeployment, Namespace: "default", Name: name}
			if _, err := store.Commit(state.PutManaged(state.Managed{Key: key, Source: "shop", App: "shop", File: "web.yaml"})); err != nil {
				rt.Fatal(err)
			}
		}
		for range rapid.IntRange(1, 15).Draw(rt, "asks") {
			for range rapid.IntRange(0, 4).Draw(rt, "writes") {
				_, _ = store.Commit(w.write()) // what is refused changes nothing
			}
			want, got := statusOf(rt, over(store)), statusOf(rt, r)
			if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(control.Source{}, "NextPoll")); diff != "" {
				rt.Fatalf("shown (-fresh +remembered):\n%s", diff)
			}
		}
	})
}
