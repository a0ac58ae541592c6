package manifests

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

func TestTurnLetsPeopleGoFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var q turn
		ctx := t.Context()
		if err := q.take(ctx, true); err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var order []string
		var wg sync.WaitGroup
		wait := func(name string, background bool) {
			wg.Add(1)
			go func() {
				defer wg.Done()
				if q.take(ctx, background) == nil {
					mu.Lock()
					order = append(order, name)
					mu.Unlock()
					q.give()
				}
			}()
			synctest.Wait()
		}
		wait("sync 1", true)
		wait("sync 2", true)
		wait("person 1", false)
		wait("person 2", false)
		cancelled, cancel := context.WithCancel(ctx)
		wg.Add(1)
		go func() {
			defer wg.Done()
			if err := q.take(cancelled, false); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
		}()
		synctest.Wait()
		cancel()
		synctest.Wait()
		q.give()
		wg.Wait()
		if got, want := strings.Join(order, ", "), "person 1, person 2, sync 1, sync 2"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if q.taken {
			t.Error("the turn was not given back")
		}
	})
}

func runOnce(t *testing.T, ctx context.Context, k *runner) (outcome, error) {
	t.Helper()
	v, err := newView(newMemTree(map[string]string{"a/kustomization.yaml": "resources: [c.yaml]\n", "a/c.yaml": configMap("c", "1")}), new(sync.Mutex))
	if err != nil {
		t.Fatal(err)
	}
	return renderKustomize(ctx, k, v, new(inspections), &decoder{app: oneApp[0], root: "a"}, true)
}

func TestStalledRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		stuck := true
		k := &runner{limit: 30 * time.Second, build: func(f filesys.FileSystem, root string) (resmap.ResMap, error) {
			if !stuck {
				return build(f, root)
			}
			_, _ = f.ReadFile("/a/kustomization.yaml")
			<-release
			_, err := f.ReadFile("/a/c.yaml")
			return nil, err
		}}
		for range maxGivenUp {
			start := time.Now()
			out, err := runOnce(t, t.Context(), k)
			if err != nil {
				t.Fatal(err)
			}
			if took := time.Since(start); took != 30*time.Second {
				t.Errorf("given up after %s", took)
			}
			p := out.problems[0]
			if p.Reason != RenderStalled || p.Root != "a" || !strings.Contains(p.Message, "last file a/kustomization.yaml") || out.retry {
				t.Errorf("got %+v", p)
			}
		}
		// No more are started while those go on.
		if out, _ := runOnce(t, t.Context(), k); !strings.Contains(out.problems[0].Message, "other runs are still going on") {
			t.Errorf("got %v", out.problems)
		}
		stuck = false
		close(release)
		synctest.Wait()
		if out, _ := runOnce(t, t.Context(), k); len(out.problems) > 0 || len(out.objects) != 1 {
			t.Errorf("after the stalled runs ended: %v", out.problems)
		}
	})
}

func TestPanickingRun(t *testing.T) {
	t.Parallel()
	k := &runner{limit: time.Minute, build: func(filesys.FileSystem, string) (resmap.ResMap, error) {
		panic("index out of range")
	}}
	for range 2 {
		out, err := runOnce(t, t.Context(), k)
		if err != nil || out.problems[0].Reason != RenderPanicked || !strings.Contains(out.problems[0].Message, "index out of range") {
			t.Errorf("got %v %v", err, out.problems)
		}
	}
}

func TestCancelledRun(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	k := &runner{limit: time.Minute, build: func(f filesys.FileSystem, root string) (resmap.ResMap, error) {
		cancel()
		for {
			if _, err := f.ReadFile("/a/c.yaml"); err != nil {
				return nil, err
			}
		}
	}}
	if _, err := runOnce(t, ctx, k); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
