package state

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	corev1 "k8s.io/api/core/v1"
)

func watch(t testing.TB, s *Store, after int64, kinds ...Kind) *Watch {
	t.Helper()
	w, err := s.Watch(after, kinds...)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func next(t testing.TB, w *Watch) []Event {
	t.Helper()
	events, err := w.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return events
}

func tell(events []Event) string {
	var lines []string
	for _, e := range events {
		lines = append(lines, fmt.Sprintf("%d %s %s", e.Version, e.Type, e.Key()))
	}
	return strings.Join(lines, "\n")
}

func TestWatch(t *testing.T) {
	t.Parallel()
	s := open(t)
	w := watch(t, s, 0)
	pods := watch(t, s, s.Version(), KindPod, KindSecret)
	a := stored[*corev1.ConfigMap](t, s, Create(configMap("a", "1")))
	commit(t, s, Create(pod("web", nil)), Update(configMap("a", "2")), PutCursor(Cursor{Source: "shop"}))
	commit(t, s, PutCursor(Cursor{Source: "shop", Step: 1}))
	commit(t, s, Delete(KeyOf(a), DeleteOptions{}), Delete(podKey("web"), DeleteOptions{}))

	events := next(t, w)
	want := `1 ADDED Namespace default
2 ADDED ConfigMap default/a
3 ADDED Pod default/web
4 MODIFIED ConfigMap default/a
6 DELETED ConfigMap default/a
7 MODIFIED Pod default/web`
	if got := tell(events); got != want {
		t.Fatalf("got:\n%s\nwant:\n%s", got, want)
	}
	for _, e := range events {
		if fmt.Sprint(e.Version) != e.Object.GetResourceVersion() || (e.Old == nil) != (e.Type == Added) {
			t.Errorf("%+v", e)
		}
	}
	if last := events[4]; last.Object.(*corev1.ConfigMap).Data["value"] != "2" || last.Old.GetResourceVersion() != "4" {
		t.Errorf("deleted: %+v", last)
	}
	if got := tell(next(t, pods)); got != "3 ADDED Pod default/web\n7 MODIFIED Pod default/web" {
		t.Errorf("pods:\n%s", got)
	}
	if got := tell(next(t, watch(t, s, 3))); !strings.HasPrefix(got, "4 MODIFIED") {
		t.Errorf("from the middle of a transaction:\n%s", got)
	}
}

func TestWatchWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := open(t)
		w := watch(t, s, s.Version(), KindPod)
		var got []Event
		var err error
		done := make(chan struct{})
		go func() {
			defer close(done)
			got, err = w.Next(t.Context())
		}()
		waits := func() {
			t.Helper()
			synctest.Wait()
			select {
			case <-done:
				t.Fatalf("did not wait: %v %v", got, err)
			default:
			}
		}
		waits()
		commit(t, s, Create(configMap("a", "1")), PutCursor(Cursor{Source: "shop"}))
		waits()
		commit(t, s, Create(pod("web", nil)))
		<-done
		if err != nil || tell(got) != "3 ADDED Pod default/web" {
			t.Errorf("got %v %v", tell(got), err)
		}
		if len(s.waiters.list) != 0 {
			t.Errorf("%d waiters are left", len(s.waiters.list))
		}
	})
}

func TestWatchEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := open(t)
		ctx, cancel := context.WithCancel(t.Context())
		w := watch(t, s, s.Version(), KindPod)
		results := make(chan error, 3)
		go func() { _, err := w.Next(ctx); results <- err }()
		go func() { _, err := s.WaitChange(ctx, 99); results <- err }()
		synctest.Wait()
		cancel()
		for range 2 {
			if err := <-results; !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
		}
		if len(s.waiters.list) != 0 {
			t.Errorf("%d waiters are left", len(s.waiters.list))
		}
		go func() { _, err := w.Next(t.Context()); results <- err }()
		go func() { _, err := watch(t, s, s.Version(), "Node").Next(t.Context()); results <- err }()
		go func() { _, err := s.WaitChange(t.Context(), s.Version()); results <- err }()
		synctest.Wait()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if err := <-results; !errors.Is(err, ErrClosed) {
				t.Errorf("got %v", err)
			}
		}
	})
}

