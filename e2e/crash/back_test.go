package crash

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/belay-dev/belay/cmd/belay/control"
)

// TestRollbackKilled plays a rollback with its change in Git undisturbed, and then again and again, killed at one point
// after the other from when it is asked for. Whatever the point, there is one commit in Git, one revision, no hold in the
// end, and everything stands as undisturbed.
func TestRollbackKilled(t *testing.T) {
	t.Parallel()
	repo := newRepository(t)
	unbroken := playBack(t, repo, "unbroken", never)
	t.Logf("%d points, the rollback after %d", len(unbroken.points), unbroken.asked)
	for name := range pointsOf(byRollback) {
		if !slices.Contains(unbroken.points[unbroken.asked:], name) {
			t.Errorf("the rollback has no point %q", name)
		}
	}
	for i, at := range moments(unbroken.points, unbroken.asked, max(1, *every/2)) {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			got := playBack(t, repo, fmt.Sprint("at-", i), at)
			if diff := cmp.Diff(unbroken.end, got.end); diff != "" {
				t.Errorf("killed at point %s (%s) it ends otherwise (-unbroken +killed):\n%s", at, got.last(), diff)
			}
		})
	}
}

// playBack rolls out two commits on a branch of its own, goes back from the second, and returns how everything stands once
// the rollback's commit is taken.
func playBack(t *testing.T, repo *repository, branch string, at string) *run {
	r := &run{t: t, repo: repo, branch: branch, dir: filepath.Join(t.TempDir(), "data"), push: true}
	repo.push(t, branch, "first")
	r.start(at)
	defer r.stop()
	r.sync()
	repo.push(t, branch, "second")
	r.sync()
	r.mu.Lock()
	r.asked = len(r.points)
	r.mu.Unlock()
	r.do(func(ctx context.Context, c *control.Client) error {
		holds, err := c.Holds(ctx)
		if err != nil || len(holds.Holds) > 0 || len(r.ours()) > 0 {
			return err // it was taken before the process was killed
		}
		_, err = c.Rollback(ctx, control.RollbackRequest{Name: "web", Why: "5xx"})
		return err
	})
	waits := "" // what the hold's change in Git waits for
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the change in Git: %s", waits)
		}
	})
	r.do(func(ctx context.Context, c *control.Client) error {
		for {
			holds, err := c.Holds(ctx)
			if len(holds.Holds) > 0 {
				waits = fmt.Sprintf("%+v", holds.Holds[0].GitChange)
			}
			if err != nil || len(holds.Holds) == 0 && len(r.ours()) > 0 {
				return err
			}
			if err := r.change(ctx, c); err != nil {
				return err
			}
		}
	})
	r.sync()
	r.imported()
	web := r.pods("web")
	ours := r.ours()
	if len(ours) != 1 || len(web) != 2 {
		t.Fatalf("%d commits in Git, pods %v", len(ours), web)
	}
	r.end = strings.ReplaceAll(r.describe(), ours[0], "the rollback's")
	if head := repo.git(t, "", "-C", repo.dir, "rev-parse", branch+"^"); head != repo.commits["second"] {
		t.Errorf("it was made on %s", repo.name(head))
	}
	r.stop()
	return r
}

// ours are the commits of rollbacks on the branch.
func (r *run) ours() []string {
	return strings.Fields(r.repo.git(r.t, "", "-C", r.repo.dir, "log", "--format=%H", "--grep=^Belay-Rollback: ", r.branch))
}
