package crash

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/belay-dev/belay/cmd/belay/app"
	"github.com/belay-dev/belay/cmd/belay/control"
	"github.com/belay-dev/belay/reconciler/node"
	"github.com/belay-dev/belay/reconciler/node/simulated"
)

// keep leaves what a service runs of a source on the machine, as an engine of containers does.
func (o *outliving) keep(in *inside, source string) {
	in.t.Helper()
	objects, err := in.Objects(in.t.Context(), control.ObjectQuery{Kind: "Pod"})
	if err != nil {
		in.t.Fatal(err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pods, o.calls = nil, nil
	for _, item := range objects.Items {
		var p corev1.Pod
		if err := json.Unmarshal(item, &p); err != nil {
			in.t.Fatal(err)
		}
		if p.DeletionTimestamp == nil {
			o.pods = append(o.pods, node.Found{
				Instance: o.instance, Source: source, Namespace: p.Namespace, Deployment: p.Labels["app"], Pod: p.Name, Images: []string{p.Spec.Containers[0].Image},
			})
		}
	}
}

// TestLostDirectoryWhileHeld: the data directory is lost while a Deployment is held, and with it the hold. What runs goes on
// running, and the bad image that Git still wants does not begin before a person says so.
func TestLostDirectoryWhileHeld(t *testing.T) {
	t.Parallel()
	repo := newRepository(t)
	runner := &outliving{PodRunner: simulated.New(simulated.Options{Delay: time.Millisecond})}
	dir := filepath.Join(t.TempDir(), "data")
	repo.push(t, "held", "first")
	in := serveInside(t, repo, "held", dir, app.Seams{Runner: runner})
	for _, commit := range []string{"first", "second"} {
		repo.push(t, "held", commit)
		if res, err := in.Sync(t.Context(), control.SyncRequest{Wait: true}, func(control.Row) {}); err != nil || !res.OK {
			t.Fatalf("sync of %s: %+v, %v", commit, res, err)
		}
	}
	back, err := in.Rollback(t.Context(), control.RollbackRequest{Name: "web", Mode: "hold", Why: "5xx"})
	if err != nil {
		t.Fatal(err)
	}
	if row, err := in.Follow(t.Context(), back.Row, func(control.Row) {}); err != nil || row.Outcome != "Complete" {
		t.Fatalf("its rollout: %+v, %v", row, err)
	}
	web := func(p node.Found) bool { return p.Deployment == "web" && slices.Equal(p.Images, []string{"web:1"}) }
	eventually(t, "the bad pods are gone", func() bool {
		runner.keep(in, repo.dir)
		return len(runner.pods) > 2 && !slices.ContainsFunc(runner.pods, func(p node.Found) bool { return p.Deployment == "web" && !web(p) })
	})
	in.stop()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	kept := len(runner.pods)

	in = serveInside(t, repo, "held", dir, app.Seams{Runner: runner})
	for range 2 { // looking at Git changes nothing
		if _, err := in.Sync(t.Context(), control.SyncRequest{}, func(control.Row) {}); err != nil {
			t.Fatal(err)
		}
	}
	var shown control.Deployment
	eventually(t, "what Git wants is shown", func() bool {
		all := in.status().Deployments
		i := slices.IndexFunc(all, func(d control.Deployment) bool { return d.Name == "web" && d.Wants != nil })
		if i >= 0 {
			shown = all[i]
		}
		return i >= 0
	})
	if s := in.status().Sources[0]; !s.Suspended || shown.Images[0] != "web:1" || shown.Replicas != 2 || shown.Wants.Images[0] != "web:2" || shown.Next != "belay resume shop" {
		t.Errorf("suspended %v, status: %+v, wants %+v", s.Suspended, shown, shown.Wants)
	}
	if _, err := in.Rollback(t.Context(), control.RollbackRequest{Name: "web"}); err == nil {
		t.Error("there is something to go back from")
	}
	if n := runner.called(""); n != 0 {
		t.Errorf("touched: %v", runner.calls)
	}

	if err := in.Suspend(t.Context(), "shop", false); err != nil {
		t.Fatal(err)
	}
	if res, err := in.Sync(t.Context(), control.SyncRequest{Wait: true}, func(control.Row) {}); err != nil || !res.OK || !res.Ended {
		t.Fatalf("sync: %+v, %v", res, err)
	}
	if n := runner.called("retire"); n != kept || runner.called("begin") == 0 {
		t.Errorf("after resume %d of %d pods retired: %v", n, kept, runner.calls)
	}
}
