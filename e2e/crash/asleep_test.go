package crash

import (
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/belay-dev/belay/cmd/belay/app"
	"github.com/belay-dev/belay/cmd/belay/control"
	"github.com/belay-dev/belay/reconciler/node/simulated"
	"github.com/belay-dev/belay/reconciler/rollback"
	"github.com/belay-dev/belay/state"
)

// TestAsleepMidway: a machine that is suspended for an hour in the middle of a rollout ends the rollout when it wakes, and goes
// back from nothing: nobody watched while the deadline passed.
func TestAsleepMidway(t *testing.T) {
	t.Parallel()
	repo := newRepository(t)
	repo.push(t, "asleep", "first")
	var slept atomic.Int64
	now := func() time.Time { return time.Now().Add(time.Duration(slept.Load())) }
	runner := &outliving{PodRunner: simulated.New(simulated.Options{Delay: time.Millisecond})}
	in := serveInside(t, repo, "asleep", filepath.Join(t.TempDir(), "data"), app.Seams{Now: now, Runner: runner}, func(s *app.SourceConfig) {
		s.Apps[0].OnFailure = rollback.FailureHold
	})
	in.sync("first")
	open := runner.stay()
	defer open()
	repo.push(t, "asleep", "second")
	if _, err := in.Sync(t.Context(), control.SyncRequest{}, func(control.Row) {}); err != nil {
		t.Fatal(err)
	}
	last := func() control.Row {
		rows, err := in.History(t.Context(), control.HistoryQuery{Name: "web"})
		if err != nil || len(rows) == 0 {
			t.Fatalf("%v, %v", rows, err)
		}
		return rows[len(rows)-1]
	}
	eventually(t, "the rollout is on its way", func() bool { r := last(); return r.Revision == 2 && r.Outcome == "Progressing" })
	slept.Store(int64(time.Hour))
	open()
	eventually(t, "the rollout is complete", func() bool { r := last(); return r.Revision == 2 && r.Outcome == "Complete" })
	in.sync("second")
	if holds, err := in.Holds(t.Context()); err != nil || len(holds.Holds) > 0 {
		t.Errorf("%+v, %v", holds, err)
	}
	if r := last(); r.Revision != 2 || repo.name(r.Commit) != "second" {
		t.Errorf("the last row is %+v", r)
	}
}

// TestTenThousandEvents: with 10,000 Events a service starts, answers and rolls out as without, and has them all afterwards.
func TestTenThousandEvents(t *testing.T) {
	t.Parallel()
	const many = 10_000
	repo := newRepository(t)
	dir := filepath.Join(t.TempDir(), "data")
	repo.push(t, "events", "first")
	in := serveInside(t, repo, "events", dir, app.Seams{})
	in.sync("first")
	in.stop()
	events := func(add int) (n int) {
		t.Helper()
		store, err := state.Open(dir, state.Options{Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		var ws []state.Write
		for i := range add {
			ws = append(ws, state.Create(&corev1.Event{
				ObjectMeta:     metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("web.%d", i)},
				InvolvedObject: corev1.ObjectReference{Kind: "Deployment", Namespace: "default", Name: "web"},
				Reason:         "Told", Message: fmt.Sprint("event ", i), Count: 1, LastTimestamp: metav1.Now(),
			}))
		}
		if add > 0 {
			if _, err := store.Commit(ws...); err != nil {
				t.Error(err)
			}
		}
		for _, e := range state.List[*corev1.Event](store, "default") {
			if e.Reason == "Told" {
				n++
			}
		}
		if err := store.Close(); err != nil {
			t.Error(err)
		}
		return n
	}
	events(many)
	in = serveInside(t, repo, "events", dir, app.Seams{})
	repo.push(t, "events", "second")
	in.sync("second")
	for _, d := range in.status().Deployments {
		if d.Health != control.Healthy {
			t.Errorf("%+v", d)
		}
	}
	in.stop()
	if n := events(0); n != many {
		t.Errorf("%d of %d events are left", n, many)
	}
}
