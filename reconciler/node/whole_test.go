package node_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/belay-dev/belay/reconciler/controller"
	"github.com/belay-dev/belay/reconciler/event"
	"github.com/belay-dev/belay/reconciler/garbage"
	"github.com/belay-dev/belay/reconciler/node"
	"github.com/belay-dev/belay/reconciler/node/simulated"
	"github.com/belay-dev/belay/reconciler/replicaset"
	"github.com/belay-dev/belay/reconciler/rollout"
	"github.com/belay-dev/belay/state"
)

// cluster is every controller of this module at work over one store: all but Git.
type cluster struct {
	t     *testing.T
	store *state.Store
	stop  func()
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	store, err := state.OpenMemory(state.Options{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	return &cluster{t: t, store: store}
}

func (c *cluster) start(options simulated.Options) {
	c.t.Helper()
	log := zerolog.New(zerolog.NewTestWriter(c.t)).Level(zerolog.WarnLevel)
	configs := []controller.Config{
		rollout.New(c.store, event.NewRecorder(c.store, "deployment-controller", time.Now), log, time.Now),
		replicaset.New(c.store, event.NewRecorder(c.store, "replicaset-controller", time.Now), log, time.Now),
		garbage.New(c.store, log, time.Now),
		node.New(c.store, simulated.New(options), log, time.Now),
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for _, config := range configs {
		running.Go(func() {
			if err := controller.Run(ctx, c.store, config); err != nil {
				c.t.Error(err)
			}
		})
	}
	c.stop = func() {
		cancel()
		running.Wait()
	}
}

// pass lets time pass.
func (c *cluster) pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func (c *cluster) commit(writes ...state.Write) {
	c.t.Helper()
	if _, err := c.store.Commit(writes...); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) web() *appsv1.Deployment {
	c.t.Helper()
	d, ok := state.Get[*appsv1.Deployment](c.store, "default", "web")
	if !ok {
		c.t.Fatal("web is gone")
	}
	return d.DeepCopy()
}

func (c *cluster) setImage(image string) {
	c.t.Helper()
	d := c.web()
	d.Spec.Template.Spec.Containers[0].Image = image
	c.commit(state.Update(d))
}

// expect compares the Deployment, its pods by image, and the number of ReplicaSets.
func (c *cluster) expect(want string) {
	c.t.Helper()
	synctest.Wait()
	d := c.web()
	images := map[string][]string{}
	for _, pod := range state.List[*corev1.Pod](c.store, "") {
		status := string(pod.Status.Phase)
		if len(pod.Status.ContainerStatuses) > 0 {
			switch s := pod.Status.ContainerStatuses[0]; {
			case s.State.Waiting != nil:
				status = s.State.Waiting.Reason
			case s.Ready:
				status = "Ready"
			}
		}
		image := pod.Spec.Containers[0].Image
		images[image] = append(images[image], status)
	}
	var lines []string
	for image, statuses := range images {
		slices.Sort(statuses)
		lines = append(lines, image+": "+strings.Join(statuses, " "))
	}
	slices.Sort(lines)
	reason := ""
	for _, condition := range d.Status.Conditions {
		if condition.Type == appsv1.DeploymentProgressing {
			reason = condition.Reason
		}
	}
	lines = slices.Insert(lines, 0, fmt.Sprintf("revision %s, %d/%d updated, %d available, %s",
		d.Annotations["deployment.kubernetes.io/revision"], d.Status.UpdatedReplicas, *d.Spec.Replicas, d.Status.AvailableReplicas, reason))
	if diff := cmp.Diff(strings.Split(strings.TrimSpace(want), "\n"), lines); diff != "" {
		c.t.Errorf("after %v (-want +got):\n%s", time.Since(d.CreationTimestamp.Time).Round(time.Second), diff)
	}
}

func deployment(replicas int32, image string) *appsv1.Deployment {
	labels := map[string]string{"app": "web"}
	quarter := intstr.FromString("25%")
	history, deadline, grace := int32(10), int32(600), int64(30)
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, RevisionHistoryLimit: &history, ProgressDeadlineSeconds: &deadline,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Strategy: appsv1.DeploymentStrategy{
				Type:          appsv1.RollingUpdateDeploymentStrategyType,
				RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &quarter, MaxUnavailable: &quarter},
			},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{
					RestartPolicy: corev1.RestartPolicyAlways, TerminationGracePeriodSeconds: &grace,
					Containers: []corev1.Container{{Name: "web", Image: image, ImagePullPolicy: corev1.PullIfNotPresent}},
				},
			},
		},
	}
}

