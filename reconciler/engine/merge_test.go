package engine

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// TestEqual: objects that are written differently and mean the same are equal, too.
func TestEqual(t *testing.T) {
	t.Parallel()
	deployment := func(image, cpu string, annotations map[string]string) *appsv1.Deployment {
		d := &appsv1.Deployment{}
		d.Annotations = annotations
		d.Spec.Template.Spec.Containers = []corev1.Container{{Name: "web", Image: image, Resources: corev1.ResourceRequirements{
			Limits: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)},
		}}}
		return d
	}
	first := deployment("web:1", "1", nil)
	for name, tt := range map[string]struct {
		other *appsv1.Deployment
		want  bool
	}{
		"the same":          {deployment("web:1", "1", nil), true},
		"another quantity":  {deployment("web:1", "2", nil), false},
		"the same quantity": {deployment("web:1", "1000m", nil), true},
		"empty":             {deployment("web:1", "1", map[string]string{}), true},
		"another image":     {deployment("web:2", "1", nil), false},
	} {
		if got := Equal(first, tt.other); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if Equal(first, &corev1.ConfigMap{}) {
		t.Error("a Deployment and a ConfigMap are equal")
	}
}
