package controller

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/belay-dev/belay/state"
)

// bench is one controller over a store in memory that notes each call of Reconcile.
type bench struct {
	t     *testing.T
	store *state.Store
	start time.Time
	log   bytes.Buffer

	mu    sync.Mutex
	calls []string // "NAME +time since the start"
}

func newBench(t *testing.T, historySize int) *bench {
	t.Helper()
	store, err := state.OpenMemory(state.Options{Now: time.Now, HistorySize: historySize})
	if err != nil {
		t.Fatal(err)
	}
	return &bench{t: t, store: store, start: time.Now()}
}

func (b *bench) config(reconcile Reconcile) Config {
	return Config{
		Name: "test", Kinds: []state.Kind{state.KindConfigMap},
		Keys: func(e state.Event) []state.Key { return []state.Key{e.Key()} },
		Resync: func(store *state.Store) (keys []state.Key) {
			for _, o := range store.List(state.KindConfigMap, "") {
				keys = append(keys, state.KeyOf(o))
			}
			return keys
		},
		Reconcile: func(ctx context.Context, key state.Key, now time.Time) (time.Time, error) {
			b.mu.Lock()
			b.calls = append(b.calls, fmt.Sprintf("%s +%v", key.Name, now.Sub(b.start)))
			b.mu.Unlock()
			return reconcile(ctx, key, now)
		},
		Log: zerolog.New(&b.log),
	}
}

// run starts the controller and ends it with the test, which fails unless Run returned nil then.
func (b *bench) run(config Config) {
	b.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- Run(ctx, b.store, config) }()
	b.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			b.t.Errorf("run: %v", err)
		}
	})
	synctest.Wait()
}

func (b *bench) create(names ...string) {
	b.t.Helper()
	for _, name := range names {
		if _, err := b.store.Commit(state.Create(configMap(name))); err != nil {
			b.t.Fatal(err)
		}
	}
	synctest.Wait()
}

func (b *bench) expect(want ...string) {
	b.t.Helper()
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	got := slices.Clone(b.calls)
	b.calls = nil
	if diff := cmp.Diff(want, got); diff != "" {
		b.t.Errorf("calls (-want +got):\n%s", diff)
	}
}

// wait lets the time of the bubble pass.
func wait(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func configMap(name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
}

func TestListsThenWatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 0)
		b.create("a", "b")
		b.run(b.config(func(context.Context, state.Key, time.Time) (time.Time, error) { return time.Time{}, nil }))
		b.expect("a +0s", "b +0s")
		wait(time.Minute)
		b.expect()
		b.create("c")
		b.expect("c +1m0s")
		if _, err := b.store.Commit(state.Delete(state.Key{Kind: state.KindConfigMap, Namespace: "default", Name: "a"}, state.DeleteOptions{})); err != nil {
			t.Fatal(err)
		}
		b.expect("a +1m0s")
	})
}

func TestWakesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 0)
		b.create("a")
		n := 0
		b.run(b.config(func(_ context.Context, _ state.Key, now time.Time) (time.Time, error) {
			n++
			switch n {
			case 1:
				return now.Add(90 * time.Minute), nil
			case 2:
				return now, nil // at once
			}
			return time.Time{}, nil
		}))
		b.expect("a +0s")
		wait(90*time.Minute - 1)
		b.expect()
		wait(1)
		b.expect("a +1h30m0s", "a +1h30m0s")
		wait(24 * time.Hour)
		b.expect()
	})
}

func TestRetriesWithBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 0)
		b.create("a")
		n := 0
		b.run(b.config(func(context.Context, state.Key, time.Time) (time.Time, error) {
			if n++; n <= 5 {
				return time.Time{}, errors.New("disk is full")
			}
			return time.Time{}, nil
		}))
		wait(time.Hour)
		b.expect("a +0s", "a +5ms", "a +15ms", "a +35ms", "a +75ms", "a +155ms")
		// The 1st, 2nd and 4th failure and the recovery.
		want := []string{
			`{"level":"warn","controller":"test","key":"ConfigMap default/a","attempt":1,"error":"disk is full","message":"reconcile failed"}`,
			`{"level":"warn","controller":"test","key":"ConfigMap default/a","attempt":2,"error":"disk is full","message":"reconcile failed"}`,
			`{"level":"warn","controller":"test","key":"ConfigMap default/a","attempt":4,"error":"disk is full","message":"reconcile failed"}`,
			`{"level":"info","controller":"test","key":"ConfigMap default/a","attempt":6,"message":"reconciled again"}`,
		}
		if diff := cmp.Diff(want, strings.Split(strings.TrimSpace(b.log.String()), "\n")); diff != "" {
			t.Errorf("log (-want +got):\n%s", diff)
		}
	})
}

// TestSuccessEndsTheBackOff has a key fail, work, and fail again.
func TestSuccessEndsTheBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 0)
		b.create("a")
		n := 0
		b.run(b.config(func(_ context.Context, _ state.Key, now time.Time) (time.Time, error) {
			n++
			switch n {
			case 3:
				return now.Add(time.Minute), nil
			case 5:
				return time.Time{}, nil
			}
			return time.Time{}, errors.New("no")
		}))
		wait(time.Hour)
		b.expect("a +0s", "a +5ms", "a +15ms", "a +1m0.015s", "a +1m0.02s")
	})
}

func TestGivesUpUntilTheNextChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 0)
		b.create("a")
		config := b.config(func(context.Context, state.Key, time.Time) (time.Time, error) {
			return time.Time{}, errors.New("no")
		})
		config.MaxRetries = 2
		b.run(config)
		wait(24 * time.Hour)
		b.expect("a +0s", "a +5ms", "a +15ms")
		changed := configMap("a")
		changed.Data = map[string]string{"k": "v"}
		if _, err := b.store.Commit(state.Update(changed)); err != nil {
			t.Fatal(err)
		}
		wait(24 * time.Hour)
		b.expect("a +24h0m0s", "a +24h0m0.005s", "a +24h0m0.015s")
	})
}

