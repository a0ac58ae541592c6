package app

import (
	"context"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/belay-dev/belay/reconciler"
	"github.com/belay-dev/belay/state"
)

// shopRepository makes a bare repository with the branches main and dev, one Deployment each.
func shopRepository(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		if os.Getenv("REQUIRE_GIT") != "" {
			t.Fatal("git is not installed")
		}
		t.Skip("git is not installed")
	}
	dir := filepath.Join(t.TempDir(), "shop.git")
	run := func(stdin string, args ...string) {
		t.Helper()
		cmd := exec.Command("git", args...)
		cmd.Stdin, cmd.Env = strings.NewReader(stdin), append(os.Environ(), "GIT_CONFIG_GLOBAL="+os.DevNull)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	run("", "init", "--quiet", "--bare", "--initial-branch=main", dir)
	manifest := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\n"
	for _, branch := range []string{"main", "dev"} {
		run("commit refs/heads/"+branch+"\ncommitter Ann <ann@example.com> 1700000000 +0000\ndata 3\none\nM 644 inline web.yaml\ndata <<END\n"+
			manifest+"END\n", "-C", dir, "fast-import", "--quiet")
	}
	return dir
}

// shops is a configuration of many sources of one repository, two for each branch, with two apps each.
func shops(url string, intervals ...time.Duration) Config {
	c := DefaultConfig()
	for i, interval := range intervals {
		s := DefaultSource()
		s.Name, s.URL, s.Interval = "shop"+string(rune('a'+i)), url, interval
		s.Branch = []string{"main", "dev"}[i%2]
		for _, app := range []string{"one", "two"} {
			s.Apps = append(s.Apps, AppConfig{Name: app, Namespace: s.Name + "-" + app, Prune: true})
		}
		c.Sources = append(c.Sources, s)
	}
	return c
}

// startFollowing runs the sync loop and what looks at the sources of a configuration.
func startFollowing(t *testing.T, c Config) *following {
	t.Helper()
	store, err := state.OpenMemory(state.Options{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	p := New(c, t.TempDir(), zerolog.Nop()).wire(store, podRuntime{})
	if err := namespaces(store, c); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for _, run := range []func(context.Context) error{p.loop.Run, p.following.run} {
		wg.Go(func() {
			if err := run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		if err := p.close(); err != nil {
			t.Error(err)
		}
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return p.following
}

// synced waits until every source has recorded a commit.
func (f *following) synced(t *testing.T) {
	t.Helper()
	for {
		version, all := f.store.Version(), true
		for _, name := range f.names() {
			c, _ := f.store.Cursor(name)
			all = all && c.Commit != ""
		}
		if all {
			return
		}
		if _, err := f.store.WaitChange(t.Context(), version); err != nil {
			t.Fatal(err)
		}
	}
}

func (f *following) only(t *testing.T) *poller {
	t.Helper()
	if len(f.pollers) != 1 {
		t.Fatalf("%d pollers for one repository", len(f.pollers))
	}
	for _, p := range f.pollers {
		return p
	}
	return nil
}

func (p *poller) looks() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.begun
}

// gitServer counts requests, and holds them up while its gate is closed.
type gitServer struct {
	*httptest.Server
	requests atomic.Int64
	arrived  chan struct{}
	gate     chan struct{} // closed: open
	held     atomic.Bool
}

func serveGit(t testing.TB, dir string) *gitServer {
	t.Helper()
	exe, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		t.Fatal(err)
	}
	backend := &cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(exe)), "git-http-backend"),
		Env:  []string{"GIT_PROJECT_ROOT=" + filepath.Dir(dir), "GIT_HTTP_EXPORT_ALL=1"},
	}
	if _, err := os.Stat(backend.Path); err != nil {
		t.Skip("git http-backend is not installed")
	}
	s := &gitServer{arrived: make(chan struct{}, 1000), gate: make(chan struct{})}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.requests.Add(1)
		if s.held.Load() {
			s.arrived <- struct{}{}
			<-s.gate
		}
		backend.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

// Any number of sources, apps and branches is one request for each look, and a storm of triggers is one look after the
// one under way.
func TestRequestsOfOneRepository(t *testing.T) {
	t.Parallel()
	dir := shopRepository(t)
	server := serveGit(t, dir)
	day := 24 * time.Hour
	f := startFollowing(t, shops(server.URL+"/shop.git", day, day, day, day, day, day))
	f.synced(t)
	p := f.only(t)
	sync1 := func() {
		t.Helper()
		if err := f.loop.Sync(t.Context(), "shopa", reconciler.SyncOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	sync1() // the first look is over
	for range 5 {
		requests, looks := server.requests.Load(), p.looks()
		sync1()
		if r, l := server.requests.Load()-requests, p.looks()-looks; r != 1 || l != 1 {
			t.Fatalf("%d requests in %d looks for 6 sources with 12 apps, want 1 in 1", r, l)
		}
	}

	before := server.requests.Load()
	server.held.Store(true)
	f.current()[0].repository.ask()
	<-server.arrived // a look is under way
	for range 1000 {
		for _, s := range f.current() {
			s.repository.ask()
		}
	}
	server.held.Store(false)
	close(server.gate)
	sync1()
	if n := server.requests.Load() - before; n < 2 || n > 3 {
		t.Errorf("%d requests for a storm of 6,000 triggers during a look, one more look after it and one by a person", n)
	}
}

// However many sources of one repository there are, it is looked at as often as the most impatient wants.
func TestLooksPerInterval(t *testing.T) {
	t.Parallel()
	dir := shopRepository(t)
	synctest.Test(t, func(t *testing.T) {
		c := shops("file://"+dir, time.Hour, 15*time.Second, time.Minute, 15*time.Second, 20*time.Second)
		store, err := state.OpenMemory(state.Options{Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		f := New(c, t.TempDir(), zerolog.Nop()).wire(store, podRuntime{}).following
		p := f.only(t)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			p.run(ctx)
		}()
		time.Sleep(time.Hour)
		cancel()
		<-done
		if n := p.looks(); n < 3600/17 || n > 3600/13 {
			t.Errorf("%d looks in an hour, with a shortest interval of 15s", n)
		}
		if err := f.close(); err != nil {
			t.Error(err)
		}
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
}

// A branch that is gone is the error of its sources alone, and does not slow down the others.
func TestErrorsOfOneBranch(t *testing.T) {
	t.Parallel()
	dir := shopRepository(t)
	f := startFollowing(t, shops("file://"+dir, 24*time.Hour, 24*time.Hour))
	f.synced(t)
	if out, err := exec.Command("git", "-C", dir, "update-ref", "-d", "refs/heads/dev").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := f.loop.Sync(t.Context(), "shopb", reconciler.SyncOptions{}); err == nil || !strings.Contains(err.Error(), "no branch dev") {
		t.Errorf("sync of a branch that is gone: %v", err)
	}
	if err := f.loop.Sync(t.Context(), "shopa", reconciler.SyncOptions{}); err != nil {
		t.Errorf("sync of the branch beside it: %v", err)
	}
}