func TestWaitChange(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := open(t)
		if v, err := s.WaitChange(t.Context(), 0); v != 1 || err != nil {
			t.Errorf("got %d %v", v, err)
		}
		got := make(chan int64)
		go func() {
			v, err := s.WaitChange(t.Context(), 2)
			if err != nil {
				t.Error(err)
			}
			got <- v
		}()
		synctest.Wait()
		commit(t, s, PutCursor(Cursor{Source: "shop", Step: 1})) // 2
		synctest.Wait()
		commit(t, s, PutCursor(Cursor{Source: "shop", Step: 2})) // 3: the ledger counts too
		if v := <-got; v != 3 {
			t.Errorf("got %d", v)
		}
	})
}

func TestHistoryIsLimited(t *testing.T) {
	t.Parallel()
	options := testOptions()
	options.HistorySize = 4
	s := openWith(t, options)
	slow, slowPods := watch(t, s, 0), watch(t, s, 0, KindPod)
	commit(t, s, Create(pod("web", nil))) // 2
	for i := range 3 {
		commit(t, s, Create(configMap(fmt.Sprint(i), "1"))) // 3, 4, 5
	}
	// The namespace at 1 is lost, the pod at 2 is not.
	if _, err := slow.Next(t.Context()); !errors.Is(err, ErrExpired) {
		t.Errorf("slow: %v", err)
	}
	if got := tell(next(t, slowPods)); got != "2 ADDED Pod default/web" {
		t.Errorf("slow pods: %s", got)
	}
	if _, err := s.Watch(0); !errors.Is(err, ErrExpired) {
		t.Errorf("from the start: %v", err)
	}
	if got := tell(next(t, watch(t, s, 1))); !strings.HasPrefix(got, "2 ADDED") {
		t.Errorf("from 1: %s", got)
	}
	for i := range 10 {
		commit(t, s, Update(configMap("0", fmt.Sprint("new", i))))
	}
	// What other kinds lose does not expire a watch that lost nothing.
	if _, err := s.Watch(2, KindPod); err != nil {
		t.Errorf("pods after 2: %v", err)
	}
	if _, err := s.Watch(1, KindPod); !errors.Is(err, ErrExpired) {
		t.Errorf("pods after 1: %v", err)
	}
	commit(t, s, Create(pod("web-2", nil)))
	if got := tell(next(t, slowPods)); got != "16 ADDED Pod default/web-2" {
		t.Errorf("slow pods: %s", got)
	}
	if _, err := slow.Next(t.Context()); !errors.Is(err, ErrExpired) {
		t.Errorf("slow, again: %v", err)
	}
}

// Every watcher sees every version of an object in its order, whatever the writers do at the same time.
func TestConcurrentWritersAndWatchers(t *testing.T) {
	t.Parallel()
	const writers, rounds, watchers = 4, 50, 4
	s := open(t)
	var all sync.WaitGroup
	for range watchers {
		w := watch(t, s, s.Version())
		all.Go(func() {
			seen, last := 0, int64(0)
			value := map[string]string{}
			for seen < writers*(rounds+1) {
				events, err := w.Next(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				for _, e := range events {
					c := e.Object.(*corev1.ConfigMap)
					if e.Version <= last {
						t.Errorf("version %d after %d", e.Version, last)
					}
					if e.Old != nil && e.Old.(*corev1.ConfigMap).Data["value"] != value[c.Name] {
						t.Errorf("%s: from %s, was %s", c.Name, e.Old.(*corev1.ConfigMap).Data["value"], value[c.Name])
					}
					last, value[c.Name] = e.Version, c.Data["value"]
					seen++
				}
			}
		})
	}
	for n := range writers {
		all.Go(func() {
			name := fmt.Sprint("c", n)
			if _, err := s.Commit(Create(configMap(name, "0"))); err != nil {
				t.Error(err)
			}
			for i := range rounds {
				if _, err := s.Commit(Update(configMap(name, fmt.Sprint(i+1))), PutRow(testRow(name, name, i%2 == 0))); err != nil {
					t.Error(err)
				}
				s.List(KindConfigMap, "")
				s.OpenRows()
			}
		})
	}
	all.Wait()
}

// Of those who read a version and write what follows from it, one wins.
func TestCompareAndSet(t *testing.T) {
	t.Parallel()
	s := open(t)
	commit(t, s, Create(configMap("n", "")))
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for done := 0; done < 25; {
				c, _ := Get[*corev1.ConfigMap](s, "default", "n")
				if _, err := s.Commit(Update(change(c, func(c *corev1.ConfigMap) { c.Data["value"] += "x" }))); err == nil {
					done++
				}
			}
		})
	}
	all.Wait()
	if c, _ := Get[*corev1.ConfigMap](s, "default", "n"); len(c.Data["value"]) != 100 {
		t.Errorf("%d of 100 writes", len(c.Data["value"]))
	}
}
