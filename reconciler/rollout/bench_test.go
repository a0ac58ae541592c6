package rollout_test

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/belay-dev/belay/reconciler/controller"
	"github.com/belay-dev/belay/reconciler/replicaset"
	"github.com/belay-dev/belay/reconciler/rollout"
	"github.com/belay-dev/belay/state"
)

type silent struct{}

func (silent) Event(state.Object, string, string, string) {}

// fleet is a store with running controllers and a kubelet that makes every pod ready as soon as it sees it.
type fleet struct {
	store   *state.Store
	running sync.WaitGroup
	stop    context.CancelFunc
	visits  atomic.Int64 // of both controllers
}

func newFleet(b *testing.B) *fleet {
	store, err := state.OpenMemory(state.Options{Now: time.Now, HistorySize: 1 << 18})
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(b.Context())
	f := &fleet{store: store, stop: stop}
	log := zerolog.New(io.Discard)
	for _, config := range []controller.Config{rollout.New(store, silent{}, log, time.Now), replicaset.New(store, silent{}, log, time.Now)} {
		reconcile := config.Reconcile
		config.Reconcile = func(ctx context.Context, key state.Key, now time.Time) (time.Time, error) {
			f.visits.Add(1)
			return reconcile(ctx, key, now)
		}
		f.running.Go(func() {
			if err := controller.Run(ctx, store, config); err != nil {
				b.Error(err)
			}
		})
	}
	f.running.Go(func() { f.kubelet(ctx, b) })
	return f
}

func (f *fleet) close(b *testing.B) {
	f.stop()
	f.running.Wait()
	if err := f.store.Close(); err != nil {
		b.Error(err)
	}
}

func (f *fleet) kubelet(ctx context.Context, b *testing.B) {
	watch, err := f.store.Watch(0, state.KindPod)
	if err != nil {
		b.Error(err)
		return
	}
	for {
		events, err := watch.Next(ctx)
		if err != nil {
			if ctx.Err() == nil {
				b.Error(err)
			}
			return
		}
		for _, e := range events {
			pod := e.Object.(*corev1.Pod)
			if e.Type != state.Added {
				continue
			}
			ready := *pod
			ready.ResourceVersion = ""
			ready.Status = corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{
				{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()}}}
			_, _ = f.store.Commit(state.UpdateStatus(&ready)) // it may be gone by now
		}
	}
}

func isComplete(d *appsv1.Deployment) bool {
	s, n := d.Status, *d.Spec.Replicas
	return s.ObservedGeneration == d.Generation && s.UpdatedReplicas == n && s.Replicas == n && s.AvailableReplicas == n
}

// complete waits until every Deployment is.
func (f *fleet) complete(b *testing.B) {
	watch, err := f.store.Watch(f.store.Version(), state.KindDeployment)
	if err != nil {
		b.Fatal(err)
	}
	open := map[string]bool{}
	for _, d := range state.List[*appsv1.Deployment](f.store, "") {
		if !isComplete(d) {
			open[d.Name] = true
		}
	}
	for len(open) > 0 {
		events, err := watch.Next(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		for _, e := range events {
			d := e.Object.(*appsv1.Deployment)
			delete(open, d.Name)
			if !isComplete(d) {
				open[d.Name] = true
			}
		}
	}
}

func benchDeployment(i int, replicas int32) *appsv1.Deployment {
	name := fmt.Sprintf("app-%05d", i)
	quarter, history, deadline := intstr.FromString("25%"), int32(2), int32(600)
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "app:1"}}}},
			Strategy: appsv1.DeploymentStrategy{Type: appsv1.RollingUpdateDeploymentStrategyType,
				RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &quarter, MaxUnavailable: &quarter}},
			RevisionHistoryLimit: &history, ProgressDeadlineSeconds: &deadline,
		},
	}
}

// BenchmarkRollout changes all images of a fleet at once and waits until every rollout is complete.
func BenchmarkRollout(b *testing.B) {
	for _, size := range []struct{ deployments, replicas int }{{10, 10}, {300, 10}, {1000, 3}, {1, 1000}, {10000, 1}} {
		b.Run(fmt.Sprintf("%dx%d", size.deployments, size.replicas), func(b *testing.B) {
			f := newFleet(b)
			for i := range size.deployments {
				if _, err := f.store.Commit(state.Create(benchDeployment(i, int32(size.replicas)))); err != nil {
					b.Fatal(err)
				}
			}
			f.complete(b)
			var memory runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&memory)
			objects := 0
			for _, kind := range []state.Kind{state.KindDeployment, state.KindReplicaSet, state.KindPod} {
				objects += len(f.store.List(kind, ""))
			}
			b.ReportAllocs()
			before := cpu()
			n := 1
			for b.Loop() {
				n++
				for _, d := range state.List[*appsv1.Deployment](f.store, "") {
					f.setImage(b, d, fmt.Sprintf("app:%d", n))
				}
				f.complete(b)
			}
			b.ReportMetric(float64(memory.HeapAlloc)/float64(objects), "heap-B/object")
			b.ReportMetric((cpu()-before).Seconds()/float64(n-1), "cpu-s/op")
			f.close(b)
		})
	}
}

// BenchmarkOneOfMany changes one image among many Deployments. How many there are makes no difference.
func BenchmarkOneOfMany(b *testing.B) {
	for _, deployments := range []int{100, 10_000} {
		b.Run(fmt.Sprint(deployments), func(b *testing.B) {
			f := newFleet(b)
			defer f.close(b)
			for i := range deployments {
				if _, err := f.store.Commit(state.Create(benchDeployment(i, 1))); err != nil {
					b.Fatal(err)
				}
			}
			f.complete(b)
			b.ReportAllocs()
			before, visits := cpu(), f.visits.Load()
			n := 1
			for b.Loop() {
				n++
				f.changeOne(b, "app-00050", fmt.Sprintf("app:%d", n))
			}
			b.ReportMetric(float64(f.visits.Load()-visits)/float64(n-1), "visits/op")
			b.ReportMetric((cpu()-before).Seconds()/float64(n-1), "cpu-s/op")
		})
	}
}

// changeOne changes one image and waits until its rollout is complete.
func (f *fleet) changeOne(b *testing.B, name, image string) {
	d, _ := state.Get[*appsv1.Deployment](f.store, "default", name)
	f.setImage(b, d, image)
	for {
		version := f.store.Version()
		if d, _ := state.Get[*appsv1.Deployment](f.store, "default", name); isComplete(d) {
			return
		}
		if _, err := f.store.WaitChange(b.Context(), version); err != nil {
			b.Fatal(err)
		}
	}
}

// setImage writes the template whatever the controllers write in the meantime.
func (f *fleet) setImage(b *testing.B, d *appsv1.Deployment, image string) {
	for {
		next := *d
		next.Spec.Template.Spec.Containers = []corev1.Container{{Name: "c", Image: image}}
		if _, err := f.store.Commit(state.Update(&next)); err == nil {
			return
		}
		d, _ = state.Get[*appsv1.Deployment](f.store, d.Namespace, d.Name)
		if b.Context().Err() != nil {
			b.Fatal("too late")
		}
	}
}

func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
