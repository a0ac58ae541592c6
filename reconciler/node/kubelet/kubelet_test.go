package kubelet_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/belay-dev/belay/reconciler/node/conformance/program"
	"github.com/belay-dev/belay/state"
)

func TestPodRuns(t *testing.T) {
	bench(t, func(d *desk) {
		d.create(pod("a", "forever"))
		d.expect("a", "Running ready\nc running")
		d.expectStarted("a/c/0")
		d.expectEvents("a", `Pulled Container image "app:1" already present on machine and can be accessed by the pod`,
			"Created Container created", "Started Container started")
		version := d.store.Version()
		d.pass(time.Hour)
		if d.store.Version() != version+2 && d.store.Version() != version { // Events may expire
			t.Errorf("%d writes about a pod that is as it was", d.store.Version()-version)
		}
	})
}

func TestCrashLoop(t *testing.T) {
	bench(t, func(d *desk) {
		uid := d.create(pod("a", "exit", "3"))
		wait := func(wait string) string {
			return fmt.Sprintf("CrashLoopBackOff: back-off %s restarting failed container=c pod=a_default(%s), before Error(3)", wait, uid)
		}
		d.expect("a", "Running\nc "+wait("10s")+", restarts 1") // the first restart comes at once
		d.expectStarted("a/c/0", "a/c/1")
		for i, next := range []time.Duration{10, 20, 40, 80, 160, 300, 300} {
			d.pass(next*time.Second - time.Millisecond)
			d.expectStarted()
			d.pass(time.Millisecond)
			d.expectStarted(fmt.Sprint("a/c/", i+2))
		}
		d.expect("a", "Running\nc "+wait("5m0s")+", restarts 8")
		s := d.get("a").Status.ContainerStatuses[0]
		for _, id := range []string{s.ContainerID, s.LastTerminationState.Terminated.ContainerID} {
			if kind, own, _ := strings.Cut(id, "://"); kind != "fake" || own == "" || strings.Contains(own, "://") {
				t.Errorf("container ID %q", id)
			}
		}
	})
}

func TestCrashIsForgotten(t *testing.T) {
	bench(t, func(d *desk) {
		uid := d.create(pod("a", "forever"))
		d.expectStarted("a/c/0")
		for i := range 3 {
			d.pass(11 * time.Minute)
			d.engine.Kill(uid, "c")
			d.expectStarted(fmt.Sprint("a/c/", i+1)) // at once, each time
		}
		d.expect("a", "Running ready\nc running, before Error(137), restarts 3")
	})
}

func TestRestartPolicies(t *testing.T) {
	bench(t, func(d *desk) {
		for name, c := range map[string]struct {
			policy corev1.RestartPolicy
			exit   string
			want   string
		}{
			"never-0":     {corev1.RestartPolicyNever, "0", "Succeeded\nc Completed(0)"},
			"never-1":     {corev1.RestartPolicyNever, "1", "Failed\nc Error(1)"},
			"onfailure-0": {corev1.RestartPolicyOnFailure, "0", "Succeeded\nc Completed(0)"},
		} {
			p := pod(name, "exit", c.exit)
			p.Spec.RestartPolicy = c.policy
			d.create(p)
			d.expect(name, c.want)
		}
		p := pod("onfailure-1", "exit", "1")
		p.Spec.RestartPolicy = corev1.RestartPolicyOnFailure
		d.create(p)
		if s := d.get("onfailure-1").Status; s.Phase != corev1.PodRunning || s.ContainerStatuses[0].RestartCount != 1 {
			t.Errorf("onfailure-1 is %s with %d restarts", s.Phase, s.ContainerStatuses[0].RestartCount)
		}
	})
}

