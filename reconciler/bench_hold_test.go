package reconciler_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/tools/txtar"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/belay-dev/belay/manifests"
	"github.com/belay-dev/belay/reconciler"
	"github.com/belay-dev/belay/reconciler/controller"
	"github.com/belay-dev/belay/reconciler/embedded"
	"github.com/belay-dev/belay/reconciler/event"
	"github.com/belay-dev/belay/reconciler/garbage"
	"github.com/belay-dev/belay/reconciler/node"
	"github.com/belay-dev/belay/reconciler/node/simulated"
	"github.com/belay-dev/belay/reconciler/replicaset"
	"github.com/belay-dev/belay/reconciler/rollback"
	"github.com/belay-dev/belay/reconciler/rollout"
	"github.com/belay-dev/belay/state"
)

// given notes when pods are given to the driver.
type given struct {
	*simulated.Runner
	mu   sync.Mutex
	seen map[string]chan struct{} // by Deployment; closed at the first pod of the image that is waited for
}

const goodImage, missingImage = "web:1", "web:missing"

func (g *given) Sync(ctx context.Context, p *corev1.Pod, now time.Time) (node.Report, error) {
	if p.Spec.Containers[0].Image == goodImage {
		g.mu.Lock()
		if c := g.seen[p.Labels["app"]]; c != nil {
			close(c)
			delete(g.seen, p.Labels["app"])
		}
		g.mu.Unlock()
	}
	return g.Runner.Sync(ctx, p, now)
}

// wait is closed at the next pod of a Deployment with the good image.
func (g *given) wait(name string) <-chan struct{} {
	c := make(chan struct{})
	g.mu.Lock()
	defer g.mu.Unlock()
	g.seen[name] = c
	return c
}

// BenchmarkRollback goes back with many of 1,000 Deployments, from the wish to the hold on disk, and to the first pod of the
// old revision in the hands of the driver: each alone, when the one before has rolled out, and each behind the rollouts of
// those before; pinned, alone; and by itself. The units are an fsync and a millisecond's work of one core, both of this
// machine while this runs.
func BenchmarkRollback(b *testing.B) {
	back := func(ctx context.Context, l *reconciler.Loop, name string) error {
		_, err := l.Rollback(ctx, rollback.Request{Namespace: "default", Name: name, By: "alice", ToRevision: 1, Mode: rollback.ModeHold})
		return err
	}
	b.Run("alone", func(b *testing.B) { benchRollback(b, true, back) })
	b.Run("behind", func(b *testing.B) { benchRollback(b, false, back) })
	b.Run("pin", func(b *testing.B) {
		benchRollback(b, true, func(ctx context.Context, l *reconciler.Loop, name string) error {
			_, err := l.Pin(ctx, rollback.PinRequest{Namespace: "default", Name: name, By: "alice", Why: "bench", ToRevision: 1})
			return err
		})
	})
	b.Run("automatic", benchAutomatic)
}

func benchRollback(b *testing.B, alone bool, back func(ctx context.Context, l *reconciler.Loop, name string) error) {
	const deployed, rolled = 1000, 300
	a := &txtar.Archive{}
	for i := range deployed {
		name := fmt.Sprintf("d%04d", i)
		for _, image := range []string{goodImage, "web:2"} {
			a.Files = append(a.Files, deployments(map[string]string{"c" + image[4:]: image}, name).Files...)
		}
	}
	for b.Loop() {
		b.StopTimer()
		w := newBenchWorld(b, a, rollback.FailureNone)
		w.commit(b, "c1", deployed)
		w.commit(b, "c2", deployed)
		probe := fsyncs(b)
		var durable, pod, disk, work []time.Duration
		millisecond := workOf(time.Millisecond)
		b.StartTimer()
		for i := range rolled {
			name := fmt.Sprintf("d%04d", i)
			first := w.given.wait(name)
			begun := time.Now()
			if err := back(b.Context(), w.loop, name); err != nil {
				b.Fatal(err)
			}
			durable = append(durable, time.Since(begun))
			<-first
			pod = append(pod, time.Since(begun))
			if alone {
				w.rest(b)
			}
			disk = append(disk, probe())
			begun = time.Now()
			millisecond()
			work = append(work, time.Since(begun))
		}
		b.StopTimer()
		unit := percentile(disk, 50)
		for what, took := range map[string][]time.Duration{"hold": durable, "pod": pod, "fsync": disk, "work": work} {
			report(b, what, took, unit)
		}
		w.stop()
		b.StartTimer()
	}
}

// workOf is some work that takes one core so long when nobody else has it: found out as the least of many tries.
func workOf(d time.Duration) func() {
	sum := func(n int) {
		h := sha256.New()
		for range n {
			h.Write(make([]byte, 64))
		}
		h.Sum(nil)
	}
	const probe = 1000
	least := time.Hour
	for range 200 {
		begun := time.Now()
		sum(probe)
		least = min(least, time.Since(begun))
	}
	return func() { sum(int(probe * d / least)) }
}