// TestWhole is the story of a rollout, a bad image, a rollback, a restart of Belay in between, and the end.
func TestWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		options := simulated.Options{
			Delay: 200 * time.Millisecond, Stop: 3 * time.Second,
			Images: map[string]simulated.Behaviour{"web:3": simulated.Missing, "web:4": simulated.Crash},
		}
		c.start(options)
		c.commit(state.Create(deployment(3, "web:1")))
		c.expect("revision 1, 3/3 updated, 0 available, ReplicaSetUpdated\nweb:1: ContainerCreating ContainerCreating ContainerCreating")
		c.pass(200 * time.Millisecond)
		c.expect("revision 1, 3/3 updated, 3 available, NewReplicaSetAvailable\nweb:1: Ready Ready Ready")

		c.setImage("web:2")
		c.pass(time.Minute)
		c.expect("revision 2, 3/3 updated, 3 available, NewReplicaSetAvailable\nweb:2: Ready Ready Ready")

		// A bad image is stuck, and the old version serves.
		c.setImage("web:3")
		c.pass(time.Second)
		c.expect("revision 3, 1/3 updated, 3 available, ReplicaSetUpdated\nweb:2: Ready Ready Ready\nweb:3: ErrImagePull")
		c.pass(time.Minute)
		c.expect("revision 3, 1/3 updated, 3 available, ReplicaSetUpdated\nweb:2: Ready Ready Ready\nweb:3: ImagePullBackOff")
		c.pass(10 * time.Minute)
		c.expect("revision 3, 1/3 updated, 3 available, ProgressDeadlineExceeded\nweb:2: Ready Ready Ready\nweb:3: ImagePullBackOff")

		// Everything stops and starts again: nothing changes.
		c.stop()
		version := c.store.Version()
		c.start(options)
		synctest.Wait()
		c.expect("revision 3, 1/3 updated, 3 available, ProgressDeadlineExceeded\nweb:2: Ready Ready Ready\nweb:3: ImagePullBackOff")
		if c.store.Version() != version {
			t.Errorf("the restart wrote %d times", c.store.Version()-version)
		}

		// Back, and on to another bad one.
		c.setImage("web:2")
		c.pass(time.Minute)
		c.expect("revision 4, 3/3 updated, 3 available, NewReplicaSetAvailable\nweb:2: Ready Ready Ready")
		c.setImage("web:4")
		c.pass(5 * time.Second)
		c.expect("revision 5, 1/3 updated, 3 available, ReplicaSetUpdated\nweb:2: Ready Ready Ready\nweb:4: CrashLoopBackOff")

		// A pod that is deleted is replaced, which counts as progress.
		pods := state.List[*corev1.Pod](c.store, "")
		c.commit(state.Delete(state.KeyOf(pods[0]), state.DeleteOptions{}))
		c.pass(11 * time.Minute)
		c.expect("revision 5, 1/3 updated, 3 available, ProgressDeadlineExceeded\nweb:2: Ready Ready Ready\nweb:4: CrashLoopBackOff")

		// The Deployment goes, and all that it made. An hour later its Events are gone too.
		c.commit(state.Delete(state.Key{Kind: state.KindDeployment, Namespace: "default", Name: "web"}, state.DeleteOptions{}))
		synctest.Wait()
		if n := len(c.store.List(state.KindPod, "")); n != 4 {
			t.Errorf("%d pods are stopping, want 4", n)
		}
		c.pass(3 * time.Second)
		for _, kind := range []state.Kind{state.KindPod, state.KindReplicaSet} {
			if n := len(c.store.List(kind, "")); n != 0 {
				t.Errorf("%d of kind %s are left", n, kind)
			}
		}
		if len(c.store.List(state.KindEvent, "")) == 0 {
			t.Errorf("there are no Events")
		}
		c.pass(time.Hour + time.Minute)
		if n := len(c.store.List(state.KindEvent, "")); n != 0 {
			t.Errorf("%d Events are left", n)
		}
		c.stop()
	})
}

// TestWholeEvents is what people see of one pod that cannot get its image.
func TestWholeEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		c.start(simulated.Options{Delay: time.Second, Images: map[string]simulated.Behaviour{"web:1": simulated.Missing}})
		c.commit(state.Create(deployment(1, "web:1")))
		c.pass(35 * time.Second)
		var got []string
		for _, e := range state.List[*corev1.Event](c.store, "") {
			message := e.Message
			for _, pod := range state.List[*corev1.Pod](c.store, "") {
				message = strings.ReplaceAll(message, pod.Name, "POD")
			}
			for _, rs := range state.List[*appsv1.ReplicaSet](c.store, "") {
				message = strings.ReplaceAll(message, rs.Name, "RS")
			}
			got = append(got, fmt.Sprintf("%s %s %s x%d %s", e.InvolvedObject.Kind, e.Type, e.Reason, e.Count, message))
		}
		slices.Sort(got)
		want := []string{
			"Deployment Normal ScalingReplicaSet x1 Scaled up replica set RS from 0 to 1",
			"Pod Normal BackOff x3 Back-off pulling image \"web:1\"",
			"Pod Normal Pulling x3 Pulling image \"web:1\"",
			"Pod Normal Scheduled x1 Successfully assigned default/POD to belay",
			"Pod Warning Failed x3 Error: ErrImagePull",
			"Pod Warning Failed x3 Error: ImagePullBackOff",
			"Pod Warning Failed x3 Failed to pull image \"web:1\": rpc error: code = NotFound desc = failed to pull and unpack image " +
				"\"web:1\": failed to resolve reference \"web:1\": web:1: not found",
			"ReplicaSet Normal SuccessfulCreate x1 Created pod: POD",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
		c.stop()
	})
}
