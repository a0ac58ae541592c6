package api

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kubernetes/pkg/apis/apps"

	"github.com/belay-dev/belay/state"
)

// TestConversionsShareNothing writes all over what one side has been given, and expects the other untouched.
func TestConversionsShareNothing(t *testing.T) {
	t.Parallel()
	replicas := int32(3)
	stored := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", ResourceVersion: "7", Labels: map[string]string{"app": "web"}},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
			Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "web:1"}}}},
		},
	}
	before := stored.DeepCopy()
	var d apps.Deployment
	if err := decode(stored, &d); err != nil {
		t.Fatal(err)
	}
	if d.Name != "web" || d.ResourceVersion != "7" || d.Spec.RevisionHistoryLimit == nil {
		t.Errorf("decoded as %v, or without defaults", d.ObjectMeta)
	}
	scribble := func() {
		d.Labels["app"], d.Spec.Selector.MatchLabels["app"] = "other", "other"
		d.Spec.Template.Spec.Containers[0].Image = "other"
	}
	scribble()
	if !equality.Semantic.DeepEqual(stored, before) {
		t.Error("what was read from the store changes with what was made of it")
	}
	o, err := encoder(schema.GroupVersion{Group: "apps", Version: "v1"})(&d)
	if err != nil {
		t.Fatal(err)
	}
	written := o.DeepCopyObject().(state.Object)
	d.Labels["app"] = "another"
	d.Spec.Template.Spec.Containers[0].Image = "another"
	if !equality.Semantic.DeepEqual(o, written) {
		t.Error("what is to be stored changes with what it was made of")
	}
	if kind := o.GetObjectKind().GroupVersionKind(); !kind.Empty() {
		t.Errorf("stored with its type %s", kind)
	}
}