// rest waits until nothing rolls out any more, and all of it is durable.
func (w *benchWorld) rest(b *testing.B) {
	w.await(b, func() bool { return len(w.store.OpenRows()) == 0 })
	if err := w.store.WaitDurable(b.Context(), w.store.Version()); err != nil {
		b.Fatal(err)
	}
}

// percentile is the time within which that part of all was done.
func percentile(took []time.Duration, p int) time.Duration {
	return slices.Sorted(slices.Values(took))[(len(took)-1)*p/100]
}

// report gives times in milliseconds, and as multiples of what the machine takes for an fsync in the middle.
func report(b *testing.B, what string, took []time.Duration, unit time.Duration) {
	for _, p := range []int{50, 95, 99} {
		at := percentile(took, p)
		b.ReportMetric(float64(at.Microseconds())/1000, fmt.Sprintf("%s-p%d-ms", what, p))
		b.ReportMetric(float64(at)/float64(unit), fmt.Sprintf("%s-p%d/fsync", what, p))
	}
}

// benchWorld is a loop and what runs below it, over a store on disk, in real time.
type benchWorld struct {
	files map[string][]txtar.File
	repo  *fakeRepository
	store *state.Store
	loop  *reconciler.Loop
	given *given
	clock *ahead
	stop  func()
}

func newBenchWorld(b *testing.B, a *txtar.Archive, onFailure rollback.OnFailure) *benchWorld {
	w := &benchWorld{clock: &ahead{}, files: map[string][]txtar.File{}, repo: &fakeRepository{trees: map[string]manifests.Tree{}}}
	for _, f := range a.Files {
		w.files[f.Name[:2]] = append(w.files[f.Name[:2]], txtar.File{Name: f.Name[3:], Data: f.Data})
	}
	store, err := state.Open(b.TempDir(), state.Options{Now: w.clock.Now})
	if err != nil {
		b.Fatal(err)
	}
	w.store = store
	w.given = &given{Runner: simulated.New(simulated.Options{
		Delay: time.Millisecond, Images: map[string]simulated.Behaviour{missingImage: simulated.Missing},
	}), seen: map[string]chan struct{}{}}
	log := zerolog.Nop()
	recorder := event.NewRecorder(store, "test", w.clock.Now)
	w.loop = reconciler.New(reconciler.Options{
		Store: store, Engine: embedded.New(store, nil), Now: w.clock.Now, Log: log, Recorder: recorder,
		Sources: []reconciler.Source{{
			Name: "shop", Branch: "main", Repository: w.repo, Trigger: never{}, Apps: []reconciler.App{{Name: "shop", Prune: true, OnFailure: onFailure}},
			Cache: manifests.NewCache([]manifests.App{{Source: "shop", Name: "shop", Namespace: "default"}}, manifests.Options{}),
		}},
	})
	ctx, cancel := context.WithCancel(b.Context())
	var running sync.WaitGroup
	for _, c := range []controller.Config{
		rollout.New(store, recorder, log, w.clock.Now), replicaset.New(store, recorder, log, w.clock.Now),
		garbage.New(store, log, w.clock.Now), node.New(store, w.given, log, w.clock.Now),
	} {
		running.Go(func() {
			if err := controller.Run(ctx, store, c); err != nil {
				b.Error(err)
			}
		})
	}
	running.Go(func() {
		if err := w.loop.Run(ctx); err != nil {
			b.Error(err)
		}
	})
	w.stop = func() {
		cancel()
		running.Wait()
		if err := store.Close(); err != nil {
			b.Error(err)
		}
	}
	return w
}

// commit makes a commit the head and waits until all of it is rolled out.
func (w *benchWorld) commit(b *testing.B, commit string, deployed int) {
	fsys, err := txtar.FS(&txtar.Archive{Files: w.files[commit]})
	if err != nil {
		b.Fatal(err)
	}
	w.repo.trees[commit] = manifests.DirTree(fsys)
	w.repo.steps = append(w.repo.steps, reconciler.Step{Kind: reconciler.StepLinear, Hash: commit, Subject: commit, Cause: commit})
	if err := w.loop.Sync(b.Context(), "shop", reconciler.SyncOptions{}); err != nil {
		b.Fatal(err)
	}
	w.await(b, func() bool {
		complete := 0
		for _, d := range state.List[*appsv1.Deployment](w.store, "default") {
			if d.Status.UpdatedReplicas == *d.Spec.Replicas && d.Status.AvailableReplicas == *d.Spec.Replicas && d.Status.Replicas == *d.Spec.Replicas &&
				d.Annotations["belay.dev/commit"] == commit {
				complete++
			}
		}
		return complete == deployed && len(w.store.OpenRows()) == 0
	})
}

// fsyncs gives what makes a page durable, and says how long it took.
func fsyncs(b *testing.B) func() time.Duration {
	f, err := os.Create(filepath.Join(b.TempDir(), "probe"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = f.Close() })
	return func() time.Duration {
		begun := time.Now()
		if _, err := f.WriteAt(make([]byte, 4096), 0); err != nil {
			b.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			b.Fatal(err)
		}
		return time.Since(begun)
	}
}
