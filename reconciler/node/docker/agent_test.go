package docker_test

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/client"
	"github.com/rs/zerolog"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/belay-dev/belay/reconciler/controller"
	"github.com/belay-dev/belay/reconciler/node"
	"github.com/belay-dev/belay/reconciler/node/docker"
	"github.com/belay-dev/belay/reconciler/node/kubelet"
	"github.com/belay-dev/belay/state"
)

// agent is the node's controller over an engine, with a store of its own. It ends with the test, and its pods with it.
type agent struct {
	t     testing.TB
	ctx   context.Context
	store *state.Store
	name  string // of its state, as pods tell it
	dir   string
	r     *docker.Runtime // of the process that there is now
	stop  func()
}

func agentOf(ctx context.Context, t testing.TB, r *docker.Runtime, name string) *agent {
	t.Helper()
	store, err := state.OpenMemory(state.Options{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	a := &agent{t: t, ctx: ctx, store: store, name: name, dir: t.TempDir()}
	a.start(r)
	t.Cleanup(func() {
		a.stop()
		for _, p := range state.List[*corev1.Pod](store, "") { // of a test that has failed
			if err := a.r.RemovePod(context.WithoutCancel(ctx), p.UID); err != nil {
				t.Error(err)
			}
		}
	})
	return a
}

// in is the agent as a part of the test sees it.
func (a *agent) in(t testing.TB) *agent {
	b := *a
	b.t = t
	return &b
}

// start begins as a new process would.
func (a *agent) start(r *docker.Runtime) { a.startOver(r, r) }

// startOver is start with something put between the process and the engine.
func (a *agent) startOver(r *docker.Runtime, between node.Runtime) {
	a.r = r
	log := zerolog.New(zerolog.NewTestWriter(a.t))
	k := kubelet.New(kubelet.Options{
		Runtime: between, Objects: kubelet.Stored(a.store), Dir: filepath.Join(a.dir, "pods"), HostPaths: []string{a.dir}, Instance: a.name,
		Now: time.Now, Log: log,
	})
	ctx, cancel := context.WithCancel(context.WithoutCancel(a.ctx))
	var running sync.WaitGroup
	running.Go(func() {
		if err := controller.Run(ctx, a.store, node.New(a.store, k, log, time.Now)); err != nil {
			a.t.Error(err)
		}
	})
	a.stop = func() {
		cancel()
		running.Wait()
	}
}

// podOf is a pod of one container "c" that does a verb.
func podOf(name, ref string, args ...string) *corev1.Pod {
	grace := int64(30)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyAlways, TerminationGracePeriodSeconds: &grace,
			Containers: []corev1.Container{{Name: "c", Image: ref, ImagePullPolicy: corev1.PullIfNotPresent, Args: args}},
		},
	}
}

func (a *agent) create(pods ...*corev1.Pod) {
	a.t.Helper()
	for _, p := range pods {
		if _, err := a.store.Commit(state.Create(p)); err != nil {
			a.t.Fatal(err)
		}
	}
}

// until waits until a pod is as it should be, and returns it.
func (a *agent) until(name, what string, is func(*corev1.Pod) bool) (found *corev1.Pod) {
	a.t.Helper()
	until(a.ctx, a.t, name+" is "+what, func() error {
		p, ok := state.Get[*corev1.Pod](a.store, "default", name)
		if !ok || !is(p) {
			return fmt.Errorf("it is %+v, and said %q", p, a.events(name))
		}
		found = p
		return nil
	})
	return found
}

// events are what was said of a pod, each once, in no order.
func (a *agent) events(pod string) (said []string) {
	for _, e := range state.List[*corev1.Event](a.store, "default") {
		if e.InvolvedObject.Name == pod {
			said = append(said, e.Reason+": "+e.Message)
		}
	}
	return said
}

// told waits until all of that was said of a pod.
func (a *agent) told(pod string, want ...string) {
	a.t.Helper()
	until(a.ctx, a.t, fmt.Sprintf("%s said %q", pod, want), func() error {
		said := a.events(pod)
		for _, w := range want {
			if !slices.Contains(said, w) {
				return fmt.Errorf("it said %q", said)
			}
		}
		return nil
	})
}

// end deletes pods and waits until nothing is left of them.
func (a *agent) end(names ...string) {
	a.t.Helper()
	for _, name := range names {
		if _, err := a.store.Commit(state.Delete(state.Key{Kind: state.KindPod, Namespace: "default", Name: name}, state.DeleteOptions{})); err != nil {
			a.t.Fatal(err)
		}
	}
	until(a.ctx, a.t, fmt.Sprintf("%q are gone", names), func() error {
		for _, p := range state.List[*corev1.Pod](a.store, "default") {
			if slices.Contains(names, p.Name) {
				return fmt.Errorf("%s is %+v", p.Name, p.Status)
			}
		}
		return nil
	})
}

// runs says whether a pod's first container runs, ready, after so many restarts.
func runs(restarts int32) func(*corev1.Pod) bool {
	return func(p *corev1.Pod) bool {
		s := p.Status.ContainerStatuses
		return p.Status.Phase == corev1.PodRunning && len(s) > 0 && s[0].Ready && s[0].RestartCount == restarts
	}
}

// waits says whether a pod's first container waits for a reason.
func waits(reason string) func(*corev1.Pod) bool {
	return func(p *corev1.Pod) bool {
		s := p.Status.ContainerStatuses
		return len(s) > 0 && s[0].State.Waiting != nil && s[0].State.Waiting.Reason == reason
	}
}

// attempts are the numbers of the runs that an engine has of the pods with a label, sorted.
func attempts(ctx context.Context, t testing.TB, c *client.Client, label string) (all []string) {
	t.Helper()
	filters := make(client.Filters).Add("label", "belay.dev/container", label)
	list, err := c.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: filters})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range list.Items {
		all = append(all, c.Labels["belay.dev/attempt"])
	}
	slices.Sort(all)
	return all
}

func portOf(n int) intstr.IntOrString { return intstr.FromInt32(int32(n)) }
