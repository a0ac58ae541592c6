package rollout_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	appsv1 "k8s.io/api/apps/v1"

	"github.com/belay-dev/belay/reconciler/controller"
	"github.com/belay-dev/belay/reconciler/replicaset"
	"github.com/belay-dev/belay/reconciler/rollout"
	"github.com/belay-dev/belay/state"
)

// TestOneVisited changes one Deployment of many: the controllers look at it and what it owns, and at nothing else.
func TestOneVisited(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store, err := state.OpenMemory(state.Options{Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		visits := map[state.Key]int{}
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		for _, config := range []controller.Config{
			rollout.New(store, silent{}, zerolog.Nop(), time.Now), replicaset.New(store, silent{}, zerolog.Nop(), time.Now),
		} {
			reconcile := config.Reconcile
			config.Reconcile = func(ctx context.Context, key state.Key, now time.Time) (time.Time, error) {
				mu.Lock()
				visits[key]++
				mu.Unlock()
				return reconcile(ctx, key, now)
			}
			running.Go(func() {
				if err := controller.Run(ctx, store, config); err != nil {
					t.Error(err)
				}
			})
		}
		const many = 100
		for i := range many {
			if _, err := store.Commit(state.Create(benchDeployment(i, 1))); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if len(visits) != 2*many {
			t.Fatalf("%d objects visited at first, want %d", len(visits), 2*many)
		}
		clear(visits)

		const one = "app-00050"
		d, _ := state.Get[*appsv1.Deployment](store, "default", one)
		next := d.DeepCopy()
		next.Spec.Template.Spec.Containers[0].Image = "app:2"
		if _, err := store.Commit(state.Update(next)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for key := range visits {
			if !strings.HasPrefix(key.Name, one) {
				t.Errorf("%s visited", key)
			}
		}
		if len(visits) != 2 { // with the new ReplicaSet
			t.Errorf("%d objects visited, want 2: %v", len(visits), visits)
		}
		cancel()
		running.Wait()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
}
