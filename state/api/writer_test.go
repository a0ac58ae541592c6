package api

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/belay-dev/belay/state"
)

// heard keeps the warnings of answers.
type heard struct {
	mu   sync.Mutex
	text []string
}

func (h *heard) HandleWarningHeader(_ int, _, text string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.text = append(h.text, text)
}

// checkWriter: what the writer takes is answered with the object as it is in the store, and with its warnings.
func checkWriter(t *testing.T, s *served) {
	ctx, warned := t.Context(), &heard{}
	config := rest.CopyConfig(s.config)
	config.QPS, config.WarningHandler = -1, warned
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	apps := client.AppsV1().Deployments("default")
	if _, err := apps.Create(ctx, deployment("obeyed"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	key := state.Key{Kind: state.KindDeployment, Namespace: "default", Name: "obeyed"}
	if _, err := s.store.Commit(state.PutManaged(state.Managed{Key: key, Source: "shop"})); err != nil {
		t.Fatal(err)
	}
	s.writer.obeys("obeyed", func(w ManagedWrite) ([]string, bool) {
		if w.New == nil || *w.New.(*appsv1.Deployment).Spec.Replicas > 5 {
			return nil, false
		}
		if !w.DryRun {
			d := w.Old.DeepCopyObject().(*appsv1.Deployment)
			d.Spec.Replicas, d.Annotations = w.New.(*appsv1.Deployment).Spec.Replicas, map[string]string{"by": w.User.Name}
			if _, err := s.store.Commit(state.Update(d)); err != nil {
				t.Error(err)
			}
		}
		return []string{fmt.Sprintf("asked for %d\r\nreplicas", *w.New.(*appsv1.Deployment).Spec.Replicas)}, true
	})
	patch := func(replicas int, o metav1.PatchOptions, sub ...string) (*appsv1.Deployment, error) {
		return apps.Patch(ctx, "obeyed", types.MergePatchType, fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, replicas), o, sub...)
	}
	dry := metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}}

	d, err := patch(3, metav1.PatchOptions{})
	if err != nil || *d.Spec.Replicas != 3 || d.Annotations["by"] != "edit" {
		t.Errorf("answer %v %v", d, err)
	}
	if _, err := patch(4, metav1.PatchOptions{}, "scale"); err != nil {
		t.Error(err)
	}
	for _, sub := range [][]string{nil, {"scale"}} {
		if _, err := patch(5, dry, sub...); err != nil {
			t.Errorf("dry run of %v: %v", sub, err)
		}
		if _, err := patch(6, dry, sub...); !apierrors.IsForbidden(err) {
			t.Errorf("dry run of %v that would be refused: %v", sub, err)
		}
	}
	if err := apps.Delete(ctx, "obeyed", metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}}); !apierrors.IsForbidden(err) {
		t.Errorf("dry run of a delete: %v", err)
	}
	if d, err := apps.Get(ctx, "obeyed", metav1.GetOptions{}); err != nil || *d.Spec.Replicas != 4 {
		t.Errorf("after dry runs: %v %v", d, err)
	}
	want := "asked for 3  replicas|asked for 4  replicas|asked for 5  replicas|asked for 5  replicas"
	if got := strings.Join(warned.text, "|"); got != want {
		t.Errorf("warned %q, want %q", got, want)
	}
}

// labelled warns of the label warn of what is written, unless it was there before.
func labelled(before, after state.Object) []string {
	if after == nil || after.GetLabels()["warn"] == "" || before != nil && before.GetLabels()["warn"] == after.GetLabels()["warn"] {
		return nil
	}
	return []string{"of " + after.GetLabels()["warn"]}
}

// checkWarnings: whoever writes what Git does not manage is warned once of what the write changes, in a dry run too.
func checkWarnings(t *testing.T, s *served) {
	ctx, warned := t.Context(), &heard{}
	config := rest.CopyConfig(s.config)
	config.QPS, config.WarningHandler = -1, warned
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	apps := client.AppsV1().Deployments("default")
	d := deployment("warned")
	d.Labels = map[string]string{"warn": "creation"}
	if _, err := apps.Create(ctx, d, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}); err != nil {
		t.Fatal(err)
	}
	if _, err := apps.Create(ctx, d, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, patch := range []string{`{"spec":{"replicas":2}}`, `{"metadata":{"labels":{"warn":"change"}}}`} {
		if _, err := apps.Patch(ctx, "warned", types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
			t.Error(err)
		}
	}
	if err := apps.Delete(ctx, "warned", metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
	if got, want := strings.Join(warned.text, "|"), "of creation|of creation|of change"; got != want {
		t.Errorf("warned %q, want %q", got, want)
	}
}

// checkRollbackRole: who may roll back patches what Git manages, as far as the writer takes it, and nothing else.
func checkRollbackRole(t *testing.T, s *served) {
	ctx, mine := t.Context(), s.as(t, RoleRollback).AppsV1().Deployments("default")
	theirs := s.as(t, RoleEdit).AppsV1().Deployments("default")
	for _, name := range []string{"free", "held"} {
		if _, err := theirs.Create(ctx, deployment(name), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	key := state.Key{Kind: state.KindDeployment, Namespace: "default", Name: "held"}
	if _, err := s.store.Commit(state.PutManaged(state.Managed{Key: key, Source: "shop"})); err != nil {
		t.Fatal(err)
	}
	var asked []ManagedWrite
	s.writer.obeys("held", func(w ManagedWrite) ([]string, bool) { asked = append(asked, w); return nil, true })
	patch := []byte(`{"metadata":{"labels":{"a":"b"}}}`)
	for _, o := range []metav1.PatchOptions{{}, {DryRun: []string{metav1.DryRunAll}}} {
		if _, err := mine.Patch(ctx, "free", types.MergePatchType, patch, o); !apierrors.IsForbidden(err) {
			t.Errorf("patches what is free, dry run %v: %v", o.DryRun, err)
		}
		if _, err := mine.Patch(ctx, "held", types.MergePatchType, patch, o); err != nil {
			t.Errorf("patches what is managed, dry run %v: %v", o.DryRun, err)
		}
	}
	if len(asked) != 2 || asked[0].User.Role != RoleRollback {
		t.Errorf("asked %v", asked)
	}
	apply := []byte(`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"new"},"spec":{"selector":{"matchLabels":{"a":"b"}},` +
		`"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"a","image":"b"}]}}}}`)
	_, applied := mine.Patch(ctx, "new", types.ApplyPatchType, apply, metav1.PatchOptions{FieldManager: "x", Force: new(true)})
	_, scaled := mine.Patch(ctx, "held", types.MergePatchType, []byte(`{"spec":{"replicas":2}}`), metav1.PatchOptions{}, "scale")
	for what, err := range map[string]error{"creates": applied, "scales": scaled, "deletes": mine.Delete(ctx, "held", metav1.DeleteOptions{})} {
		if !apierrors.IsForbidden(err) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := theirs.Delete(ctx, "free", metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
}
