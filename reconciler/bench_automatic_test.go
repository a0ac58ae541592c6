package reconciler_test

import (
	"bytes"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/tools/txtar"
	appsv1 "k8s.io/api/apps/v1"

	"github.com/belay-dev/belay/manifests"
	"github.com/belay-dev/belay/reconciler"
	"github.com/belay-dev/belay/reconciler/ledger"
	"github.com/belay-dev/belay/reconciler/rollback"
	"github.com/belay-dev/belay/state"
)

// ahead is a clock that can be set forward.
type ahead struct{ by atomic.Int64 }

func (a *ahead) Now() time.Time          { return time.Now().Add(time.Duration(a.by.Load())) }
func (a *ahead) forward(d time.Duration) { a.by.Add(int64(d)) }

// benchAutomatic has one after the other of 1,000 Deployments pass its progress deadline: from the moment at which it is due
// to be decided on, half a minute later by a clock that is set forward, to the hold on disk. A look at Git, which finds
// nothing, has the loop see what time it is, and is counted with it.
func benchAutomatic(b *testing.B) {
	const deployed, rolled = 1000, 100
	a := &txtar.Archive{}
	for i := range deployed {
		a.Files = append(a.Files, deployments(map[string]string{"c1": goodImage}, fmt.Sprintf("d%04d", i)).Files...)
	}
	for b.Loop() {
		b.StopTimer()
		w := newBenchWorld(b, a, rollback.FailureHold)
		w.commit(b, "c1", deployed)
		probe, millisecond := fsyncs(b), workOf(time.Millisecond)
		var durable, disk, work []time.Duration
		for i := range rolled {
			w.rest(b)
			w.clock.forward(rollback.Together)
			w.fails(b, fmt.Sprintf("d%04d", i), i)
			begun := time.Now()
			w.clock.forward(rollback.Patience)
			b.StartTimer()
			if err := w.loop.Sync(b.Context(), "shop", reconciler.SyncOptions{}); err != nil {
				b.Fatal(err)
			}
			w.await(b, func() bool {
				_, held := w.store.Hold("default", fmt.Sprintf("d%04d", i))
				return held
			})
			if err := w.store.WaitDurable(b.Context(), w.store.Version()); err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			durable, disk = append(durable, time.Since(begun)), append(disk, probe())
			begun = time.Now()
			millisecond()
			work = append(work, time.Since(begun))
		}
		unit := percentile(disk, 50)
		for what, took := range map[string][]time.Duration{"hold": durable, "fsync": disk, "work": work} {
			report(b, what, took, unit)
		}
		w.stop()
		b.StartTimer()
	}
}

// fails has a commit change the image of one Deployment to one that cannot be pulled, and the deadline of its rollout pass.
func (w *benchWorld) fails(b *testing.B, name string, n int) {
	i := slices.IndexFunc(w.files["c1"], func(f txtar.File) bool { return f.Name == name+".yaml" })
	f := &w.files["c1"][i]
	f.Data = bytes.ReplaceAll(f.Data, []byte(goodImage), []byte(missingImage))
	fsys, err := txtar.FS(&txtar.Archive{Files: w.files["c1"]})
	if err != nil {
		b.Fatal(err)
	}
	commit := fmt.Sprintf("bad%04d", n)
	w.repo.trees[commit] = manifests.DirTree(fsys)
	w.repo.steps = append(w.repo.steps, reconciler.Step{Kind: reconciler.StepLinear, Hash: commit, Subject: commit, Cause: commit})
	if err := w.loop.Sync(b.Context(), "shop", reconciler.SyncOptions{}); err != nil {
		b.Fatal(err)
	}
	newest := func() state.Row {
		rows := w.store.Rows("default", name)
		return rows[len(rows)-1]
	}
	w.await(b, func() bool { // its pod is there: no progress is to come
		d, _ := state.Get[*appsv1.Deployment](w.store, "default", name)
		return newest().ReplicaSet != "" && d.Status.UpdatedReplicas == 1 && d.Status.UnavailableReplicas == 1
	})
	w.clock.forward(time.Hour) // beyond the deadline; the controller looks when something changes
	rs, _ := state.Get[*appsv1.ReplicaSet](w.store, "default", newest().ReplicaSet)
	rs = rs.DeepCopy()
	rs.ResourceVersion = ""
	rs.Annotations["bench"] = commit
	if _, err := w.store.Commit(state.Update(rs)); err != nil {
		b.Fatal(err)
	}
	w.await(b, func() bool { return newest().Outcome == ledger.Failed })
}

// await waits until something is so.
func (w *benchWorld) await(b *testing.B, so func() bool) {
	for version := w.store.Version(); !so(); version = w.store.Version() {
		if _, err := w.store.WaitChange(b.Context(), version); err != nil {
			b.Fatal(err)
		}
	}
}
