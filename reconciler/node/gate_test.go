package node

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/belay-dev/belay/state"
)

// A pod stays off the node, and says why, until the last of its scheduling gates is gone.
func TestAgentWaitsForGates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		d.report = func(pod *corev1.Pod, _ time.Time) (Report, error) { return Report{Status: pod.Status}, nil }
		d.start()
		seen := corev1.PodCondition{Type: "example.com/Seen", Status: corev1.ConditionTrue}
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a"},
			Spec: corev1.PodSpec{
				Containers:      []corev1.Container{{Name: "c"}},
				SchedulingGates: []corev1.PodSchedulingGate{{Name: "example.com/first"}, {Name: "example.com/second"}},
			},
			Status: corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{seen}},
		}
		d.commit(state.Create(pod), state.UpdateStatus(pod))
		since := metav1.Unix(time.Now().Unix(), 0)
		expect := func(on string, want corev1.PodCondition) {
			t.Helper()
			pod, _ = state.Get[*corev1.Pod](d.store, "default", "a")
			if pod.Spec.NodeName != on || pod.Status.Phase != corev1.PodPending {
				t.Errorf("pod is on %q, %s", pod.Spec.NodeName, pod.Status.Phase)
			}
			want.Type = corev1.PodScheduled
			if diff := cmp.Diff([]corev1.PodCondition{seen, want}, pod.Status.Conditions); diff != "" {
				t.Errorf("conditions (-want +got):\n%s", diff)
			}
		}
		waiting := corev1.PodCondition{
			Status: corev1.ConditionFalse, Reason: "SchedulingGated", Message: "Scheduling is blocked due to non-empty scheduling gates",
			LastTransitionTime: since,
		}
		open := func() {
			t.Helper()
			<-time.After(time.Hour)
			synctest.Wait()
			pod = pod.DeepCopy()
			pod.Spec.SchedulingGates = pod.Spec.SchedulingGates[1:]
			d.commit(state.Update(pod))
		}
		expect("", waiting)
		open()
		expect("", waiting)
		d.expect()
		open()
		expect(Name, corev1.PodCondition{Status: corev1.ConditionTrue, LastTransitionTime: metav1.Unix(time.Now().Unix(), 0)})
		d.expect("sync a on belay")

		var told []string
		for _, e := range state.List[*corev1.Event](d.store, "") {
			told = append(told, e.Reason)
		}
		if diff := cmp.Diff([]string{"Scheduled"}, told); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
	})
}
