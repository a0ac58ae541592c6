package embedded_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

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
			controllers := []controller.Config{
				rollout.New(store, recorder, log, time.Now), replicaset.New(store, recorder, log, time.Now), garbage.New(store, log, time.Now),
				node.New(store, simulated.New(simulated.Options{Delay: time.Second}), log, time.Now),
			}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, len(controllers))
			for _, c := range controllers {
				go func() { done <- controller.Run(ctx, store, c) }()
			}
			e := embedded.New(store)
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
	want := map[engine.Key]engine.Live{}
	for _, o := range store.List(state.KindDeployment, "") {
		want[state.KeyOf(o)] = e.Live(state.KeyOf(o))
	}
	if diff := cmp.Diff(want, e.Deployments(store.Snapshot())); diff != "" {
		t.Errorf("one by one and all at once differ:\n%s", diff)
	}
}
