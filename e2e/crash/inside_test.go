package crash

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
	corev1 "k8s.io/api/core/v1"

	"github.com/belay-dev/belay/cmd/belay/app"
	"github.com/belay-dev/belay/cmd/belay/control"
	"github.com/belay-dev/belay/reconciler/ledger"
	"github.com/belay-dev/belay/reconciler/node"
	"github.com/belay-dev/belay/reconciler/node/simulated"
	"github.com/belay-dev/belay/state"
)

// inside is a service in this process.
type inside struct {
	*control.Client
	t       *testing.T
	address string
	stop    func()
}

// serveInside serves a branch of the repository in this process until the test ends.
func serveInside(t *testing.T, repo *repository, branch, dir string, seams app.Seams, edits ...func(*app.SourceConfig)) *inside {
	t.Helper()
	src, a := app.DefaultSource(), app.DefaultApp()
	a.Name = "shop"
	src.Name, src.URL, src.Branch, src.Interval, src.Import = "shop", repo.dir, branch, time.Hour, 0
	src.Apps = []app.AppConfig{a}
	for _, edit := range edits {
		edit(&src)
	}
	c := app.DefaultConfig()
	c.Sources, c.Listen, c.Simulate = []app.SourceConfig{src}, "127.0.0.1:0", []string{"delay=5ms"}
	service := app.New(c, dir, zerolog.Nop())
	service.Seams = seams
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- service.Run(ctx) }()
	select {
	case <-service.Ready():
	case err := <-ended:
		cancel()
		t.Fatal(err)
	}
	found, err := app.ReadService(dir)
	if err != nil {
		t.Fatal(err)
	}
	in := &inside{Client: control.NewClient(found.Socket), t: t, address: found.Address}
	in.stop = sync.OnceFunc(func() {
		in.Close()
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the service ended: %v", err)
		}
	})
	t.Cleanup(in.stop)
	return in
}

func (in *inside) status() control.Status {
	in.t.Helper()
	s, err := in.Status(in.t.Context())
	if err != nil {
		in.t.Fatal(err)
	}
	return s
}

// eventually repeats a check until it holds.
func eventually(t *testing.T, what string, check func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !check(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %s", what, patience)
		}
	}
}

// ready asks the service's health check.
func (in *inside) ready() (int, error) {
	res, err := http.Get("http://" + in.address + "/readyz")
	if err != nil {
		return 0, err
	}
	return res.StatusCode, res.Body.Close()
}

// outliving is a runner whose pods outlive the data directory: those it was told of at the start run already.
type outliving struct {
	node.PodRunner

	mu       sync.Mutex
	pods     []node.Found
	calls    []string
	gate     chan struct{} // pods go on once it is closed; nil: at once
	instance string        // that asked last
}

func (o *outliving) note(format string, args ...any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.calls = append(o.calls, fmt.Sprintf(format, args...))
}

func (o *outliving) Find(_ context.Context, instance string) ([]node.Found, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.instance = instance
	return slices.DeleteFunc(slices.Clone(o.pods), func(p node.Found) bool { return p.Instance == instance }), nil
}

func (o *outliving) Retire(_ context.Context, pods []node.Found) error {
	for _, p := range pods {
		o.note("retire %s", p.Pod)
	}
	return nil
}

func (o *outliving) Sync(ctx context.Context, pod *corev1.Pod, now time.Time) (node.Report, error) {
	if pod.Status.Phase == "" || pod.Status.Phase == corev1.PodPending && pod.Status.StartTime == nil {
		o.note("begin %s", pod.UID)
	}
	o.mu.Lock()
	gate := o.gate
	o.mu.Unlock()
	if gate != nil {
		<-gate
	}
	return o.PodRunner.Sync(ctx, pod, now)
}

// stay has pods go on no more until open is called.
func (o *outliving) stay() (open func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.gate = make(chan struct{})
	return sync.OnceFunc(func() { close(o.gate) })
}

func (o *outliving) called(what string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := 0
	for _, c := range o.calls {
		if strings.HasPrefix(c, what) {
			n++
		}
	}
	return n
}

