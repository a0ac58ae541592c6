package app

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/belay-dev/belay/reconciler/engine"
	"github.com/belay-dev/belay/reconciler/rollback"
	"github.com/belay-dev/belay/reconciler/rollout"
	"github.com/belay-dev/belay/state"
)

const revisionNote = "deployment.kubernetes.io/revision"

func running(image string) *appsv1.Deployment {
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{
			Name: "web", Namespace: "shop", UID: "u", ResourceVersion: "7", Generation: 3, Labels: map[string]string{"team": "x"},
			Annotations: map[string]string{revisionNote: "3", engine.ChangeCause: "Run " + image, engine.AnnotationCommit: "abc"},
		},
		Spec: appsv1.DeploymentSpec{Replicas: new(int32(3)), Template: template(image)},
	}
}

func template(image string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: image}}},
	}
}

func digest(image string) string {
	t := template(image)
	return rollout.Digest(&t)
}

// TestIntent: what a write means is told by what it changes.
func TestIntent(t *testing.T) {
	t.Parallel()
	rows := []state.Row{
		{ID: "other", UID: "gone", Template: digest("web:4"), Revision: 4},
		{ID: "never", UID: "", Template: digest("web:5"), Commit: "c5"},
		{ID: "one", UID: "u", Template: digest("web:1"), Revision: 1},
		{ID: "two", UID: "u", Template: digest("web:2"), Revision: 2},
		{ID: "again", UID: "u", Template: digest("web:1"), Revision: 3},
		{ID: "three", UID: "u", Template: digest("web:3"), Revision: 5},
	}
	hashed := template("web:2")
	hashed.Labels["pod-template-hash"] = "h"
	sets := []*appsv1.ReplicaSet{{
		ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{
			revisionNote: "2", "deployment.kubernetes.io/desired-replicas": "3", engine.ChangeCause: "Run web:2", "note": "old",
		}},
		Spec: appsv1.ReplicaSetSpec{Template: hashed},
	}}
	refused := intent{kind: intentRefused}
	for name, c := range map[string]struct {
		edit func(*appsv1.Deployment)
		want intent
	}{
		"nothing": {func(*appsv1.Deployment) {}, intent{kind: intentNothing}},
		"what the server and controllers write": {func(d *appsv1.Deployment) {
			d.ResourceVersion, d.Generation, d.Status.Replicas = "9", 4, 2
			d.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "x"}}
		}, intent{kind: intentNothing}},
		"undo, with the annotations of the ReplicaSet": {func(d *appsv1.Deployment) {
			d.Spec.Template = template("web:2")
			d.Annotations = map[string]string{revisionNote: "3", engine.ChangeCause: "Run web:2", "note": "old"}
		}, intent{kind: intentUndo, row: "two", revision: 2}},
		"only the template, of which the newest row counts": {func(d *appsv1.Deployment) { d.Spec.Template = template("web:1") },
			intent{kind: intentUndo, row: "again", revision: 3}},
		"a template that never ran": {func(d *appsv1.Deployment) { d.Spec.Template = template("web:5") },
			intent{kind: intentUndo, row: "never", commit: "c5"}},
		"a template of another Deployment of the name": {func(d *appsv1.Deployment) { d.Spec.Template = template("web:4") }, intent{kind: intentEdit}},
		"undo, with an annotation of somebody's own": {func(d *appsv1.Deployment) {
			d.Spec.Template = template("web:2")
			d.Annotations = map[string]string{revisionNote: "3", engine.ChangeCause: "Run web:2", "note": "mine"}
		}, refused},
		"undo, with another number of replicas": {func(d *appsv1.Deployment) {
			d.Spec.Template, d.Spec.Replicas = template("web:2"), new(int32(1))
		}, refused},
		"undo, with another label": {func(d *appsv1.Deployment) { d.Spec.Template, d.Labels = template("web:2"), nil }, refused},
		"a new image":              {func(d *appsv1.Deployment) { d.Spec.Template = template("web:9") }, intent{kind: intentEdit}},
		"restart": {func(d *appsv1.Deployment) {
			d.Spec.Template.Annotations = map[string]string{rollback.Restarted: "2026-11-21T02:14:00Z"}
		}, intent{kind: intentOverride, field: rollback.FieldRestartedAt, value: "2026-11-21T02:14:00Z"}},
		"restart, with another image": {func(d *appsv1.Deployment) {
			d.Spec.Template = template("web:9")
			d.Spec.Template.Annotations = map[string]string{rollback.Restarted: "2026-11-21T02:14:00Z"}
		}, refused},
		"restart, with another annotation": {func(d *appsv1.Deployment) {
			d.Spec.Template.Annotations = map[string]string{rollback.Restarted: "2026-11-21T02:14:00Z", "a": "b"}
		}, refused},
		"scale": {func(d *appsv1.Deployment) { d.Spec.Replicas = new(int32(0)) }, intent{kind: intentOverride, field: rollback.FieldReplicas, value: "0"}},
		"pause": {func(d *appsv1.Deployment) { d.Spec.Paused = true }, intent{kind: intentOverride, field: rollback.FieldPaused, value: "true"}},
		"both":  {func(d *appsv1.Deployment) { d.Spec.Replicas, d.Spec.Paused = new(int32(0)), true }, refused},
		"scale and annotate": {func(d *appsv1.Deployment) {
			d.Spec.Replicas, d.Annotations[engine.ChangeCause] = new(int32(0)), "x"
		}, refused},
		"strategy": {func(d *appsv1.Deployment) { d.Spec.MinReadySeconds = 5 }, refused},
		"change-cause": {func(d *appsv1.Deployment) { d.Annotations[engine.ChangeCause] = "because" },
			intent{kind: intentAnnotate, notes: map[string]string{engine.ChangeCause: "because"}}},
		"no change-cause": {func(d *appsv1.Deployment) { delete(d.Annotations, engine.ChangeCause) },
			intent{kind: intentAnnotate, notes: map[string]string{engine.ChangeCause: ""}}},
		"what kubectl apply remembers": {func(d *appsv1.Deployment) { d.Annotations[lastApplied] = "{}" },
			intent{kind: intentAnnotate, notes: map[string]string{lastApplied: "{}"}}},
		"an annotation of somebody's own": {func(d *appsv1.Deployment) { d.Annotations["a"] = "b" }, refused},
		"one that only Belay writes":      {func(d *appsv1.Deployment) { d.Annotations[engine.AnnotationCommit] = "fake" }, refused},
		"a finalizer":                     {func(d *appsv1.Deployment) { d.Finalizers = []string{"x/y"} }, refused},
		"an owner":                        {func(d *appsv1.Deployment) { d.OwnerReferences = []metav1.OwnerReference{{Name: "x"}} }, refused},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before := running("web:3")
			after := before.DeepCopy()
			c.edit(after)
			kept, wanted := before.DeepCopy(), after.DeepCopy()
			got := intentOf(before, after, rows, sets)
			if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(intent{})); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if diff := cmp.Diff(kept, before) + cmp.Diff(wanted, after); diff != "" {
				t.Errorf("the inputs were edited:\n%s", diff)
			}
		})
	}
}

// TestUndoOfRestart: without its restartedAt the template is the one before.
func TestUndoOfRestart(t *testing.T) {
	t.Parallel()
	before, after := running("web:1"), running("web:1")
	before.Spec.Template.Annotations = map[string]string{rollback.Restarted: "2026-11-21T02:14:00Z"}
	rows := []state.Row{{ID: "one", UID: "u", Template: digest("web:1"), Revision: 1}}
	if got := intentOf(before, after, rows, nil); got.kind != intentUndo || got.row != "one" {
		t.Errorf("got %+v", got)
	}
	if got := intentOf(before, after, nil, nil); got.kind != intentRefused {
		t.Errorf("not recorded: %+v", got)
	}
}
