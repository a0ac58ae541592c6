package crash

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/belay-dev/belay/cmd/belay/app"
	"github.com/belay-dev/belay/cmd/belay/control"
	"github.com/belay-dev/belay/state"
)

var every = flag.Int("every", 32, "kill at every n-th point, beside the first of each name; 1: at each")

// patience is how long one run waits for something that must happen.
const patience = time.Minute

// TestKilled plays one story undisturbed, and then again and again, killed at one point after the other. Whatever the
// point, in the end nothing is lost, doubled, repeated or renumbered, and what had finished before was not touched.
func TestKilled(t *testing.T) {
	t.Parallel()
	repo := newRepository(t)
	unbroken := play(t, repo, "unbroken", never)
	names := map[string]int{}
	for _, p := range unbroken.points {
		names[p]++
	}
	t.Logf("%d points: %v", len(unbroken.points), names)
	for name := range storyPoints() {
		if names[name] == 0 {
			t.Errorf("the story has no point %q", name)
		}
	}
	for i, at := range moments(unbroken.points, 0, *every) {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			got := play(t, repo, fmt.Sprint("at-", i), at)
			if diff := cmp.Diff(unbroken.end, got.end); diff != "" {
				t.Errorf("killed at point %s (%s) it ends otherwise (-unbroken +killed):\n%s", at, got.last(), diff)
			}
		})
	}
}

// run is one play of the story.
type run struct {
	t      *testing.T
	repo   *repository
	branch string
	dir    string

	killed    bool     // the last process was
	later     []string // points at which the processes after the first are to be killed
	refuse    int      // point at which the disk refuses a few writes
	push      bool     // rollbacks are pushed
	onFailure bool     // Deployments go back by themselves
	user      int      // that the process runs as; 0: this one's
	asked     int      // points passed when a rollback was asked for
	process   *exec.Cmd
	exited    chan struct{}
	ready     chan struct{}
	client    *control.Client

	mu      sync.Mutex
	starts  int
	points  []string // of the first process
	version int64    // newest that was seen
	end     string
}

func (r *run) last() string {
	if len(r.points) == 0 {
		return "none"
	}
	return r.points[len(r.points)-1]
}

// play serves a branch of its own, pushes commit after commit, and returns how everything stands in the end.
func play(t *testing.T, repo *repository, branch string, at string, later ...string) *run {
	r := &run{t: t, repo: repo, branch: branch, dir: filepath.Join(t.TempDir(), "data"), later: later}
	if err := os.MkdirAll(filepath.Join(r.dir, "mirror", "gone-0"), 0o700); err != nil { // of a repository that nobody follows
		t.Fatal(err)
	}
	repo.push(t, branch, "first")
	r.start(at)
	defer r.stop()
	r.sync()
	steady := r.pods("steady")
	if len(steady) != 2 {
		t.Fatalf("pods of a finished rollout: %v", steady)
	}
	repo.push(t, branch, "second")
	r.sync()
	repo.push(t, branch, "missing")
	r.look("missing")
	repo.push(t, branch, "revert")
	r.sync()
	web := r.pods("web")
	repo.push(t, branch, "prune")
	r.sync()
	if got := r.pods("steady"); !slices.Equal(got, steady) {
		t.Errorf("pods of a finished rollout were %v, are %v", steady, got)
	}
	if got := r.pods("web"); len(got) != 2 || !slices.Equal(got, web) {
		t.Errorf("pods of the last rollout were %v, are %v", web, got)
	}
	r.imported()
	r.end = r.describe()
	if r.stop(); r.killed { // before it had made durable what it imports in the background: the next one does so again
		r.start(never)
		r.imported()
		r.stop()
	}
	r.end += r.kept()
	r.tidy()
	return r
}

// tidy reports what is left over of files that were being replaced when a process was killed.
func (r *run) tidy() {
	r.t.Helper()
	for _, pattern := range []string{"*.tmp", filepath.Join("cache", "new", "*"), filepath.Join("mirror", "gone-*")} {
		if left, err := filepath.Glob(filepath.Join(r.dir, pattern)); err != nil || len(left) > 0 {
			r.t.Errorf("left over: %v, %v", left, err)
		}
	}
}

