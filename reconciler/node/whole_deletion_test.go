package node_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/belay-dev/belay/reconciler/node/simulated"
	"github.com/belay-dev/belay/state"
)

// shows compares Deployments, ReplicaSets and pods: ReplicaSets by image, with desired/all/available and their owner,
// pods by image and owner. A cross is on what is being deleted.
func (c *cluster) shows(want ...string) {
	c.t.Helper()
	synctest.Wait()
	cross := func(o state.Object) string {
		if o.GetDeletionTimestamp() != nil {
			return "†"
		}
		return ""
	}
	got := []string{}
	for _, d := range state.List[*appsv1.Deployment](c.store, "") {
		got = append(got, fmt.Sprintf("%s%s %d available, revision %s", d.Name, cross(d), d.Status.AvailableReplicas,
			d.Annotations["deployment.kubernetes.io/revision"]))
	}
	var sets []string
	for _, rs := range state.List[*appsv1.ReplicaSet](c.store, "") {
		sets = append(sets, fmt.Sprintf("  %s%s %d/%d/%d%s", rs.Spec.Template.Spec.Containers[0].Image, cross(rs),
			*rs.Spec.Replicas, rs.Status.Replicas, rs.Status.AvailableReplicas, controllerOf(rs)))
	}
	slices.Sort(sets)
	pods := map[string]int{}
	for _, pod := range state.List[*corev1.Pod](c.store, "") {
		owner := ""
		if controllerOf(pod) == "" {
			owner = " alone"
		}
		pods[fmt.Sprintf("    %s%s%s", pod.Spec.Containers[0].Image, cross(pod), owner)]++
	}
	var counts []string
	for pod, n := range pods {
		counts = append(counts, fmt.Sprintf("%s ×%d", pod, n))
	}
	slices.Sort(counts)
	got = append(append(got, sets...), counts...)
	if diff := cmp.Diff(append([]string{}, want...), got); diff != "" {
		c.t.Errorf("(-want +got):\n%s", diff)
	}
}

func controllerOf(o state.Object) string {
	if ref := metav1.GetControllerOf(o); ref != nil {
		return " of " + ref.Name
	}
	return ""
}

// deleteWith deletes an object in the way that a finalizer stands for, as the API server does; "" is in the background.
func (c *cluster) deleteWith(o state.Object, finalizer string) {
	c.t.Helper()
	o = o.DeepCopyObject().(state.Object)
	var writes []state.Write
	if finalizer != "" {
		o.SetFinalizers(append(o.GetFinalizers(), finalizer))
		writes = append(writes, state.Update(o))
	}
	c.commit(append(writes, state.Delete(state.KeyOf(o), state.DeleteOptions{UID: o.GetUID()}))...)
}

// replicaSet is the ReplicaSet of an image.
func (c *cluster) replicaSet(image string) *appsv1.ReplicaSet {
	c.t.Helper()
	for _, rs := range state.List[*appsv1.ReplicaSet](c.store, "") {
		if rs.Spec.Template.Spec.Containers[0].Image == image {
			return rs
		}
	}
	c.t.Fatalf("no ReplicaSet has image %s", image)
	return nil
}

// halfway is a cluster in the middle of a rollout that cannot go on: 3 of web:1, 1 of web:bad.
func halfway(t *testing.T) *cluster {
	t.Helper()
	c := newCluster(t)
	c.start(simulated.Options{Delay: 100 * time.Millisecond, Stop: 3 * time.Second,
		Images: map[string]simulated.Behaviour{"web:bad": simulated.Missing}})
	c.commit(state.Create(deployment(3, "web:1")))
	c.pass(time.Second)
	c.setImage("web:bad")
	c.pass(time.Second)
	c.shows("web 3 available, revision 2", "  web:1 3/3/3 of web", "  web:bad 1/1/0 of web", "    web:1 ×3", "    web:bad ×1")
	return c
}

// TestWholeBackground: the Deployment goes at once, its ReplicaSets after it, and nobody replaces the pods that stop.
func TestWholeBackground(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := halfway(t)
		c.deleteWith(c.web(), "")
		c.shows("    web:1† ×3", "    web:bad† ×1")
		c.pass(3 * time.Second)
		c.shows()
		c.stop()
	})
}