func TestErrorKinds(t *testing.T) {
	resource := schema.GroupResource{Resource: "configmaps"}
	terminating := apierrors.NewForbidden(resource, "a", errors.New("going"))
	terminating.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}
	cases := []struct {
		name  string
		fails int // calls that fail
		err   error
		want  []string
	}{
		{"a conflict is retried at once", 2, apierrors.NewConflict(resource, "a", errors.New("modified")),
			[]string{"a +0s", "a +0s", "a +0s"}},
		{"a wrapped conflict too", 1, fmt.Errorf("write: %w", apierrors.NewConflict(resource, "a", errors.New("modified"))),
			[]string{"a +0s", "a +0s"}},
		{"endless conflicts back off", 11, apierrors.NewConflict(resource, "a", errors.New("modified")),
			append(slices.Repeat([]string{"a +0s"}, 10), "a +5ms", "a +5ms")},
		{"a namespace that goes is left alone", 1, fmt.Errorf("create: %w", terminating), []string{"a +0s"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, 0)
				b.create("a")
				n := 0
				b.run(b.config(func(context.Context, state.Key, time.Time) (time.Time, error) {
					if n++; n <= c.fails {
						return time.Time{}, c.err
					}
					return time.Time{}, nil
				}))
				wait(time.Hour)
				b.expect(c.want...)
			})
		})
	}
}

// TestFallenBehind has so much change while one event is looked at that the watch loses some of it.
func TestFallenBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 4)
		config := b.config(func(context.Context, state.Key, time.Time) (time.Time, error) { return time.Time{}, nil })
		keys := config.Keys
		var once sync.Once
		config.Keys = func(e state.Event) []state.Key {
			once.Do(func() {
				for _, name := range []string{"b", "c", "d", "e", "f", "g"} {
					if _, err := b.store.Commit(state.Create(configMap(name))); err != nil {
						t.Error(err)
					}
				}
			})
			return keys(e)
		}
		b.run(config)
		b.create("a")
		synctest.Wait()
		seen := map[string]bool{}
		for _, call := range b.calls {
			seen[call] = true
		}
		for _, name := range []string{"a", "b", "c", "d", "e", "f", "g"} {
			if !seen[name+" +0s"] {
				t.Errorf("%s was never looked at: %v", name, b.calls)
			}
		}
	})
}

func TestOneKeyAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 0)
		var running, most, wrong atomic.Int32
		var mu sync.Mutex
		busy := map[state.Key]bool{}
		config := b.config(func(ctx context.Context, key state.Key, _ time.Time) (time.Time, error) {
			mu.Lock()
			if busy[key] {
				wrong.Add(1)
			}
			busy[key] = true
			mu.Unlock()
			most.Store(max(most.Load(), running.Add(1)))
			<-time.After(time.Second)
			running.Add(-1)
			mu.Lock()
			busy[key] = false
			mu.Unlock()
			return time.Time{}, nil
		})
		config.Workers = 3
		b.run(config)
		for i := range 5 {
			for _, name := range []string{"a", "b"} {
				o := configMap(name)
				o.Data = map[string]string{"i": fmt.Sprint(i)}
				write := state.Update(o)
				if i == 0 {
					write = state.Create(o)
				}
				if _, err := b.store.Commit(write); err != nil {
					t.Fatal(err)
				}
			}
			wait(300 * time.Millisecond)
		}
		wait(time.Minute)
		if wrong.Load() > 0 || most.Load() != 2 {
			t.Errorf("a key was reconciled twice at the same time %d times; %d keys side by side, want 2", wrong.Load(), most.Load())
		}
	})
}

func TestStopWaitsForWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 0)
		b.create("a", "b")
		ctx, cancel := context.WithCancel(t.Context())
		finished := 0
		done := make(chan error)
		go func() {
			done <- Run(ctx, b.store, b.config(func(ctx context.Context, _ state.Key, _ time.Time) (time.Time, error) {
				<-ctx.Done()
				<-time.After(time.Minute)
				finished++
				return time.Time{}, ctx.Err()
			}))
		}()
		synctest.Wait()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
		// What had not begun does not begin any more.
		if finished != 1 {
			t.Errorf("%d calls had returned, want 1", finished)
		}
		if b.log.Len() > 0 {
			t.Errorf("log: %s", b.log.String())
		}
	})
}

func TestStoreCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 0)
		done := make(chan error)
		go func() {
			done <- Run(t.Context(), b.store, b.config(func(context.Context, state.Key, time.Time) (time.Time, error) {
				return time.Time{}, nil
			}))
		}()
		synctest.Wait()
		if err := b.store.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-done; !errors.Is(err, state.ErrClosed) {
			t.Errorf("run: %v, want that the state is closed", err)
		}
	})
}

func TestBesideAsksForLooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 0)
		config := b.config(func(context.Context, state.Key, time.Time) (time.Time, error) { return time.Time{}, nil })
		ended := false
		config.Beside = func(ctx context.Context, look func(...state.Key)) {
			<-time.After(time.Minute)
			look(state.Key{Kind: state.KindConfigMap, Namespace: "default", Name: "a"})
			<-ctx.Done()
			ended = true
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- Run(ctx, b.store, config) }()
		wait(time.Minute)
		b.expect("a +1m0s")
		cancel()
		if err := <-done; err != nil || !ended {
			t.Errorf("run: %v; what ran beside has ended: %v", err, ended)
		}
	})
}
