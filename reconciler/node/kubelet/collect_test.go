package kubelet_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/belay-dev/belay/reconciler/node/conformance/program"
	"github.com/belay-dev/belay/state"
)

// runs has a pod run an image until it is deleted again.
func (d *desk) runs(name, image string) {
	d.t.Helper()
	p := pod(name, "forever")
	p.Spec.Containers[0].Image = image
	d.create(p)
	d.expect(name, "Running ready\nc running")
	d.delete(name, state.DeleteOptions{})
}

// expectImages says which images of the registry are present.
func (d *desk) expectImages(want map[string]bool) {
	d.t.Helper()
	synctest.Wait()
	for name, there := range want {
		if _, ok, err := d.engine.Runtime().Image(d.t.Context(), "index.docker.io/library/"+name); ok != there || err != nil {
			d.t.Errorf("%s is present: %v, %v", name, ok, err)
		}
	}
}

func TestImagesAreCollected(t *testing.T) {
	bench(t, func(d *desk) {
		for _, name := range []string{"kept:1", "idle:1", "used:1"} {
			d.engine.Serve("index.docker.io/library/"+name, program.Run, false)
		}
		d.keep = []string{"kept:1"}
		d.runs("a", "kept:1")
		d.runs("b", "idle:1")
		p := pod("c", "forever")
		p.Spec.Containers[0].Image = "used:1"
		d.create(p)
		d.runs("d", "app:1") // it was there before, and is not ours
		d.pass(23 * time.Hour)
		d.expectImages(map[string]bool{"kept:1": true, "idle:1": true, "used:1": true, "app:1": true})

		// What was pulled is known after a restart.
		d.stop()
		d.start()
		d.pass(2 * time.Hour)
		d.expectImages(map[string]bool{"kept:1": true, "idle:1": false, "used:1": true, "app:1": true})

		// A full disk waits for nothing, but for what is kept or in use.
		d.runs("b", "idle:1")
		d.delete("c", state.DeleteOptions{})
		d.engine.Fill(0.9)
		d.pass(20 * time.Minute)
		d.expectImages(map[string]bool{"kept:1": true, "idle:1": false, "used:1": false, "app:1": true})
	})
}

// TestRunsWhatRan has a name stand for another image by now: a revision that ran before runs what it ran, as long as that
// is there.
func TestRunsWhatRan(t *testing.T) {
	const ref = "index.docker.io/library/web:1"
	for name, policy := range map[string]corev1.PullPolicy{"always": corev1.PullAlways, "if not present": corev1.PullIfNotPresent} {
		t.Run(name, func(t *testing.T) {
			bench(t, func(d *desk) {
				web := func(name string) string {
					p := pod(name, "forever")
					p.Spec.Containers[0].Image, p.Spec.Containers[0].ImagePullPolicy = "web:1", policy
					d.create(p)
					d.expect(name, "Running ready\nc running")
					return d.get(name).Status.ContainerStatuses[0].ImageID
				}
				d.engine.Serve(ref, program.Run, false)
				first := web("first")
				d.engine.Serve(ref, program.Run, false)
				second := web("second")
				if second == first {
					t.Fatal("the name stands for what it stood for")
				}
				d.ran = map[string]string{"web:1": first}
				if got := web("again"); got != first {
					t.Errorf("%s runs, not %s", got, first)
				}
				d.ran = map[string]string{"web:1": "web:1@sha256:gone"}
				if got := web("gone"); got != second {
					t.Errorf("%s runs, not %s", got, second)
				}
			})
		})
	}
}

func TestRegistryDown(t *testing.T) {
	bench(t, func(d *desk) {
		d.engine.Refuse("index.docker.io/library/app:1", down)
		p := pod("a", "forever")
		p.Spec.Containers[0].ImagePullPolicy = corev1.PullAlways
		d.create(p)
		d.expect("a", "Running ready\nc running")
		d.expectEvents("a", `Pulling Pulling image "app:1"`, fmt.Sprintf(`! Failed Failed to pull image "app:1": %v`, down),
			`Pulled Container image "app:1" already present on machine and can be accessed by the pod`,
			"Created Container created", "Started Container started")
	})
}