// start begins a process, to be killed at a point, and waits until it answers or is gone.
func (r *run) start(at string) {
	r.t.Helper()
	cmd := exec.CommandContext(r.t.Context(), os.Args[0])
	if r.user != 0 {
		cmd.Path = "/proc/self/exe" // the path itself may lead through directories that are closed to others
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(r.user), Gid: uint32(r.user)}}
	}
	cmd.Env = append(os.Environ(), envDir+"="+r.dir, envRepo+"="+r.repo.dir, envBranch+"="+r.branch, envAt+"="+at,
		fmt.Sprintf("%s=%d", envRefuse, r.refuse), fmt.Sprintf("%s=%t", envPush, r.push), fmt.Sprintf("%s=%t", envOnFailure, r.onFailure))
	var log bytes.Buffer
	cmd.Stderr = &log
	out, err := cmd.StdoutPipe()
	if err != nil {
		r.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	first := r.process == nil
	r.starts++
	r.process, r.exited, r.ready = cmd, make(chan struct{}), make(chan struct{})
	go func(exited, ready chan struct{}) {
		defer close(exited)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			line := lines.Text()
			if line == "ready" {
				close(ready)
				continue
			}
			r.mu.Lock()
			if _, name, ok := strings.Cut(strings.TrimPrefix(line, "point "), " "); ok && first {
				r.points = append(r.points, name)
			}
			r.mu.Unlock()
		}
		var exit *exec.ExitError
		err := cmd.Wait()
		killed := errors.As(err, &exit) && !exit.Exited()
		r.mu.Lock()
		r.killed = killed
		r.mu.Unlock()
		if err != nil && !killed {
			r.t.Errorf("the service ended: %v\n%s", err, log.Bytes())
		}
	}(r.exited, r.ready)
	select {
	case <-r.ready:
		service, err := app.ReadService(r.dir)
		if err != nil && !r.gone() {
			r.t.Fatal(err)
		}
		r.client = control.NewClient(service.Socket)
	case <-r.exited:
	case <-time.After(patience):
		r.t.Fatalf("not ready:\n%s", log.Bytes())
	}
}

// gone reports whether the process was killed; it waits for its end when it stopped answering.
func (r *run) gone() bool {
	select {
	case <-r.exited:
		return true
	case <-time.After(time.Second):
		return false
	}
}

// do asks the service, and the next one when it was killed meanwhile.
func (r *run) do(ask func(context.Context, *control.Client) error) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	for range 3 {
		if r.client != nil {
			err := ask(ctx, r.client)
			if err == nil {
				return
			}
			if !r.gone() {
				r.t.Fatal(err)
			}
			r.client.Close()
			r.client = nil
		}
		before := r.version
		at := never
		if len(r.later) > 0 {
			at, r.later = r.later[0], r.later[1:]
		}
		r.start(at)
		if r.client == nil || at != never {
			continue
		}
		objects, err := r.client.Objects(ctx, control.ObjectQuery{Kind: "Pod"})
		if err != nil {
			r.t.Fatal(err)
		}
		if objects.Version <= before {
			r.t.Errorf("version %d after %d", objects.Version, before)
		}
	}
	r.t.Fatal("killed again and again")
}

// sync looks and waits until everything has ended well.
func (r *run) sync() {
	r.t.Helper()
	r.do(func(ctx context.Context, c *control.Client) error {
		res, err := c.Sync(ctx, control.SyncRequest{Wait: true}, func(control.Row) {})
		if err == nil && (!res.OK || !res.Ended) {
			err = fmt.Errorf("sync: %+v", res)
		}
		return err
	})
}

// look looks, and waits until a commit is being rolled out.
func (r *run) look(commit string) {
	r.t.Helper()
	r.do(func(ctx context.Context, c *control.Client) error {
		if _, err := c.Sync(ctx, control.SyncRequest{}, func(control.Row) {}); err != nil {
			return err
		}
		for {
			rows, err := c.History(ctx, control.HistoryQuery{Name: "web"})
			if err != nil {
				return err
			}
			if last := rows[len(rows)-1]; last.Commit == r.repo.commits[commit] && last.Revision > 0 {
				return nil
			}
			if err := r.change(ctx, c); err != nil {
				return err
			}
		}
	})
}

// change waits until something of a Deployment may have changed.
func (r *run) change(ctx context.Context, c *control.Client) error {
	wait, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	_, err := c.Objects(wait, control.ObjectQuery{Kind: "Deployment", After: r.version})
	if wait.Err() != nil && ctx.Err() == nil {
		return nil
	}
	return err
}

// imported waits until the commit before the first sync is in the history.
func (r *run) imported() {
	r.t.Helper()
	r.do(r.older)
}

