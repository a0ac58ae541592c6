package embedded

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestWaits(t *testing.T) {
	t.Parallel()
	container := func(reason string) *corev1.Pod {
		p := &corev1.Pod{}
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Image: "web:1", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}}}}
		return p
	}
	gated := &corev1.Pod{}
	gated.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "example.com/a"}, {Name: "example.com/b"}}
	gated.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonSchedulingGated}}
	for want, pods := range map[string][]*corev1.Pod{
		"":                              {{}, container("ContainerCreating"), container("PodInitializing")},
		"ImagePullBackOff web:1":        {container("ContainerCreating"), container("ImagePullBackOff")},
		"SchedulingGated example.com/a": {container("ContainerCreating"), gated},
	} {
		if got := waits(pods); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
