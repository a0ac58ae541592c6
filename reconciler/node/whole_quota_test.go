package node_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/belay-dev/belay/reconciler/node/simulated"
	"github.com/belay-dev/belay/state"
)

// names makes generated names equal.
func (c *cluster) names(text string) string {
	for _, rs := range state.List[*appsv1.ReplicaSet](c.store, "") {
		for i := strings.Index(text, rs.Name+"-"); i >= 0; i = strings.Index(text, rs.Name+"-") {
			text = text[:i] + "POD" + text[min(len(text), i+len(rs.Name)+6):]
		}
		text = strings.ReplaceAll(text, rs.Name, "RS("+rs.Spec.Template.Spec.Containers[0].Image+")")
	}
	return text
}

// conditions compares what the Deployment's status says.
func (c *cluster) conditions(want ...string) {
	c.t.Helper()
	synctest.Wait()
	d := c.web()
	s := d.Status
	got := []string{fmt.Sprintf("%d total, %d updated, %d available, %d unavailable", s.Replicas, s.UpdatedReplicas,
		s.AvailableReplicas, s.UnavailableReplicas)}
	for _, condition := range s.Conditions {
		got = append(got, c.names(fmt.Sprintf("%s %s %s: %s", condition.Type, condition.Status, condition.Reason, condition.Message)))
	}
	slices.Sort(got[1:])
	if diff := cmp.Diff(want, got); diff != "" {
		c.t.Errorf("after %v (-want +got):\n%s", time.Since(d.CreationTimestamp.Time).Round(time.Second), diff)
	}
}

// events returns the Events about a kind, in the order in which they began, with their counts.
func (c *cluster) events(kind state.Kind, reason string) []string {
	events := state.List[*corev1.Event](c.store, "")
	slices.SortStableFunc(events, func(a, b *corev1.Event) int { return strings.Compare(a.Name, b.Name) })
	var lines []string
	for _, e := range events {
		if e.InvolvedObject.Kind == string(kind) && e.Reason == reason {
			lines = append(lines, c.names(fmt.Sprintf("%s x%d %s", e.Type, e.Count, e.Message)))
		}
	}
	return lines
}

func quota(pods string) *corev1.ResourceQuota {
	return &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "pods"},
		Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{corev1.ResourcePods: resource.MustParse(pods)}},
	}
}

// TestWholeQuota: two pods are allowed, three are asked for. The rollout fails by its deadline and recovers when the
// quota is raised.
func TestWholeQuota(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		c.start(simulated.Options{Delay: 100 * time.Millisecond, Stop: time.Second})
		c.commit(state.Create(quota("2")))
		d := deployment(3, "web:1")
		d.Spec.ProgressDeadlineSeconds = new(int32(60))
		c.commit(state.Create(d))
		c.pass(time.Second)
		const refused = `pods "POD" is forbidden: exceeded quota: pods, requested: pods=1, used: pods=2, limited: pods=2`
		c.conditions("2 total, 2 updated, 2 available, 1 unavailable",
			"Available False MinimumReplicasUnavailable: Deployment does not have minimum availability.",
			`Progressing True ReplicaSetUpdated: ReplicaSet "RS(web:1)" is progressing.`,
			"ReplicaFailure True FailedCreate: "+refused)

		c.pass(61 * time.Second)
		c.conditions("2 total, 2 updated, 2 available, 1 unavailable",
			"Available False MinimumReplicasUnavailable: Deployment does not have minimum availability.",
			`Progressing False ProgressDeadlineExceeded: ReplicaSet "RS(web:1)" has timed out progressing.`,
			"ReplicaFailure True FailedCreate: "+refused)

		// Each refusal names another pod, so that they are distinct: nine, and the rest combined.
		failed := c.events(state.KindReplicaSet, "FailedCreate")
		if len(failed) != 10 {
			t.Fatalf("%d Events, want 10:\n%s", len(failed), strings.Join(failed, "\n"))
		}
		for _, e := range failed[:9] {
			if want := "Warning x1 Error creating: " + refused; e != want {
				t.Errorf("got  %s\nwant %s", e, want)
			}
		}
		if !strings.HasSuffix(failed[9], "(combined from similar events): Error creating: "+refused) {
			t.Errorf("the last is %s", failed[9])
		}

		// The tries go on at growing intervals; one comes within the longest.
		q, _ := state.Get[*corev1.ResourceQuota](c.store, "default", "pods")
		q = q.DeepCopy()
		q.Spec.Hard[corev1.ResourcePods] = resource.MustParse("4")
		c.commit(state.Update(q))
		c.pass(1000 * time.Second)
		c.conditions("3 total, 3 updated, 3 available, 0 unavailable",
			"Available True MinimumReplicasAvailable: Deployment has minimum availability.",
			`Progressing True NewReplicaSetAvailable: ReplicaSet "RS(web:1)" has successfully progressed.`)

		// A rolling update needs one more than three. With four allowed it goes through, one at a time: a pod that stops
		// counts until it is gone.
		c.setImage("web:2")
		c.pass(1000 * time.Second)
		c.expect("revision 2, 3/3 updated, 3 available, NewReplicaSetAvailable\nweb:2: Ready Ready Ready")
		c.stop()
	})
}

// TestWholeScalingEvents is what people see of a long rollout: nine Events about sizes, and one for the others.
func TestWholeScalingEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		c.start(simulated.Options{Delay: 100 * time.Millisecond, Stop: time.Second})
		d := deployment(8, "web:1")
		d.Spec.Strategy.RollingUpdate = &appsv1.RollingUpdateDeployment{MaxSurge: new(intstr.FromInt32(1)), MaxUnavailable: new(intstr.FromInt32(0))}
		c.commit(state.Create(d))
		c.pass(time.Second)
		c.setImage("web:2")
		c.pass(time.Minute)
		c.expect("revision 2, 8/8 updated, 8 available, NewReplicaSetAvailable\nweb:2: " + strings.TrimSpace(strings.Repeat("Ready ", 8)))
		want := []string{
			"Normal x1 Scaled up replica set RS(web:1) from 0 to 8",
			"Normal x1 Scaled up replica set RS(web:2) from 0 to 1",
			"Normal x1 Scaled down replica set RS(web:1) from 8 to 7",
			"Normal x1 Scaled up replica set RS(web:2) from 1 to 2",
			"Normal x1 Scaled down replica set RS(web:1) from 7 to 6",
			"Normal x1 Scaled up replica set RS(web:2) from 2 to 3",
			"Normal x1 Scaled down replica set RS(web:1) from 6 to 5",
			"Normal x1 Scaled up replica set RS(web:2) from 3 to 4",
			"Normal x1 Scaled down replica set RS(web:1) from 5 to 4",
			"Normal x8 (combined from similar events): Scaled down replica set RS(web:1) from 1 to 0",
		}
		if diff := cmp.Diff(want, c.events(state.KindDeployment, "ScalingReplicaSet")); diff != "" {
			t.Errorf("Events (-want +got):\n%s", diff)
		}

		// The same sizes again, ten minutes later: what was distinct then is counted, the others start anew.
		c.pass(11 * time.Minute)
		d = c.web()
		d.Spec.Replicas = new(int32(4))
		c.commit(state.Update(d))
		c.pass(time.Minute)
		want = append(want, "Normal x1 Scaled down replica set RS(web:2) from 8 to 4")
		if diff := cmp.Diff(want, c.events(state.KindDeployment, "ScalingReplicaSet")); diff != "" {
			t.Errorf("Events later (-want +got):\n%s", diff)
		}
		c.stop()
	})
}
