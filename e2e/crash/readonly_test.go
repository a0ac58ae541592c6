package crash

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/belay-dev/belay/cmd/belay/app"
	"github.com/belay-dev/belay/cmd/belay/control"
)

// breakable is an ext4 file system of its own, in a file, whose kernel makes it read-only when an error is found in it.
type breakable struct {
	t     *testing.T
	image string
	top   string // where it is mounted
}

// newBreakable makes and mounts one until the test ends, and skips where that cannot be done.
func newBreakable(t *testing.T) *breakable {
	t.Helper()
	b := &breakable{t: t, image: filepath.Join(t.TempDir(), "image"), top: t.TempDir()}
	if err := os.WriteFile(b.image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(b.image, 64<<20); err != nil {
		t.Fatal(err)
	}
	for _, tool := range []string{"mkfs.ext4", "e2fsck", "mount", "umount", "cp"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("no file system can be made to break: %v", err)
		}
	}
	if out, err := b.run("mkfs.ext4", "-q", "-F", b.image); err != nil {
		t.Skipf("mkfs.ext4: %v: %s", err, out)
	}
	if out, err := b.mount(); err != nil {
		t.Skipf("cannot mount a file system in a file: %v: %s", err, out)
	}
	t.Cleanup(func() { _, _ = b.run("umount", "--lazy", b.top) }) // the test may have done so
	if _, err := os.Stat(b.trigger()); err != nil {
		t.Skipf("this kernel does not let an error be injected: %v", err)
	}
	return b
}

func (b *breakable) run(name string, args ...string) (string, error) {
	out, err := exec.CommandContext(context.WithoutCancel(b.t.Context()), name, args...).CombinedOutput()
	return string(out), err
}

func (b *breakable) mount() (string, error) {
	return b.run("mount", "-t", "ext4", "-o", "loop,errors=remount-ro", b.image, b.top)
}

// trigger is the file by which the kernel is told to find an error; empty when the mount is not found.
func (b *breakable) trigger() string {
	f, err := os.Open("/proc/self/mounts")
	if err != nil {
		return ""
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if field := strings.Fields(lines.Text()); len(field) > 1 && field[1] == b.top {
			return filepath.Join("/sys/fs/ext4", filepath.Base(field[0]), "trigger_fs_error")
		}
	}
	return ""
}

// corrupt has the kernel find an error.
func (b *breakable) corrupt() {
	b.t.Helper()
	if err := os.WriteFile(b.trigger(), []byte("1"), 0o200); err != nil {
		b.t.Skipf("this kernel does not let an error be injected: %v", err)
	}
	if f, err := os.Create(filepath.Join(b.top, "x")); err == nil {
		_ = f.Close() // nothing was written
		b.t.Skip("the file system takes writes after an error")
	}
}

// repair mounts it again, checked: a copy of it, because another process may have been started meanwhile that sees the mounts
// of then, and goes on having this one.
func (b *breakable) repair() {
	b.t.Helper()
	if out, err := b.run("umount", b.top); err != nil {
		b.t.Fatalf("umount: %v: %s", err, out)
	}
	fresh := b.image + "-repaired"
	if out, err := b.run("cp", "--sparse=always", b.image, fresh); err != nil {
		b.t.Fatalf("cp: %v: %s", err, out)
	}
	b.image = fresh
	out, err := b.run("e2fsck", "-f", "-y", b.image)
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || exit.ExitCode() != 1) { // 1: errors were corrected
		b.t.Fatalf("e2fsck: %v: %s", err, out)
	}
	if out, err := b.mount(); err != nil {
		b.t.Fatalf("mount: %v: %s", err, out)
	}
}

// TestFileSystemTurnsReadOnly: the kernel finds an error in the file system of the data directory and makes it read-only. The
// service goes on answering and says the reason, refuses what could not be durable, and goes back all the same, saying that
// that is not durable. After a repair it has everything that it said to be.
func TestFileSystemTurnsReadOnly(t *testing.T) {
	t.Parallel()
	broken := newBreakable(t)
	repo := newRepository(t)
	const branch = "broken"
	r := &run{t: t, repo: repo, branch: branch, dir: filepath.Join(broken.top, "data")}
	repo.push(t, branch, "first")
	r.start(never)
	defer r.stop()
	r.sync()
	r.imported()
	repo.push(t, branch, "second")
	r.sync() // all that was before is durable with it
	before, pods := r.describe(), r.pods("web")

	broken.corrupt()
	repo.push(t, branch, "prune")
	r.do(func(ctx context.Context, c *control.Client) error {
		res, err := c.Sync(ctx, control.SyncRequest{}, func(control.Row) {})
		said := fmt.Sprint(err)
		if err == nil && len(res.Sources) == 1 {
			said = res.Sources[0].Error
		}
		if err == nil && res.OK || !refusal(said) {
			t.Errorf("a sync says %q: %+v", said, res)
		}
		s, err := c.Status(ctx)
		if err == nil && (!refusal(s.Sources[0].Error) || len(s.Deployments) != 2) {
			t.Errorf("status: %+v", s)
		}
		return err
	})
	r.do(func(ctx context.Context, c *control.Client) error {
		back, err := c.Rollback(ctx, control.RollbackRequest{Name: "web", Mode: "hold", Why: "5xx"})
		if err != nil {
			return err
		}
		row, err := c.Follow(ctx, back.Row, func(control.Row) {})
		if err == nil && (!refusal(back.NotDurable) || row.Outcome != "Complete") {
			t.Errorf("the rollback: %+v, %+v", back, row)
		}
		return err
	})
	if code, said := r.readyz(); code != http.StatusServiceUnavailable || !refusal(said) {
		t.Errorf("ready: %d, %s", code, said)
	}
	if r.starts != 1 {
		t.Errorf("%d starts", r.starts)
	}

	r.client.Close()
	_ = r.process.Process.Kill() // it cannot end well: not all is durable
	<-r.exited
	broken.repair()
	repo.push(t, branch, "second") // it is looked for at the start
	r.start(never)
	r.sync()
	if after := r.describe(); after != before {
		t.Errorf("after the repair:\n%s\nbefore the error:\n%s", after, before)
	}
	if got := r.pods("web"); fmt.Sprint(got) != fmt.Sprint(pods) {
		t.Errorf("pods after the repair %v, before the error %v", got, pods)
	}
	repo.push(t, branch, "prune")
	r.sync()
	if end := r.describe(); !strings.Contains(end, "at prune") {
		t.Errorf("after the next sync:\n%s", end)
	}
}

// refusal tells whether a text names what the kernel says of such a file system: the one or the other, by what is asked of it.
func refusal(said string) bool {
	return strings.Contains(said, "read-only file system") || strings.Contains(said, "input/output error")
}

// readyz asks the service's health check.
func (r *run) readyz() (int, string) {
	r.t.Helper()
	service, err := app.ReadService(r.dir)
	if err != nil {
		r.t.Fatal(err)
	}
	res, err := http.Get("http://" + service.Address + "/readyz")
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	said, err := io.ReadAll(res.Body)
	if err != nil {
		r.t.Error(err)
	}
	return res.StatusCode, string(said)
}