func TestImagePull(t *testing.T) {
	bench(t, func(d *desk) {
		const ref = "index.docker.io/library/new:1"
		d.engine.Serve(ref, program.Run, false)
		d.engine.Refuse(ref, errors.New("new:1: not found"))
		p := pod("a", "forever")
		p.Spec.Containers[0].Image = "new:1"
		d.create(p)
		d.expect("a", "Pending\nc ErrImagePull: new:1: not found")
		d.pass(time.Second)
		d.expect("a", "Pending\nc ImagePullBackOff: Back-off pulling image \"new:1\": ErrImagePull: new:1: not found")
		d.pass(9 * time.Second)
		d.expect("a", "Pending\nc ErrImagePull: new:1: not found")
		if n := d.engine.Pulls(ref); n != 2 {
			t.Errorf("%d pulls", n)
		}
		d.pass(19 * time.Second)
		if n := d.engine.Pulls(ref); n != 2 {
			t.Errorf("%d pulls before the wait of 20 s was over", n)
		}
		d.engine.Refuse(ref, nil)
		d.pass(time.Second)
		d.expect("a", "Running ready\nc running")
		d.expectEvents("a",
			`Pulling Pulling image "new:1" (3)`,
			`! Failed Failed to pull image "new:1": new:1: not found (2)`,
			`! Failed Error: ErrImagePull (2)`,
			`BackOff Back-off pulling image "new:1" (2)`,
			`! Failed Error: ImagePullBackOff (2)`,
			`Pulled Successfully pulled image "new:1" in 0s (0s including waiting). Image size: 1000 bytes.`,
			"Created Container created", "Started Container started")
	})
}

func TestImageWords(t *testing.T) {
	for name, c := range map[string]struct {
		image  string
		policy corev1.PullPolicy
		want   string
	}{
		"never":   {"other:1", corev1.PullNever, `ErrImageNeverPull: Container image "other:1" is not present with pull policy of Never`},
		"invalid": {"App::1", corev1.PullIfNotPresent, `InvalidImageName: failed to apply default image tag "App::1": couldn't parse image name "App::1": invalid reference format`},
	} {
		t.Run(name, func(t *testing.T) {
			bench(t, func(d *desk) {
				p := pod("a", "forever")
				p.Spec.Containers[0].Image, p.Spec.Containers[0].ImagePullPolicy = c.image, c.policy
				d.create(p)
				d.expect("a", "Pending\nc "+c.want)
			})
		})
	}
}

func TestPullAlways(t *testing.T) {
	bench(t, func(d *desk) {
		p := pod("a", "forever")
		p.Spec.Containers[0].ImagePullPolicy = corev1.PullAlways
		uid := d.create(p)
		d.engine.Kill(uid, "c")
		synctest.Wait()
		if n := d.engine.Pulls("index.docker.io/library/app:1"); n != 2 {
			t.Errorf("%d pulls for two runs", n)
		}
	})
}

func TestInitContainersAndSidecars(t *testing.T) {
	bench(t, func(d *desk) {
		p := pod("a", "forever")
		always := corev1.ContainerRestartPolicyAlways
		side := container("side", "serve", "8080")
		side.RestartPolicy = &always
		side.StartupProbe = &corev1.Probe{PeriodSeconds: 1, FailureThreshold: 3, InitialDelaySeconds: 5,
			ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Port: intstr.FromInt32(8080)}}}
		p.Spec.InitContainers = []corev1.Container{container("one", "exit", "0"), side, container("two", "exit", "0")}
		uid := d.create(p)
		d.expect("a", "Pending\none Completed(0)\nside running\ntwo PodInitializing\nc PodInitializing")
		d.pass(5 * time.Second)
		d.expect("a", "Running ready\none Completed(0)\nside running\ntwo Completed(0)\nc running")
		d.expectStarted("a/one/0", "a/side/0", "a/two/0", "a/c/0")

		// A sidecar comes back, init containers do not.
		d.engine.Kill(uid, "side")
		d.expectStarted("a/side/1")

		// It stops after the others.
		d.delete("a", state.DeleteOptions{})
		if _, ok := state.Get[*corev1.Pod](d.store, "default", "a"); ok {
			t.Error("the pod is there still")
		}
		if got := d.events("a"); got[len(got)-2] != "Killing Stopping container c" || got[len(got)-1] != "Killing Stopping container side" {
			t.Errorf("stopped in the order %q", got[len(got)-2:])
		}
	})
}

func TestInitFails(t *testing.T) {
	bench(t, func(d *desk) {
		p := pod("a", "forever")
		p.Spec.InitContainers = []corev1.Container{container("one", "exit", "1")}
		uid := d.create(p)
		d.expect("a", fmt.Sprintf("Pending\none CrashLoopBackOff: back-off 10s restarting failed container=one pod=a_default(%s), "+
			"before Error(1), restarts 1\nc PodInitializing", uid))
		p = pod("b", "forever")
		p.Spec.RestartPolicy = corev1.RestartPolicyNever
		p.Spec.InitContainers = []corev1.Container{container("one", "exit", "1")}
		d.create(p)
		d.expect("b", "Failed\none Error(1)\nc PodInitializing")
	})
}
