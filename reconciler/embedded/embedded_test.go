package embedded_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/belay-dev/belay/reconciler"
	"github.com/belay-dev/belay/reconciler/controller"
	"github.com/belay-dev/belay/reconciler/embedded"
	"github.com/belay-dev/belay/reconciler/engine"
	"github.com/belay-dev/belay/reconciler/engine/conformance"
	"github.com/belay-dev/belay/reconciler/event"
	"github.com/belay-dev/belay/reconciler/garbage"
	"github.com/belay-dev/belay/reconciler/node"
	"github.com/belay-dev/belay/reconciler/node/simulated"
	"github.com/belay-dev/belay/reconciler/replicaset"
	"github.com/belay-dev/belay/reconciler/rollout"
	"github.com/belay-dev/belay/state"
)

var _ reconciler.Engine = (*embedded.Engine)(nil)

// TestConformance runs the suite over the real controllers and the simulated node, in fake time.
func TestConformance(t *testing.T) {
	t.Parallel()
	conformance.Run(t, func(t *testing.T, f func(*testing.T, conformance.World)) {
		synctest.Test(t, func(t *testing.T) {
			store, err := state.OpenMemory(state.Options{Now: time.Now})
			if err != nil {
				t.Fatal(err)
			}
			log := zerolog.Nop()
			recorder := event.NewRecorder(store, "test", time.Now)
			pods := simulated.New(simulated.Options{Delay: time.Second})
			controllers := []controller.Config{
				rollout.New(store, recorder, log, time.Now), replicaset.New(store, recorder, log, time.Now), garbage.New(store, log, time.Now),
				node.New(store, pods, log, time.Now),
			}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, len(controllers))
			for _, c := range controllers {
				go func() { done <- controller.Run(ctx, store, c) }()
			}
			e := embedded.New(store, pods)
			f(t, conformance.World{
				Engine: e, Store: store, Digest: rollout.Digest,
				Settle: func() { <-time.After(time.Minute); synctest.Wait(); compareSnapshot(t, e, store) },
			})
			cancel()
			for range controllers {
				if err := <-done; err != nil {
					t.Error(err)
				}
			}
			if err := store.Close(); err != nil {
				t.Error(err)
			}
		})
	})
}

// compareSnapshot holds what an engine says of all Deployments of a snapshot against what it says of each.
func compareSnapshot(t *testing.T, e *embedded.Engine, store *state.Store) {
	t.Helper()
	want := []engine.Live{}
	for _, o := range store.List(state.KindDeployment, "") {
		live := e.Live(state.KeyOf(o))
		if diff := cmp.Diff(live, e.Deployment(store.Snapshot(), o.GetNamespace(), o.GetName())); diff != "" {
			t.Errorf("%s now and in a snapshot differ:\n%s", o.GetName(), diff)
		}
		want = append(want, live)
	}
	if diff := cmp.Diff(want, e.Deployments(store.Snapshot())); diff != "" {
		t.Errorf("one by one and all at once differ:\n%s", diff)
	}
}

// noHostPID is a runner whose pods cannot share the machine's processes.
type noHostPID struct{}

func (noHostPID) Supports(spec *corev1.PodSpec) []engine.Unsupported {
	if !spec.HostPID {
		return nil
	}
	return []engine.Unsupported{{Field: "hostPID", Message: "is not supported"}}
}

// What the runner of pods cannot honour is named by its path in the object that it would run.
func TestSupports(t *testing.T) {
	t.Parallel()
	pod := corev1.PodSpec{HostPID: true}
	template := corev1.PodTemplateSpec{Spec: pod}
	d := &appsv1.Deployment{Spec: appsv1.DeploymentSpec{Template: template}}
	e := embedded.New(nil, noHostPID{})
	of := func(o state.Object) []engine.Unsupported { return embedded.Unsupported(noHostPID{}, o) }
	for name, tt := range map[string]struct {
		got  []engine.Unsupported
		want string
	}{
		"Deployment":            {e.Supports(d), "spec.template.spec.hostPID: is not supported"},
		"plain Deployment":      {e.Supports(&appsv1.Deployment{}), ""},
		"every pod is honoured": {embedded.New(nil, nil).Supports(d), ""},
		"Service":               {e.Supports(&corev1.Service{Spec: corev1.ServiceSpec{ExternalIPs: []string{"192.0.2.1"}}}), "spec.externalIPs: is not supported"},
		"ConfigMap":             {e.Supports(&corev1.ConfigMap{}), ""},
		"Pod from Git":          {e.Supports(&corev1.Pod{Spec: pod}), "kind: objects of kind Pod are not run"},
		"Pod":                   {of(&corev1.Pod{Spec: pod}), "spec.hostPID: is not supported"},
		"ReplicaSet":            {of(&appsv1.ReplicaSet{Spec: appsv1.ReplicaSetSpec{Template: template}}), "spec.template.spec.hostPID: is not supported"},
	} {
		got := ""
		for _, u := range tt.got {
			got += u.Field + ": " + u.Message
		}
		if got != tt.want {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
	}
}
