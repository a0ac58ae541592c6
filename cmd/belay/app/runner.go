package app

import (
	"context"
	"fmt"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/belay-dev/belay/reconciler/node"
	"github.com/belay-dev/belay/reconciler/node/simulated"
	"github.com/belay-dev/belay/state"
)

// Seams are where a test stands in for the world, or around it. The zero value is the world.
type Seams struct {
	// Disk is called around every write of the state's file: see state.Options.
	Disk func(state.DiskPoint) error
	// Now is the clock; nil: the system's.
	Now func() time.Time
	// Runner runs the pods; nil: the configured runtime does.
	Runner node.PodRunner
}

// runner is what runs the pods, and what reaches into them (nil: nothing does). One whose pods are outside of this process
// acts only on what is durable.
func (a *App) runner(store *state.Store) (node.PodRunner, node.Streamer, error) {
	if r := a.Seams.Runner; r != nil {
		streams, _ := r.(node.Streamer)
		return durable{r, store}, streams, nil
	}
	options, err := simulated.Parse(a.config.Simulate)
	if err != nil {
		return nil, nil, fmt.Errorf("simulate: %w", err)
	}
	r := simulated.New(options)
	return r, r.Streams(a.now), nil
}

// durable has a runner act on a pod only once what it acts on is on disk: a crash forgets no container.
type durable struct {
	node.PodRunner
	store *state.Store
}

func (d durable) Sync(ctx context.Context, pod *corev1.Pod, now time.Time) (node.Report, error) {
	version, err := strconv.ParseInt(pod.ResourceVersion, 10, 64)
	if err != nil {
		return node.Report{}, fmt.Errorf("version of pod %s: %w", pod.Name, err)
	}
	if err := d.store.WaitDurable(ctx, version); err != nil {
		return node.Report{}, fmt.Errorf("make pod %s durable: %w", pod.Name, err)
	}
	return d.PodRunner.Sync(ctx, pod, now)
}

func (d durable) Remove(ctx context.Context, uid types.UID) error {
	if err := d.store.WaitDurable(ctx, d.store.Version()); err != nil {
		return fmt.Errorf("make the end of pod %s durable: %w", uid, err)
	}
	return d.PodRunner.Remove(ctx, uid)
}