func (r *run) older(ctx context.Context, c *control.Client) error {
	for {
		rows, err := c.History(ctx, control.HistoryQuery{Name: "web"})
		if err != nil || rows[0].Commit == r.repo.commits["older"] {
			return err
		}
		if err := r.change(ctx, c); err != nil {
			return err
		}
	}
}

// pods are the names and UIDs of a Deployment's pods.
func (r *run) pods(deployment string) []string {
	var out []string
	r.do(func(ctx context.Context, c *control.Client) error {
		out = nil
		objects, err := c.Objects(ctx, control.ObjectQuery{Kind: "Pod"})
		if err != nil {
			return err
		}
		r.version = max(r.version, objects.Version)
		for _, item := range objects.Items {
			var p corev1.Pod
			if err := json.Unmarshal(item, &p); err != nil {
				return err
			}
			if p.Labels["app"] == deployment && p.DeletionTimestamp == nil {
				out = append(out, fmt.Sprintf("%s %s restarts=%d", p.Name, p.UID, restarts(p)))
			}
		}
		return nil
	})
	return out
}

func restarts(p corev1.Pod) int32 {
	n := int32(0)
	for _, c := range p.Status.ContainerStatuses {
		n += c.RestartCount
	}
	return n
}

// describe says how everything stands, without what differs from run to run. Of a process that was killed meanwhile the next
// one may have to import and to prune again: what is not durable was seen, and is not.
func (r *run) describe() string {
	var b strings.Builder
	r.do(func(ctx context.Context, c *control.Client) error {
		if _, err := c.Sync(ctx, control.SyncRequest{Wait: true}, func(control.Row) {}); err != nil {
			return err
		}
		if err := r.older(ctx, c); err != nil {
			return err
		}
		b.Reset()
		for _, name := range []string{"steady", "web"} {
			rows, err := c.History(ctx, control.HistoryQuery{Name: name, All: true})
			if err != nil {
				return err
			}
			by := map[string]string{}
			for _, row := range rows {
				by[row.ID] = r.repo.name(row.Commit)
			}
			for _, row := range rows {
				fmt.Fprintf(&b, "%s %d now %d %s %s %s%s %q\n", name, row.Revision, row.Now, r.repo.name(row.Commit), row.Images,
					row.Outcome, by[row.SupersededBy]+by[row.RolledBackBy], row.ChangeCause)
			}
		}
		objects, err := c.Objects(ctx, control.ObjectQuery{Kind: "ReplicaSet"})
		if err != nil {
			return err
		}
		for _, item := range objects.Items {
			var rs appsv1.ReplicaSet
			if err := json.Unmarshal(item, &rs); err != nil {
				return err
			}
			fmt.Fprintf(&b, "%s revision %s, before %q: %d of %d ready\n", rs.Name, rs.Annotations["deployment.kubernetes.io/revision"],
				rs.Annotations["deployment.kubernetes.io/revision-history"], rs.Status.ReadyReplicas, *rs.Spec.Replicas)
		}
		s, err := c.Status(ctx)
		if err != nil {
			return err
		}
		for _, d := range s.Deployments {
			fmt.Fprintf(&b, "%s %d %s %s %s\n", d.Name, d.Revision, r.repo.name(d.Commit), d.Images, d.Health)
		}
		fmt.Fprintf(&b, "at %s, problems %v\n", r.repo.name(s.Sources[0].Commit), s.Problems)
		return nil
	})
	return b.String()
}

// kept says what the ledger keeps of what the templates of the rows name, once the service has ended.
func (r *run) kept() string {
	r.t.Helper()
	store, err := state.Open(r.dir, state.Options{Now: time.Now})
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() {
		if err := store.Close(); err != nil {
			r.t.Error(err)
		}
	}()
	var b strings.Builder
	for _, row := range store.Rows("default", "web") {
		fmt.Fprintf(&b, "%s names", r.repo.name(row.Commit))
		for _, ref := range row.Configs {
			c, _ := store.Config(ref.Hash)
			fmt.Fprintf(&b, " %s %s %v", ref.Kind, ref.Name, c.Text)
		}
		if _, ok := store.Template(row.Template); !ok {
			b.WriteString(", without a template")
		}
		b.WriteString("\n")
	}
	return b.String()
}

// stop ends the service in good order.
func (r *run) stop() {
	if r.client != nil {
		r.client.Close()
	}
	if r.process == nil {
		return
	}
	defer func() { r.process, r.client = nil, nil }()
	_ = r.process.Process.Signal(os.Interrupt) // it may be gone
	select {
	case <-r.exited:
	case <-time.After(patience):
		r.t.Error("the service does not stop")
	}
}