// TestLostDirectory: a data directory that finds pods of its own source, started by another one, touches nothing, shows
// what runs beside what Git wants, and begins when a person says so.
func TestLostDirectory(t *testing.T) {
	t.Parallel()
	repo := newRepository(t)
	repo.push(t, "lost", "second")
	runner := &outliving{PodRunner: simulated.New(simulated.Options{Delay: time.Millisecond}), pods: []node.Found{
		{Instance: "gone", Source: repo.dir, Namespace: "default", Deployment: "web", Pod: "web-a", Commit: repo.commits["first"], Images: []string{"web:1"}},
		{Instance: "gone", Source: repo.dir, Namespace: "default", Deployment: "web", Pod: "web-b", Commit: repo.commits["first"], Images: []string{"web:1"}},
		{Instance: "gone", Source: "/another.git", Namespace: "default", Deployment: "api", Pod: "api-a"},
	}}
	in := serveInside(t, repo, "lost", filepath.Join(t.TempDir(), "data"), app.Seams{Runner: runner})
	if _, err := in.Sync(t.Context(), control.SyncRequest{}, func(control.Row) {}); err != nil {
		t.Fatal(err)
	}
	var s control.Status
	eventually(t, "what Git wants is shown", func() bool {
		s = in.status()
		return len(s.Deployments) == 1 && s.Deployments[0].Wants != nil
	})
	d := s.Deployments[0]
	if !s.Sources[0].Suspended || d.Name != "web" || d.Commit != repo.commits["first"] || d.Images[0] != "web:1" || d.Replicas != 2 ||
		d.Wants.Images[0] != "web:2" || d.Wants.Commit != repo.commits["second"] || d.Next != "belay resume shop" {
		t.Errorf("status: %+v, wants %+v", d, d.Wants)
	}
	if n := runner.called(""); n != 0 {
		t.Errorf("touched: %v", runner.calls)
	}
	if err := in.Suspend(t.Context(), "shop", false); err != nil {
		t.Fatal(err)
	}
	res, err := in.Sync(t.Context(), control.SyncRequest{Wait: true}, func(control.Row) {})
	if err != nil || !res.OK || !res.Ended {
		t.Fatalf("sync: %+v, %v", res, err)
	}
	if runner.called("retire web-") != 2 || runner.called("retire") != 2 || runner.called("begin") == 0 {
		t.Errorf("after resume: %v", runner.calls)
	}
	for _, d := range in.status().Deployments {
		if d.Health != control.Healthy || d.Wants != nil {
			t.Errorf("status: %+v", d)
		}
	}
}

// TestFullDisk: while the disk is full, what is asked fails with the reason, the health check fails, and no pod begins;
// it goes on alone when there is space again.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	repo := newRepository(t)
	repo.push(t, "full", "first")
	var mu sync.Mutex
	var refusal error
	refuse := func(err error) {
		mu.Lock()
		defer mu.Unlock()
		refusal = err
	}
	runner := &outliving{PodRunner: simulated.New(simulated.Options{Delay: time.Millisecond})}
	in := serveInside(t, repo, "full", filepath.Join(t.TempDir(), "data"), app.Seams{Runner: runner, Disk: func(p state.DiskPoint) error {
		mu.Lock()
		defer mu.Unlock()
		return refusal
	}})
	sync := func(what string, ok bool) {
		t.Helper()
		res, err := in.Sync(t.Context(), control.SyncRequest{Wait: ok}, func(control.Row) {})
		said := fmt.Sprint(err)
		if err == nil {
			said = res.Sources[0].Error
		}
		if ok != (err == nil && res.OK) || !ok && !strings.Contains(said, "disk refuses writes") {
			t.Fatalf("%s: %s, %+v", what, said, res)
		}
	}
	sync("at first", true)
	if code, err := in.ready(); err != nil || code != http.StatusOK {
		t.Errorf("ready: %d, %v", code, err)
	}
	begun := runner.called("begin")
	for _, why := range []error{syscall.ENOSPC, syscall.EROFS, syscall.EACCES} {
		repo.push(t, "full", "second")
		refuse(why)
		sync(why.Error(), false)
		eventually(t, "not ready", func() bool { code, err := in.ready(); return err == nil && code == http.StatusServiceUnavailable })
		if d := in.status().Deployments; len(d) != 2 {
			t.Errorf("%v: status: %+v", why, d)
		}
		if n := runner.called("begin"); n != begun {
			t.Errorf("%v: %d pods began", why, n-begun)
		}
		refuse(nil)
		eventually(t, "ready again", func() bool { code, err := in.ready(); return err == nil && code == http.StatusOK })
		sync("again", true)
		repo.push(t, "full", "first")
		sync("back", true)
		begun = runner.called("begin")
	}
}

