package crash

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/belay-dev/belay/cmd/belay/control"
)

// nobody is the user that a service runs as whose permissions are to count: root's never do.
const nobody = 65534

// permit sets the permissions of a directory and of all below it.
func permit(t *testing.T, dir string, mode fs.FileMode) {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			all = append(all, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range all {
		if err := os.Chmod(dir, mode); err != nil {
			t.Error(err)
		}
	}
}

// mustReach skips where this process cannot become a user, 0 for itself, or that user gets to no directory of the test.
func mustReach(t *testing.T, dir string, user int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-c", `cd "$0"`, dir)
	if user != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(user), Gid: uint32(user)}}
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		if os.Getenv("REQUIRE_ROOT") != "" {
			t.Fatalf("as user %d: %v: %s", user, err, out)
		}
		t.Skipf("as user %d: %v: %s", user, err, out)
	}
}

// TestPermissionLost: a service that may write nothing new into its data directory any more says so where it looks for
// commits, and goes on with what it has: a rollback is durable, for the state's file is open. It takes the commits when it
// may again, by itself.
func TestPermissionLost(t *testing.T) {
	t.Parallel()
	repo := newRepository(t)
	const branch = "permission"
	r := &run{t: t, repo: repo, branch: branch, dir: filepath.Join(t.TempDir(), "data")}
	if err := os.Mkdir(r.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 {
		r.user = nobody
		if err := errors.Join(os.Chown(r.dir, nobody, nobody), os.Chmod(filepath.Dir(filepath.Dir(r.dir)), 0o711)); err != nil {
			t.Fatal(err)
		}
	}
	mustReach(t, r.dir, r.user)
	repo.push(t, branch, "first")
	r.start(never)
	defer r.stop()
	r.sync()
	repo.push(t, branch, "second")
	r.sync()

	permit(t, r.dir, 0o500)
	defer permit(t, r.dir, 0o700)
	repo.push(t, branch, "prune")
	r.do(func(ctx context.Context, c *control.Client) error {
		res, err := c.Sync(ctx, control.SyncRequest{}, func(control.Row) {})
		if err == nil && (res.OK || !strings.Contains(res.Sources[0].Error, "permission denied")) {
			t.Errorf("a sync: %+v", res)
		}
		s, err := c.Status(ctx)
		if err == nil && !strings.Contains(s.Sources[0].Error, "permission denied") {
			t.Errorf("status: %+v", s.Sources[0])
		}
		return err
	})
	r.do(func(ctx context.Context, c *control.Client) error {
		back, err := c.Rollback(ctx, control.RollbackRequest{Name: "web", Mode: "hold", Why: "5xx"})
		if err != nil {
			return err
		}
		row, err := c.Follow(ctx, back.Row, func(control.Row) {})
		if err == nil && (back.NotDurable != "" || row.Outcome != "Complete") {
			t.Errorf("the rollback: %+v, %+v", back, row)
		}
		return err
	})
	if r.starts != 1 {
		t.Errorf("%d starts", r.starts)
	}
	permit(t, r.dir, 0o700)
	r.do(func(ctx context.Context, c *control.Client) error {
		res, err := c.Sync(ctx, control.SyncRequest{}, func(control.Row) {})
		if err == nil && (res.Sources[0].Error != "" || res.Sources[0].Commit != repo.commits["prune"]) {
			t.Errorf("a sync afterwards: %+v", res)
		}
		return err
	})
}
