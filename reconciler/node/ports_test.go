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

// Of pods that ask for the same port of the machine one is on the node; the others say why they are not, until it has gone
// or has ended.
func TestAgentPorts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		d.start()
		create := func(name string, ports ...corev1.ContainerPort) {
			t.Helper()
			pod := d.commit(state.Create(&corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "other"}, {Name: "c", Ports: ports}}},
			})).(*corev1.Pod)
			d.uids[pod.UID] = name
		}
		web := corev1.ContainerPort{ContainerPort: 8080, HostPort: 80, Protocol: corev1.ProtocolTCP}
		create("a", web)
		d.expect("sync a on belay")
		create("b", corev1.ContainerPort{ContainerPort: 81, HostPort: 81}, web)
		create("c", web)
		d.expect()
		create("udp", corev1.ContainerPort{ContainerPort: 80, HostPort: 80, Protocol: corev1.ProtocolUDP})
		d.expect("sync udp on belay")
		create("inside", corev1.ContainerPort{ContainerPort: 80})
		d.expect("sync inside on belay")

		b, _ := state.Get[*corev1.Pod](d.store, "default", "b")
		want := []corev1.PodCondition{{
			Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", LastTransitionTime: metav1.Unix(time.Now().Unix(), 0),
			Message: "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports.",
		}}
		if diff := cmp.Diff(want, b.Status.Conditions); diff != "" || b.Status.Phase != corev1.PodPending {
			t.Errorf("b is %s; conditions (-want +got):\n%s", b.Status.Phase, diff)
		}
		told := map[string]int{}
		for _, e := range state.List[*corev1.Event](d.store, "") {
			told[e.InvolvedObject.Name+" "+e.Reason]++
		}
		if told["b FailedScheduling"] != 1 || told["c FailedScheduling"] != 1 || told["b Scheduled"] != 0 {
			t.Errorf("events: %v", told)
		}

		d.delete("a", 0)
		d.expect("remove a", "sync b on belay")
		b, _ = state.Get[*corev1.Pod](d.store, "default", "b")
		ended := b.DeepCopy()
		ended.Status.Phase = corev1.PodSucceeded
		d.report = func(pod *corev1.Pod, _ time.Time) (Report, error) {
			if pod.Name == "b" {
				return Report{Status: ended.Status}, nil
			}
			return Report{Status: up}, nil
		}
		d.commit(state.UpdateStatus(ended))
		c, _ := state.Get[*corev1.Pod](d.store, "default", "c")
		if c.Spec.NodeName != Name {
			t.Error("a pod that has ended keeps its port")
		}
	})
}
