package kubelet_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/belay-dev/belay/reconciler/controller"
	"github.com/belay-dev/belay/reconciler/node"
	"github.com/belay-dev/belay/reconciler/node/conformance/program"
	"github.com/belay-dev/belay/reconciler/node/fake"
	"github.com/belay-dev/belay/reconciler/node/image"
	"github.com/belay-dev/belay/reconciler/node/kubelet"
	"github.com/belay-dev/belay/state"
)

// desk is the node's controller with a Kubelet over an engine in memory.
type desk struct {
	t       *testing.T
	store   *state.Store
	engine  *fake.Engine
	kubelet *kubelet.Kubelet
	dir     string
	keep    []string                        // images that stay
	ran     map[string]string               // what the images of every revision were before
	between func(node.Runtime) node.Runtime // put between the next Kubelet and the engine; nil: nothing is
	stop    func()
}

// down is what a pull says when the registry does not answer.
var down = &image.PullError{Class: image.Network, Err: errors.New("connection refused")}

// bench runs a test in a bubble, with a desk that is running.
func bench(t *testing.T, f func(d *desk)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		store, err := state.OpenMemory(state.Options{Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		d := &desk{t: t, store: store, engine: fake.NewEngine(time.Now), dir: dir}
		d.engine.Serve("index.docker.io/library/app:1", program.Run, true)
		d.start()
		f(d)
		d.stop()
		d.end()
	})
}

// end removes all that is in the engine, so that its processes end.
func (d *desk) end() {
	r := d.engine.Runtime()
	all, err := r.List(context.Background())
	if err != nil {
		d.t.Error(err)
	}
	for _, s := range all {
		if err := r.RemovePod(context.Background(), s.Pod.UID); err != nil {
			d.t.Error(err)
		}
	}
	d.engine.Wait()
}

// start starts a Kubelet, as a new process would.
func (d *desk) start() {
	d.t.Helper()
	log := zerolog.New(zerolog.NewTestWriter(d.t)).Level(zerolog.WarnLevel)
	runtime := node.Runtime(d.engine.Runtime())
	if d.between != nil {
		runtime = d.between(runtime)
	}
	d.kubelet = kubelet.New(kubelet.Options{
		Runtime: runtime, Type: "fake", Objects: kubelet.Stored(d.store), Dir: d.dir, Instance: "here", Now: time.Now, Log: log,
		Keep: func() []string { return d.keep }, Ran: func(*corev1.Pod) map[string]string { return d.ran },
	})
	config := node.New(d.store, d.kubelet, log, time.Now)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := controller.Run(ctx, d.store, config); err != nil {
			d.t.Error(err)
		}
	})
	d.stop = func() {
		cancel()
		running.Wait()
	}
	synctest.Wait()
}

// pass lets time pass.
func (d *desk) pass(t time.Duration) {
	<-time.After(t)
	synctest.Wait()
}

// pod is one with a container "c" that runs a verb of the suite's program.
func pod(name string, args ...string) *corev1.Pod {
	grace := int64(30)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyAlways, TerminationGracePeriodSeconds: &grace,
			Containers: []corev1.Container{container("c", args...)},
		},
	}
}

func container(name string, args ...string) corev1.Container {
	return corev1.Container{
		Name: name, Image: "app:1", ImagePullPolicy: corev1.PullIfNotPresent, Args: args,
		TerminationMessagePath: "/dev/termination-log", TerminationMessagePolicy: corev1.TerminationMessageReadFile,
	}
}

func (d *desk) create(o state.Object) types.UID {
	d.t.Helper()
	receipt, err := d.store.Commit(state.Create(o))
	if err != nil {
		d.t.Fatal(err)
	}
	synctest.Wait()
	return receipt.Objects[0].GetUID()
}

func (d *desk) delete(name string, options state.DeleteOptions) {
	d.t.Helper()
	if _, err := d.store.Commit(state.Delete(state.Key{Kind: state.KindPod, Namespace: "default", Name: name}, options)); err != nil {
		d.t.Fatal(err)
	}
	synctest.Wait()
}

func (d *desk) get(name string) *corev1.Pod {
	d.t.Helper()
	p, ok := state.Get[*corev1.Pod](d.store, "default", name)
	if !ok {
		d.t.Fatalf("pod %s is not there", name)
	}
	return p
}

// expect compares a pod with one line a container, after the pod's own.
func (d *desk) expect(name, want string) {
	d.t.Helper()
	synctest.Wait()
	p := d.get(name)
	got := string(p.Status.Phase)
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
			got += " ready"
		}
	}
	for _, list := range [][]corev1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses} {
		for _, s := range list {
			got += "\n" + s.Name + " " + stateOf(s.State)
			if s.LastTerminationState.Terminated != nil {
				got += ", before " + stateOf(s.LastTerminationState)
			}
			if s.RestartCount > 0 {
				got += fmt.Sprintf(", restarts %d", s.RestartCount)
			}
		}
	}
	if diff := cmp.Diff(strings.TrimSpace(want), got); diff != "" {
		d.t.Errorf("pod %s (-want +got):\n%s", name, diff)
	}
}

func stateOf(s corev1.ContainerState) string {
	switch {
	case s.Running != nil:
		return "running"
	case s.Terminated != nil:
		text := fmt.Sprintf("%s(%d)", s.Terminated.Reason, s.Terminated.ExitCode)
		if s.Terminated.Message != "" {
			text += " " + s.Terminated.Message
		}
		return text
	case s.Waiting != nil && s.Waiting.Message != "":
		return s.Waiting.Reason + ": " + s.Waiting.Message
	case s.Waiting != nil:
		return s.Waiting.Reason
	}
	return "nothing"
}

// events lists those of a pod in the order of the first of each, with their counts.
func (d *desk) events(name string) []string {
	var all []*corev1.Event
	for _, e := range state.List[*corev1.Event](d.store, "") {
		if e.InvolvedObject.Name == name && e.Reason != "Scheduled" {
			all = append(all, e)
		}
	}
	slices.SortFunc(all, func(a, b *corev1.Event) int { return strings.Compare(a.Name, b.Name) })
	var out []string
	for _, e := range all {
		line := fmt.Sprintf("%s %s", e.Reason, e.Message)
		if e.Type == corev1.EventTypeWarning {
			line = "! " + line
		}
		if e.Count > 1 {
			line += fmt.Sprintf(" (%d)", e.Count)
		}
		out = append(out, line)
	}
	return out
}

func (d *desk) expectEvents(name string, want ...string) {
	d.t.Helper()
	if diff := cmp.Diff(want, d.events(name)); diff != "" {
		d.t.Errorf("events of %s (-want +got):\n%s", name, diff)
	}
}

func (d *desk) expectStarted(want ...string) {
	d.t.Helper()
	synctest.Wait()
	if diff := cmp.Diff(want, d.engine.Started()); diff != "" {
		d.t.Errorf("started (-want +got):\n%s", diff)
	}
}
