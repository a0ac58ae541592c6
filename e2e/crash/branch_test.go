package crash

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/belay-dev/belay/cmd/belay/control"
)

// TestBranchKilled plays what an app with onFailure: rollback does by itself undisturbed, and then again and again, killed
// at one point after the other from the commit on that brings a bad image again. Whatever the point, there is one branch
// for review with one commit, and once it is merged everything stands as undisturbed.
func TestBranchKilled(t *testing.T) {
	t.Parallel()
	repo := newRepository(t)
	unbroken := playBranch(t, repo, "unbroken", never)
	t.Logf("%d points, the bad commit after %d", len(unbroken.points), unbroken.asked)
	for i, at := range moments(unbroken.points, unbroken.asked, max(1, *every/4)) {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			got := playBranch(t, repo, fmt.Sprint("at-", i), at)
			if diff := cmp.Diff(unbroken.end, got.end); diff != "" {
				t.Errorf("killed at point %s (%s) it ends otherwise (-unbroken +killed):\n%s", at, got.last(), diff)
			}
		})
	}
}

// playBranch has somebody go back from a commit and revert it, and somebody else bring it again, which Belay goes back from
// by itself; it merges the branch that is made for that, and returns how everything stands then.
func playBranch(t *testing.T, repo *repository, branch string, at string) *run {
	r := &run{t: t, repo: repo, branch: branch, dir: filepath.Join(t.TempDir(), "data"), push: true, onFailure: true}
	repo.push(t, branch, "first")
	r.start(at)
	defer r.stop()
	r.sync()
	repo.push(t, branch, "second")
	r.sync()
	r.do(func(ctx context.Context, c *control.Client) error {
		holds, err := c.Holds(ctx)
		if err != nil || len(holds.Holds) > 0 {
			return err // it was taken before the process was killed
		}
		_, err = c.Rollback(ctx, control.RollbackRequest{Name: "web", Mode: "hold", Why: "5xx"})
		return err
	})
	back := repo.commit(t, branch, repo.commits["second"], "back", naming(manifest("web", "web:1")))
	r.sync()
	again := repo.commit(t, branch, back, "again", naming(manifest("web", "web:2")))
	r.mu.Lock()
	r.asked = len(r.points)
	r.mu.Unlock()
	review := ""
	r.do(func(ctx context.Context, c *control.Client) error {
		if _, err := c.Sync(ctx, control.SyncRequest{}, func(control.Row) {}); err != nil {
			return err
		}
		for {
			holds, err := c.Holds(ctx)
			if err != nil {
				return err
			}
			if len(holds.Holds) == 1 && holds.Holds[0].GitChange != nil && holds.Holds[0].GitChange.Branch != "" {
				review = holds.Holds[0].GitChange.Branch
				return nil
			}
			if err := r.change(ctx, c); err != nil {
				return err
			}
		}
	})
	made := repo.git(t, "", "-C", repo.dir, "rev-parse", review)
	if parent := repo.git(t, "", "-C", repo.dir, "rev-parse", review+"^"); parent != again {
		t.Errorf("the branch has more than one commit on %s: %s", again, parent)
	}
	reviews := repo.git(t, "", "-C", repo.dir, "log", "--branches=belay/rollback/*", "--format=%H", "--grep=^Belay-Rollback: "+strings.TrimPrefix(review, "belay/rollback/")+"$")
	if reviews != made {
		t.Errorf("commits of one rollback: %s", reviews)
	}
	repo.git(t, "", "-C", repo.dir, "update-ref", "refs/heads/"+branch, made, again)
	r.sync()
	r.imported()
	r.end = strings.NewReplacer(back, "back", again, "again", made, "the rollback's").Replace(r.describe())
	r.stop()
	return r
}
