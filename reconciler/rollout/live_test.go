package rollout_test

import (
	"context"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/belay-dev/belay/reconciler/controller"
	"github.com/belay-dev/belay/reconciler/replicaset"
	"github.com/belay-dev/belay/reconciler/rollout"
	"github.com/belay-dev/belay/reconciler/rollout/scenario"
	"github.com/belay-dev/belay/state"
)

// live runs the controllers as the service does: goroutines, queues and timers, under fake time.
type live struct {
	mu   sync.Mutex
	told []scenario.Told
}

func (l *live) Event(obj state.Object, eventType, reason, message string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.told = append(l.told, scenario.Told{Kind: string(state.KeyOf(obj).Kind), Name: obj.GetName(), Type: eventType, Reason: reason, Message: message})
}

func (l *live) Settle(context.Context, state.Kind) error {
	synctest.Wait()
	return nil
}

func (*live) WakeAt() time.Time { return time.Time{} }
func (*live) Restart() error    { return nil }

func (l *live) Events() []scenario.Told {
	l.mu.Lock()
	defer l.mu.Unlock()
	told := l.told
	l.told = nil
	return told
}

// TestLive runs some scenarios with the running controllers. The two work side by side then, so only what things come
// to is compared, not the way there.
func TestLive(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"case-03-surge-and-unavailable", "case-12-recreate", "case-15b-undo-with-an-unready-pod",
		"case-20-min-ready-seconds", "case-28c-history-2", "case-33-hash-collision", "case-34-adoption", "case-40-deadline-and-pause",
		"case-37-deadline", "case-49-annotations", "more-legacy-rollback"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile("testdata/" + name + ".txt")
			if err != nil {
				t.Fatal(err)
			}
			script := scenario.Parse(data)
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				var running sync.WaitGroup
				clock := scenario.Clock{Now: time.Now, Sleep: func(d time.Duration) { <-time.After(d) }}
				w, err := scenario.NewWorld(clock, func(store *state.Store) (scenario.Engine, error) {
					l := &live{}
					for _, config := range []controller.Config{
						rollout.New(store, l, zerolog.Nop(), time.Now),
						replicaset.New(store, l, zerolog.Nop(), time.Now),
					} {
						running.Go(func() {
							if err := controller.Run(ctx, store, config); err != nil {
								t.Error(err)
							}
						})
					}
					return l, nil
				})
				if err != nil {
					t.Fatal(err)
				}
				seen, err := script.Run(t.Context(), w, false)
				if err != nil {
					t.Error(err)
				}
				if diff := cmp.Diff(outcome(script), outcome(seen)); diff != "" {
					t.Errorf("-file +running:\n%s", diff)
				}
				cancel()
				running.Wait()
				if err := w.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// outcome leaves the Events out of a script.
func outcome(script scenario.Script) string {
	return withoutEvents.ReplaceAllString(string(script.Format()), "")
}

// rolloutOf returns the Deployment of a store and its ReplicaSets.
func rolloutOf(store *state.Store) (*appsv1.Deployment, []*appsv1.ReplicaSet) {
	d, _ := state.Get[*appsv1.Deployment](store, corev1.NamespaceDefault, "web")
	return d, state.List[*appsv1.ReplicaSet](store, corev1.NamespaceDefault)
}
