package kubelet_test

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// TestFailedPostStart ends a container whose postStart hook fails as one that is to stop, and starts it again ever later.
func TestFailedPostStart(t *testing.T) {
	bench(t, func(d *desk) {
		p := pod("a", "forever")
		p.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{
			PostStart: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"/program", "exit", "3"}}},
			PreStop:   &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 1}},
		}
		uid := d.create(p)
		d.expectEvents("a", `Pulled Container image "app:1" already present on machine and can be accessed by the pod`,
			"Created Container created", "Started Container started", "! FailedPostStartHook PostStartHook failed", "Killing FailedPostStartHook")
		d.expectStarted("a/c/0")
		d.pass(2 * time.Second) // for the preStop hooks of two runs
		d.expectStarted("a/c/1")
		d.expect("a", fmt.Sprintf("Running\nc CrashLoopBackOff: back-off 10s restarting failed container=c pod=a_default(%s), before Completed(0), restarts 1", uid))
		d.pass(10 * time.Second)
		d.expectStarted("a/c/2")
	})
}