// TestWholeForeground: each waits for what it owns. Meanwhile the controllers only count.
func TestWholeForeground(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := halfway(t)
		c.deleteWith(c.web(), metav1.FinalizerDeleteDependents)
		c.shows("web† 0 available, revision 2", "  web:1† 3/0/0 of web", "  web:bad† 1/0/0 of web", "    web:1† ×3", "    web:bad† ×1")

		// What is written now has no effect: no new ReplicaSet, no other size.
		d := c.web()
		d.Spec.Template.Spec.Containers[0].Image = "web:2"
		d.Spec.Replicas = new(int32(5))
		c.commit(state.Update(d))
		c.pass(time.Second)
		c.shows("web† 0 available, revision 2", "  web:1† 3/0/0 of web", "  web:bad† 1/0/0 of web", "    web:1† ×3", "    web:bad† ×1")
		if d := c.web(); d.Status.ObservedGeneration != d.Generation {
			t.Errorf("generation %d, observed %d", d.Generation, d.Status.ObservedGeneration)
		}
		c.pass(2 * time.Second)
		c.shows()
		c.stop()
	})
}

// TestWholeOrphan: the ReplicaSets stay and work on; a Deployment that selects them takes them over.
func TestWholeOrphan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := halfway(t)
		c.deleteWith(c.web(), metav1.FinalizerOrphanDependents)
		c.pass(5 * time.Second)
		c.shows("  web:1 3/3/3", "  web:bad 1/1/0", "    web:1 ×3", "    web:bad ×1")

		// A pod that goes is replaced by the ReplicaSet.
		for _, pod := range state.List[*corev1.Pod](c.store, "") {
			if pod.Spec.Containers[0].Image == "web:1" {
				c.commit(state.Delete(state.KeyOf(pod), state.DeleteOptions{}))
				break
			}
		}
		c.shows("  web:1 3/3/2", "  web:bad 1/1/0", "    web:1 ×3", "    web:1† ×1", "    web:bad ×1")
		c.pass(5 * time.Second)

		// The same Deployment again: it goes back to its first version, whose ReplicaSet is there under its old name.
		name := c.replicaSet("web:1").Name
		c.commit(state.Create(deployment(3, "web:1")))
		c.pass(5 * time.Second)
		c.shows("web 3 available, revision 3", "  web:1 3/3/3 of web", "  web:bad 0/0/0 of web", "    web:1 ×3")
		if now := c.replicaSet("web:1").Name; now != name {
			t.Errorf("ReplicaSet %s, was %s", now, name)
		}

		// Orphaned once more, with the pods let go too.
		c.deleteWith(c.web(), metav1.FinalizerOrphanDependents)
		c.shows("  web:1 3/3/3", "  web:bad 0/0/0", "    web:1 ×3")
		c.deleteWith(c.replicaSet("web:1"), metav1.FinalizerOrphanDependents)
		c.shows("  web:bad 0/0/0", "    web:1 alone ×3")

		// Another Deployment of those labels adopts the ReplicaSet; the pods carry the hash of the one that is gone, and
		// are adopted by the one that comes again.
		c.commit(state.Create(deployment(3, "web:1")))
		c.pass(5 * time.Second)
		c.shows("web 3 available, revision 3", "  web:1 3/3/3 of web", "  web:bad 0/0/0 of web", "    web:1 ×3")
		c.stop()
	})
}

// TestWholeReplicaSetGone: a ReplicaSet deleted by hand comes again under its name, with pods of its own.
func TestWholeReplicaSetGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := halfway(t)
		c.setImage("web:1")
		c.pass(5 * time.Second)
		c.shows("web 3 available, revision 3", "  web:1 3/3/3 of web", "  web:bad 0/0/0 of web", "    web:1 ×3")
		name := c.replicaSet("web:1").Name
		c.deleteWith(c.replicaSet("web:1"), "")
		c.shows("web 0 available, revision 3", "  web:1 3/3/0 of web", "  web:bad 0/0/0 of web", "    web:1 ×3", "    web:1† ×3")
		c.pass(5 * time.Second)
		c.shows("web 3 available, revision 3", "  web:1 3/3/3 of web", "  web:bad 0/0/0 of web", "    web:1 ×3")
		if now := c.replicaSet("web:1").Name; now != name {
			t.Errorf("ReplicaSet %s, was %s", now, name)
		}
		c.stop()
	})
}
