package rollout

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// template is a pod template with Kubernetes' defaults written out.
func template(app, container, image string) *corev1.PodTemplateSpec {
	grace := int64(30)
	policy := corev1.PullIfNotPresent
	if !strings.Contains(image, ":") {
		policy = corev1.PullAlways
	}
	return &corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": app}},
		Spec: corev1.PodSpec{
			Containers: []corev1.Container{{
				Name: container, Image: image, ImagePullPolicy: policy,
				Ports:                    []corev1.ContainerPort{{ContainerPort: 80, Protocol: corev1.ProtocolTCP}},
				TerminationMessagePath:   corev1.TerminationMessagePathDefault,
				TerminationMessagePolicy: corev1.TerminationMessageReadFile,
			}},
			RestartPolicy:                 corev1.RestartPolicyAlways,
			DNSPolicy:                     corev1.DNSClusterFirst,
			TerminationGracePeriodSeconds: &grace,
			SecurityContext:               &corev1.PodSecurityContext{},
			SchedulerName:                 corev1.DefaultSchedulerName,
		},
	}
}

// The hashes were computed by Kubernetes v1.36.3.
func TestHash(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ app, container, image, none, zero, one string }{
		{"mediawiki", "contenedor-mediawiki", "mediawiki:1.43.5", "5f5fc48c9d", "85b6487cbb", "5877c7df47"},
		{"mediawiki", "contenedor-mediawiki", "mediawiki:1.44.2", "7bf9df798b", "7bcdbb8998", "f9479fbf5"},
		{"mediawiki", "contenedor-mediawiki", "mediawiki:2", "7bbf87c649", "956b89745", "7684f945b8"},
		{"nginx", "nginx", "nginx:1.7.9", "6b799bd7f6", "5b5bf59fcb", "75d79cd84f"},
		{"nginx", "nginx", "nginx:1.9.1", "649ddf478b", "6597fc9c66", "7c64b7d599"},
		{"nginx", "nginx", "nginx:1.91", "5c79fcf79b", "846f75f76", "5fbf9f87b9"},
		{"nginx", "nginx", "nginx", "5cf8dc6bc5", "5565bd5fd7", "7d8ffdbd8b"},
	} {
		t.Run(tt.image, func(t *testing.T) {
			t.Parallel()
			x := template(tt.app, tt.container, tt.image)
			zero, one := int32(0), int32(1)
			for _, c := range []struct {
				count *int32
				want  string
			}{{nil, tt.none}, {&zero, tt.zero}, {&one, tt.one}} {
				if got := Hash(x, c.count); got != c.want {
					t.Errorf("Hash with collision count %v = %s, want %s", c.count, got, c.want)
				}
			}
			x.Labels[hashLabel] = "whatever"
			if got := Hash(x, nil); got != tt.none {
				t.Errorf("Hash with the hash label = %s, want %s", got, tt.none)
			}
			if len(x.Labels) != 2 {
				t.Error("Hash edited its argument")
			}
		})
	}
}

func TestEqualAndDigest(t *testing.T) {
	t.Parallel()
	limits := func(cpu string) func(*corev1.PodTemplateSpec) {
		return func(x *corev1.PodTemplateSpec) {
			x.Spec.Containers[0].Resources.Limits = corev1.ResourceList{"cpu": resource.MustParse(cpu)}
		}
	}
	for _, tt := range []struct {
		name string
		a, b func(*corev1.PodTemplateSpec)
		want bool
	}{
		{"nothing", nil, nil, true},
		{"hash label", func(x *corev1.PodTemplateSpec) { x.Labels[hashLabel] = "a" }, func(x *corev1.PodTemplateSpec) { x.Labels[hashLabel] = "b" }, true},
		{"hash label on one", func(x *corev1.PodTemplateSpec) { x.Labels[hashLabel] = "a" }, nil, true},
		{"only a hash label", func(x *corev1.PodTemplateSpec) { x.Labels = map[string]string{hashLabel: "a"} }, func(x *corev1.PodTemplateSpec) { x.Labels = nil }, true},
		{"label", func(x *corev1.PodTemplateSpec) { x.Labels["x"] = "a" }, nil, false},
		{"annotation", func(x *corev1.PodTemplateSpec) { x.Annotations = map[string]string{"x": "a"} }, nil, false},
		{"empty annotations", func(x *corev1.PodTemplateSpec) { x.Annotations = map[string]string{} }, nil, true},
		{"empty list", func(x *corev1.PodTemplateSpec) { x.Spec.Volumes = []corev1.Volume{} }, nil, true},
		{"image", func(x *corev1.PodTemplateSpec) { x.Spec.Containers[0].Image = "x" }, nil, false},
		{"one container more", func(x *corev1.PodTemplateSpec) { x.Spec.Containers = append(x.Spec.Containers, corev1.Container{}) }, nil, false},
		{"grace period", func(x *corev1.PodTemplateSpec) { *x.Spec.TerminationGracePeriodSeconds = 31 }, nil, false},
		{"1000m and 1", limits("1000m"), limits("1"), true},
		{"1Ki and 1024", limits("1Ki"), limits("1024"), true},
		{"1Gi and 1073741824", limits("1Gi"), limits("1073741824"), true},
		{"1 and 2", limits("1"), limits("2"), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a, b := template("web", "web", "web:1"), template("web", "web", "web:1")
			if tt.a != nil {
				tt.a(a)
			}
			if tt.b != nil {
				tt.b(b)
			}
			if got := Equal(a, b); got != tt.want {
				t.Errorf("Equal = %v, want %v", got, tt.want)
			}
			if got := Digest(a) == Digest(b); got != tt.want {
				t.Errorf("Digests equal: %v, want %v", got, tt.want)
			}
		})
	}
}

func TestReplicaSetName(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 253)
	for _, tt := range []struct{ deployment, want string }{
		{"web", "web-5f5fc48c9d"},
		{long, long[:242] + "-5f5fc48c9d"},
	} {
		if got := replicaSetName(tt.deployment, "5f5fc48c9d"); got != tt.want {
			t.Errorf("replicaSetName(%s) = %s, want %s", tt.deployment, got, tt.want)
		}
	}
}