// TestSlowDisk: a write of the disk that does not end delays what has to be durable, and no answer to a question.
func TestSlowDisk(t *testing.T) {
	t.Parallel()
	repo := newRepository(t)
	repo.push(t, "slow", "first")
	gate := make(chan struct{})
	var slow sync.Mutex
	open := sync.OnceFunc(func() { close(gate) })
	defer open()
	stuck := false
	in := serveInside(t, repo, "slow", filepath.Join(t.TempDir(), "data"), app.Seams{Disk: func(p state.DiskPoint) error {
		slow.Lock()
		wait := stuck
		slow.Unlock()
		if wait && p == state.BeforeWrite {
			<-gate
		}
		return nil
	}})
	slow.Lock()
	stuck = true
	slow.Unlock()
	done := make(chan error, 1)
	go func() {
		res, err := in.Sync(t.Context(), control.SyncRequest{Wait: true}, func(control.Row) {})
		if err == nil && !res.OK {
			err = fmt.Errorf("%+v", res)
		}
		done <- err
	}()
	eventually(t, "the rollout is seen to end", func() bool {
		d := in.status().Deployments
		return len(d) == 2 && d[0].Health == control.Healthy && d[1].Health == control.Healthy
	})
	if _, err := in.History(t.Context(), control.HistoryQuery{Name: "web"}); err != nil {
		t.Error(err)
	}
	select {
	case err := <-done:
		t.Errorf("answered before it was durable: %v", err)
	default:
	}
	open()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestClockJumps: a clock that is set forward or back between two rollouts, or a machine that slept for an hour, changes
// neither what runs nor the order and the numbers of what was rolled out.
func TestClockJumps(t *testing.T) {
	t.Parallel()
	repo := newRepository(t)
	repo.push(t, "clock", "first")
	var offset atomic.Int64
	now := func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }
	in := serveInside(t, repo, "clock", filepath.Join(t.TempDir(), "data"), app.Seams{Now: now})
	sync := func(what string) {
		t.Helper()
		res, err := in.Sync(t.Context(), control.SyncRequest{Wait: true}, func(control.Row) {})
		if err != nil || !res.OK || !res.Ended {
			t.Fatalf("%s: %+v, %v", what, res, err)
		}
	}
	sync("at first")
	for i, jump := range []time.Duration{time.Hour, -3 * time.Hour, 48 * time.Hour, -48 * time.Hour} {
		offset.Add(int64(jump))
		for _, d := range in.status().Deployments {
			if d.Health != control.Healthy {
				t.Errorf("after %s: %+v", jump, d)
			}
		}
		repo.push(t, "clock", []string{"second", "first"}[i%2])
		sync(jump.String())
	}
	rows, err := in.History(t.Context(), control.HistoryQuery{Name: "web"})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range rows {
		got = append(got, fmt.Sprintf("%d now %d %s %s", r.Revision, r.Now, repo.name(r.Commit), r.Outcome))
	}
	want := []string{"1 now 5 first Complete", "2 now 4 second RolledBack", "3 now 5 first RolledBack", "4 now 0 second RolledBack", "5 now 0 first Complete"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("history (-want +got):\n%s", diff)
	}
}

// hooked is a runner that calls a function before each report.
type hooked struct {
	node.PodRunner
	before func()
}

func (h hooked) Sync(ctx context.Context, pod *corev1.Pod, now time.Time) (node.Report, error) {
	h.before()
	return h.PodRunner.Sync(ctx, pod, now)
}

// TestClockSetBackMidway: a clock that is set back an hour again and again while pods come and go holds no rollout up
// and fails none.
func TestClockSetBackMidway(t *testing.T) {
	t.Parallel()
	repo := newRepository(t)
	repo.push(t, "midway", "first")
	var offset atomic.Int64
	var reports, jumps atomic.Int64 // jumps: left for this rollout
	runner := hooked{simulated.New(simulated.Options{Delay: 20 * time.Millisecond, Stop: 20 * time.Millisecond}), func() {
		if reports.Add(1)%3 == 0 && jumps.Add(-1) >= 0 {
			offset.Add(-int64(time.Hour))
		}
	}}
	now := func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }
	in := serveInside(t, repo, "midway", filepath.Join(t.TempDir(), "data"), app.Seams{Now: now, Runner: runner})
	var want []string
	for i := range 4 {
		jumps.Store(8)
		repo.push(t, "midway", []string{"first", "second"}[i%2])
		res, err := in.Sync(t.Context(), control.SyncRequest{Wait: true}, func(control.Row) {})
		if err != nil || !res.OK || !res.Ended {
			t.Fatalf("rollout %d: %+v, %v", i+1, res, err)
		}
		want = append(want, fmt.Sprint(i+1))
	}
	rows, err := in.History(t.Context(), control.HistoryQuery{Name: "web"})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range rows {
		got = append(got, fmt.Sprint(r.Revision))
		if r.Outcome == string(ledger.Failed) || r.Outcome == string(ledger.Superseded) {
			t.Errorf("%+v", r)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("revisions (-want +got):\n%s", diff)
	}
}
