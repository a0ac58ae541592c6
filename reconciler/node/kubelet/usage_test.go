package kubelet_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// TestEvicted has a volume that grows beyond its limit: the pod is ended in the kubelet's words, and stays so for a later
// process.
func TestEvicted(t *testing.T) {
	bench(t, func(d *desk) {
		limit := resource.MustParse("1Mi")
		p := pod("web-1", "deaf")
		p.Spec.Volumes = []corev1.Volume{{Name: "cache", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: &limit}}}}
		p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "cache", MountPath: "/cache"}}
		p.Spec.Containers = append(p.Spec.Containers, container("other", "forever"))
		dir := filepath.Join(d.dir, string(d.create(p)), "volumes", "cache")
		write := func(name string, size int) {
			if err := os.WriteFile(filepath.Join(dir, name), make([]byte, size), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write("little", 100_000)
		if err := os.Link(filepath.Join(dir, "little"), filepath.Join(dir, "same")); err != nil {
			t.Fatal(err)
		}
		d.pass(time.Minute)
		d.expect("web-1", "Running ready\nc running\nother running")
		write("much", 2_000_000)
		d.pass(20 * time.Second)
		const message = `Usage of EmptyDir volume "cache" exceeds the limit "1Mi". `
		ended := func() {
			t.Helper()
			d.expect("web-1", "Failed\nc Error(137)\nother Completed(0)")
			if s := d.get("web-1").Status; s.Reason != "Evicted" || s.Message != message {
				t.Errorf("the pod is %s: %q", s.Reason, s.Message)
			}
		}
		ended()
		d.expectEvents("web-1",
			`Pulled Container image "app:1" already present on machine and can be accessed by the pod`, "Created Container created", "Started Container started",
			`Pulled Container image "app:1" already present on machine and can be accessed by the pod`, "Created Container created", "Started Container started",
			"! Evicted "+message, "Killing Stopping container c", "Killing Stopping container other")
		d.stop()
		d.start()
		d.pass(time.Minute)
		ended()
	})
}
