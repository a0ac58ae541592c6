package node_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/belay-dev/belay/reconciler/controller"
	"github.com/belay-dev/belay/reconciler/node"
	"github.com/belay-dev/belay/reconciler/node/simulated"
	"github.com/belay-dev/belay/state"
)

// BenchmarkPods takes 10,000 pods from their creation through being assigned, running and ready, with all Events.
// A second of each round is the wait of their readiness probe.
func BenchmarkPods(b *testing.B) {
	const pods = 10_000
	for b.Loop() {
		b.StopTimer()
		store, err := state.OpenMemory(state.Options{Now: time.Now})
		if err != nil {
			b.Fatal(err)
		}
		for i := range pods {
			if _, err := store.Commit(state.Create(probedPod(i))); err != nil {
				b.Fatal(err)
			}
		}
		config := node.New(store, simulated.New(simulated.Options{Delay: 10 * time.Millisecond}), zerolog.Nop(), time.Now)
		ctx, cancel := context.WithCancel(b.Context())
		version := store.Version()
		var running sync.WaitGroup
		b.StartTimer()
		running.Go(func() {
			if err := controller.Run(ctx, store, config); err != nil {
				b.Error(err)
			}
		})
		if err := untilReady(ctx, store, version, pods); err != nil {
			b.Error(err)
		}
		goroutines := runtime.NumGoroutine()
		cancel()
		running.Wait()
		b.ReportMetric(float64(goroutines), "goroutines")
		b.ReportMetric(float64(store.Version()-version)/pods, "writes/pod")
	}
}

func probedPod(i int) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("web-%05d", i)},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "web", Image: "web:1", ImagePullPolicy: corev1.PullIfNotPresent,
			ReadinessProbe: &corev1.Probe{InitialDelaySeconds: 1, PeriodSeconds: 1, SuccessThreshold: 1, FailureThreshold: 3},
		}}},
	}
}

// untilReady returns once n pods are ready.
func untilReady(ctx context.Context, store *state.Store, version int64, n int) error {
	ready := map[string]bool{}
	see := func(o state.Object) {
		for _, c := range o.(*corev1.Pod).Status.Conditions {
			if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
				ready[o.GetName()] = true
			}
		}
	}
	for {
		watch, err := store.Watch(version, state.KindPod)
		for err == nil && len(ready) < n {
			var events []state.Event
			events, err = watch.Next(ctx)
			for _, e := range events {
				see(e.Object)
			}
		}
		if !errors.Is(err, state.ErrExpired) {
			return err
		}
		version = store.Version()
		for _, o := range store.List(state.KindPod, "") {
			see(o)
		}
	}
}
