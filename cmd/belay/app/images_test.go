package app

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/belay-dev/belay/reconciler/ledger"
	"github.com/belay-dev/belay/state"
)

// TestImagesOfRevisions has a Deployment go from web:1 to web:2, which failed, and back, while another template is held.
func TestImagesOfRevisions(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 21, 2, 14, 0, 0, time.UTC)
	store, err := state.OpenMemory(state.Options{Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	commit := func(ws ...state.Write) {
		t.Helper()
		if _, err := store.Commit(ws...); err != nil {
			t.Fatal(err)
		}
	}
	key := state.Key{Kind: state.KindDeployment, Namespace: "default", Name: "web"}
	row := func(id, set string, after time.Duration, outcome state.Outcome, digest string, images ...string) state.Write {
		r := state.Row{
			ID: id, Namespace: key.Namespace, Name: key.Name, Template: set, ReplicaSet: set, StartedAt: now.Add(after), Outcome: outcome,
			Open: ledger.IsOpen(outcome), Images: images,
		}
		if digest != "" {
			r.Digests = []string{digest}
		}
		return state.PutRow(r)
	}
	held := state.Template{Hash: "held", Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "held:1"}}}}}
	commit(
		state.PutManaged(state.Managed{Key: key, Source: "shop", App: "shop"}),
		row("one", "web-1", time.Minute, ledger.Complete, "web@sha256:one", "web:1"),
		row("two", "web-2", 2*time.Minute, ledger.RolledBack, "", "web:2"),
		row("back", "web-1", 3*time.Minute, ledger.Progressing, "", "web:1"),
		state.PutTemplate(held), state.PutHold(state.Hold{ID: "h", Namespace: key.Namespace, Name: key.Name, Template: held.Hash, Row: "one"}),
		state.Create(&appsv1.ReplicaSet{
			ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: "web-1", OwnerReferences: []metav1.OwnerReference{controlled("Deployment", "web")}},
			Spec:       appsv1.ReplicaSetSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{InitContainers: []corev1.Container{{Name: "i", Image: "init:1"}}}}},
		}),
	)
	o := &origins{store: store, following: &following{}}
	if got, want := o.images(), []string{"held:1", "init:1", "web:1", "web@sha256:one"}; !slices.Equal(got, want) {
		t.Errorf("kept are %q, want %q", got, want)
	}
	pod := func(set string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, OwnerReferences: []metav1.OwnerReference{controlled("ReplicaSet", set)}}}
	}
	if got, want := o.ran(pod("web-1")), map[string]string{"web:1": "web@sha256:one"}; !maps.Equal(got, want) {
		t.Errorf("what is gone back to ran %q, want %q", got, want)
	}
	commit(row("two", "web-1", 4*time.Minute, ledger.Complete, "web@sha256:one", "web:1"), row("one", "web-0", time.Minute, ledger.Complete, "", "web:0"))
	if got := o.ran(pod("web-1")); got != nil {
		t.Errorf("what runs for the first time ran %q", got)
	}
	if got := o.ran(pod("web-9")); got != nil {
		t.Errorf("a pod of nobody ran %q", got)
	}
}

// TestImagesOfHistory has images of stable revisions stay as far back as the history of their Deployment reaches.
func TestImagesOfHistory(t *testing.T) {
	t.Parallel()
	store, err := state.OpenMemory(state.Options{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	limit := int32(2)
	writes := []state.Write{state.Create(&appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}, Spec: appsv1.DeploymentSpec{RevisionHistoryLimit: &limit},
	})}
	// web:1 to web:6, then web:2 again; of another Deployment, which is gone, three.
	for name, images := range map[string][]int{"web": {1, 2, 3, 4, 5, 6, 2}, "gone": {1, 2, 3}} {
		for i, n := range images {
			writes = append(writes, state.PutRow(state.Row{
				ID: fmt.Sprint(name, i), Namespace: "default", Name: name, Template: fmt.Sprint(name, n), Outcome: ledger.Complete,
				Images: []string{fmt.Sprintf("%s:%d", name, n)},
			}))
		}
	}
	if _, err := store.Commit(writes...); err != nil {
		t.Fatal(err)
	}
	o := &origins{store: store, following: &following{}}
	if got, want := o.images(), []string{"gone:3", "web:2", "web:5", "web:6"}; !slices.Equal(got, want) {
		t.Errorf("kept are %q, want %q", got, want)
	}
}

func controlled(kind, name string) metav1.OwnerReference {
	yes := true
	return metav1.OwnerReference{APIVersion: "apps/v1", Kind: kind, Name: name, UID: "u", Controller: &yes}
}
