package app

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/rs/zerolog"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/belay-dev/belay/cmd/belay/control"
	"github.com/belay-dev/belay/reconciler/controller"
	"github.com/belay-dev/belay/reconciler/ledger"
	"github.com/belay-dev/belay/reconciler/rollout"
	"github.com/belay-dev/belay/state"
)

// aYear fills a store with Deployments, their ReplicaSets and pods, a hundred rows of history each, and 10,000 Events.
func aYear(tb testing.TB, store *state.Store, deployments int) {
	tb.Helper()
	commit := func(ws ...state.Write) []state.Object {
		r, err := store.Commit(ws...)
		if err != nil {
			tb.Fatal(err)
		}
		return r.Objects
	}
	for i := range deployments {
		name := fmt.Sprintf("web-%d", i)
		labels := map[string]string{"app": name}
		template := corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "web:100"}}},
		}
		meta := metav1.ObjectMeta{Namespace: "default", Name: name, Labels: labels, Annotations: map[string]string{"deployment.kubernetes.io/revision": "100"}}
		d := commit(state.Create(&appsv1.Deployment{ObjectMeta: meta, Spec: appsv1.DeploymentSpec{
			Replicas: new(int32(3)), Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: template,
		}}))[0]
		owned := func(o metav1.Object, kind, name string) metav1.ObjectMeta {
			return metav1.ObjectMeta{Namespace: "default", Name: name, Labels: labels, Annotations: meta.Annotations, OwnerReferences: []metav1.OwnerReference{
				{APIVersion: "apps/v1", Kind: kind, Name: o.GetName(), UID: o.GetUID(), Controller: new(true)},
			}}
		}
		rs := commit(state.Create(&appsv1.ReplicaSet{ObjectMeta: owned(d, "Deployment", name+"-a"), Spec: appsv1.ReplicaSetSpec{
			Replicas: new(int32(3)), Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: template,
		}}))[0]
		for j := range 3 {
			commit(state.Create(&corev1.Pod{ObjectMeta: owned(rs, "ReplicaSet", fmt.Sprintf("%s-a-%d", name, j)), Spec: template.Spec}))
		}
		digest := rollout.Digest(&template)
		ws := []state.Write{state.PutManaged(state.Managed{Key: state.KeyOf(d), Source: "shop", App: "shop", File: name + ".yaml", Commit: "c100"})}
		for n := range 100 {
			ws = append(ws, state.PutRow(state.Row{
				ID: fmt.Sprintf("%s-%d", name, n), Namespace: "default", Name: name, UID: d.GetUID(), Source: "shop", App: "shop",
				Commit: fmt.Sprintf("%040d", n), Author: "Ann <ann@example.com>", Subject: "Run another web", Template: digest,
				Images: []string{fmt.Sprintf("web:%d", n)}, Revision: int64(n + 1), Outcome: ledger.Complete,
			}))
		}
		commit(ws...)
	}
	for i := range 10_000 {
		commit(state.Create(&corev1.Event{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("event-%d", i)}}))
	}
}

// readerOf answers questions about Deployments with a year of commits, 10,000 Events too. Its loop does not run.
func readerOf(tb testing.TB, deployments int) *reader {
	tb.Helper()
	store, err := state.OpenMemory(state.Options{Now: time.Now})
	if err != nil {
		tb.Fatal(err)
	}
	aYear(tb, store, deployments)
	source := DefaultSource()
	source.Name, source.URL, source.Apps = "shop", tb.TempDir(), []AppConfig{{Name: "shop", Namespace: "default", Prune: true}}
	c := DefaultConfig()
	c.Sources = []SourceConfig{source}
	p := New(c, tb.TempDir(), zerolog.Nop()).wire(store, podRuntime{})
	tb.Cleanup(func() {
		if err := errors.Join(p.close(), store.Close()); err != nil {
			tb.Error(err)
		}
	})
	return &reader{store: store, engine: p.engine, loop: p.loop, doing: p.doing, wrong: p.problems, found: &found{}}
}

// TestReadsWaitForNobody: status and history are answered although the loop, whose turn never comes here, would not.
func TestReadsWaitForNobody(t *testing.T) {
	t.Parallel()
	r := readerOf(t, 3)
	for i := range 2 {
		left := state.Managed{Key: state.Key{Kind: state.KindDeployment, Namespace: "default", Name: fmt.Sprintf("left-%d", i)}, Source: "gone"}
		if _, err := r.store.Commit(state.PutManaged(left)); err != nil {
			t.Fatal(err)
		}
	}
	s := statusOf(t, r)
	var got []string
	for _, d := range s.Deployments {
		got = append(got, fmt.Sprintf("%s %s", d.Name, d.Health))
	}
	want := []string{"web-0 Progressing", "web-1 Progressing", "web-2 Progressing", "left-0 Missing", "left-1 Missing"}
	if !slices.Equal(got, want) || len(s.Sources) != 1 {
		t.Errorf("%v, %+v", got, s.Sources)
	}
	if rows, err := r.History(t.Context(), control.HistoryQuery{Name: "web-1"}); err != nil || len(rows) != 100 {
		t.Errorf("%d rows, %v", len(rows), err)
	}
}

// BenchmarkStatus asks for everything at a glance, and for one history, after a year of commits: 1,000 Deployments with
// 100,000 rows. The goal is 50 ms for either, the answer's text included.
func BenchmarkStatus(b *testing.B) {
	r := readerOf(b, 1000)
	k := &keeper{reader: r, loop: r.loop}
	handler := control.Handler(r, nil, k, k, new(controller.Pause).Ask)
	for name, path := range map[string]string{"status": "status", "history": "history?name=web-500"} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				req := httptest.NewRequestWithContext(control.WithCaller(b.Context(), control.Caller{Role: control.RoleView}), http.MethodGet, "/belay/v1/"+path, http.NoBody)
				w := httptest.NewRecorder()
				if handler.ServeHTTP(w, req); w.Code != http.StatusOK {
					b.Fatal(w.Body)
				}
			}
		})
	}
}
