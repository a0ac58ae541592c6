package app

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/belay-dev/belay/reconciler"
	"github.com/belay-dev/belay/reconciler/embedded"
	"github.com/belay-dev/belay/reconciler/rollback"
	"github.com/belay-dev/belay/state"
)

// shop is a repository with one Deployment, on a Git server over HTTP that can be stopped.
type shop struct {
	t              *testing.T
	dir, bare      string
	work           string
	url            string
	down           atomic.Bool
	good, bad      string // commits: web:1, web:2
	pushed, denied atomic.Int64
	app            func(*AppConfig) // sets more of the app; nil: nothing
}

func newShop(t *testing.T) *shop {
	t.Helper()
	out, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		if os.Getenv("REQUIRE_GIT") != "" {
			t.Fatal(err)
		}
		t.Skip("git is not installed")
	}
	s := &shop{t: t, dir: t.TempDir()}
	s.bare, s.work = filepath.Join(s.dir, "shop.git"), filepath.Join(s.dir, "shop")
	gitIn(t, s.dir, "init", "-q", "--bare", "--initial-branch=main", s.bare)
	gitIn(t, s.bare, "config", "http.receivepack", "true")
	gitIn(t, s.dir, "clone", "-q", s.bare, s.work)
	gitIn(t, s.work, "checkout", "-q", "-B", "main")
	s.good = s.commit("Begin", planned)
	backend := &cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(out)), "git-http-backend"), InheritEnv: []string{"PATH"}, Stderr: io.Discard,
		Env: []string{"GIT_PROJECT_ROOT=" + s.dir, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_NOSYSTEM=1"},
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.down.Load() {
			s.denied.Add(1)
			panic(http.ErrAbortHandler)
		}
		if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "git-receive-pack") {
			s.pushed.Add(1)
		}
		backend.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	s.url = server.URL + "/shop.git"
	return s
}

// write makes the manifest what it is to be in the next commit.
func (s *shop) write(text string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.work, "web.yaml"), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// commit pushes a new version of the manifest.
func (s *shop) commit(message, text string) string {
	s.t.Helper()
	s.write(text)
	gitIn(s.t, s.work, "add", ".")
	gitIn(s.t, s.work, "commit", "-q", "-m", message)
	gitIn(s.t, s.work, "push", "-q", "origin", "main")
	return gitIn(s.t, s.work, "rev-parse", "HEAD")
}

func (s *shop) hook(name, script string) {
	s.t.Helper()
	// A program that another test starts meanwhile would hold this one open for writing, and it could not be run.
	syscall.ForkLock.RLock()
	err := os.WriteFile(filepath.Join(s.bare, "hooks", name), []byte("#!/bin/sh\n"+script+"\n"), 0o755) //nolint:gosec // a program
	syscall.ForkLock.RUnlock()
	if err != nil {
		s.t.Fatal(err)
	}
}

// syncing is the sync loop over the repository, without what runs pods.
type syncing struct {
	*shop
	store *state.Store
	loop  *reconciler.Loop
	stop  func()
}

// serve starts the loop on the state in the directory. wrap may come between the loop and the writer.
func (s *shop) serve(dir string, wrap func(reconciler.Writer) reconciler.Writer) *syncing {
	s.t.Helper()
	store, err := state.Open(dir, state.Options{Now: time.Now})
	if err != nil {
		s.t.Fatal(err)
	}
	c, src, app := DefaultConfig(), DefaultSource(), DefaultApp()
	app.Name = "shop"
	if s.app != nil {
		s.app(&app)
	}
	src.Name, src.URL, src.Interval, src.Push = "shop", s.url, 50*time.Millisecond, &PushConfig{}
	src.Apps = []AppConfig{app}
	c.Sources = []SourceConfig{src}
	a := New(c, dir, zerolog.Nop())
	f := &following{app: a, store: store, config: c, pollers: map[repositoryID]*poller{}}
	f.sources = f.wire(c)
	sources := sourcesOf(f.sources)
	if wrap != nil {
		sources[0].Writer = wrap(sources[0].Writer)
	}
	f.loop = reconciler.New(reconciler.Options{Store: store, Engine: embedded.New(store, nil), Sources: sources, MaxRollouts: 10, Now: time.Now, Log: zerolog.Nop()})
	ctx, cancel := context.WithCancel(s.t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = f.run(ctx) })
	wg.Go(func() { _ = f.loop.Run(ctx) })
	out := &syncing{shop: s, store: store, loop: f.loop}
	out.stop = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
		if err := store.Close(); err != nil {
			s.t.Error(err)
		}
	})
	s.t.Cleanup(out.stop)
	return out
}

// until waits for what must happen.
func (s *syncing) until(what string, done func() bool) {
	s.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(2 * time.Minute); !done(); <-tick.C {
		if time.Now().After(end) {
			s.t.Fatalf("%s: not within two minutes; changes %+v\nrows %+v", what, s.store.GitChanges(), s.store.Rows("default", "web"))
		}
	}
}

// synced waits until a commit was recorded.
func (s *syncing) synced(commit string) {
	s.t.Helper()
	s.until("sync of "+commit, func() bool {
		c, ok := s.store.Cursor("shop")
		return ok && c.Commit == commit
	})
}

// deploy has web:1 run, and then web:2.
func (s *syncing) deploy() {
	s.t.Helper()
	s.synced(s.good)
	s.bad = s.commit("Take web:2", strings.Replace(planned, "web:1", "web:2", 1))
	s.synced(s.bad)
}

// rollback goes back to web:1 and returns what was said.
func (s *syncing) rollback() rollback.Result {
	s.t.Helper()
	r, err := s.loop.Rollback(s.t.Context(), rollback.Request{Namespace: "default", Name: "web", ToCommit: s.good, Why: "5xx", By: "alice"})
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

func (s *syncing) change() (state.GitChange, bool) {
	return s.store.GitChange("default", "web", reconciler.FieldTemplate)
}

// settled checks that exactly one commit came, that it is Belay's, and that nothing is left to do.
func (s *syncing) settled(id string, commits int) {
	s.t.Helper()
	s.until("end of the hold", func() bool {
		_, held := s.store.Hold("default", "web")
		_, changing := s.change()
		return !held && !changing
	})
	if n := gitIn(s.t, s.bare, "rev-list", "--count", "main"); n != fmt.Sprint(commits) {
		s.t.Errorf("%s commits, want %d", n, commits)
	}
	if got := gitIn(s.t, s.bare, "log", "-1", "--format=%(trailers:key=Belay-Rollback,valueonly)%(trailers:key=Belay-Requested-By,valueonly)", "main"); got != id+"\nalice" {
		s.t.Errorf("the commit is of %q, want %q by alice", got, id)
	}
	if got := gitIn(s.t, s.bare, "show", "main:web.yaml"); got+"\n" != planned {
		s.t.Errorf("the manifest is\n%s", got)
	}
	gitIn(s.t, s.bare, "fsck", "--strict")
	head := gitIn(s.t, s.bare, "rev-parse", "main")
	s.synced(head)
	row, ok := s.store.Row(id)
	if !ok || row.Commit != head {
		s.t.Errorf("the row of the rollback has commit %q, want %s", row.Commit, head)
	}
}

// A rollback ends as one commit, and the next look changes nothing.
func TestRollbackIsPushed(t *testing.T) {
	t.Parallel()
	s := newShop(t).serve(t.TempDir(), nil)
	s.deploy()
	r := s.rollback()
	if r.Git.State != rollback.GitQueued || r.Git.Mode != rollback.ModeAuto {
		t.Errorf("git: %+v", r.Git)
	}
	s.settled(r.ID, 3)
	if got := gitIn(t, s.bare, "log", "-1", "--format=%s", "main"); got != `Revert "Take web:2"` {
		t.Errorf("subject %q", got)
	}
}

// The server is away when the rollback is asked for: the hold acts at once, the change waits and lands by itself.
func TestRollbackWaitsForTheServer(t *testing.T) {
	t.Parallel()
	s := newShop(t).serve(t.TempDir(), nil)
	s.deploy()
	s.down.Store(true)
	r := s.rollback()
	if _, held := s.store.Hold("default", "web"); !held {
		t.Error("nothing is held")
	}
	s.until("a reason", func() bool {
		c, ok := s.change()
		return ok && c.State == string(rollback.GitQueued) && c.Reason != ""
	})
	s.down.Store(false)
	s.settled(r.ID, 3)
}

// A fix lands while the change waits: it is cancelled.
func TestFixCancelsTheChange(t *testing.T) {
	t.Parallel()
	s := newShop(t).serve(t.TempDir(), nil)
	s.deploy()
	s.down.Store(true)
	s.rollback()
	s.until("a try", func() bool { return s.denied.Load() > 0 })
	fix := s.commit("Take web:3", strings.Replace(planned, "web:1", "web:3", 1))
	s.down.Store(false)
	s.until("end of the hold", func() bool {
		_, held := s.store.Hold("default", "web")
		_, changing := s.change()
		return !held && !changing
	})
	s.synced(fix)
	if got := gitIn(t, s.bare, "rev-parse", "main"); got != fix {
		t.Errorf("main is at %s, want the fix", got)
	}
}

// A protected branch: the change goes to a branch of its own, and whoever merges it ends the hold.
func TestProtectedBranchGetsABranch(t *testing.T) {
	t.Parallel()
	shop := newShop(t)
	dir := t.TempDir()
	s := shop.serve(dir, nil)
	s.deploy()
	shop.hook("update", `test "$1" != refs/heads/main || { echo protected >&2; exit 1; }`)
	r := s.rollback()
	s.until("the branch", func() bool {
		c, ok := s.change()
		return ok && c.State == string(rollback.GitBranch)
	})
	c, _ := s.change()
	branch := "belay/rollback/" + r.ID
	if c.Branch != branch || c.Commit != gitIn(t, s.bare, "rev-parse", branch) || !strings.Contains(c.Reason, "hook declined") {
		t.Errorf("change %+v", c)
	}
	if got := gitIn(t, s.bare, "rev-parse", "main"); got != s.bad {
		t.Errorf("main is at %s", got)
	}
	s.stop()
	s = shop.serve(dir, nil) // a start leaves it as it is
	gitIn(t, s.bare, "update-ref", "refs/heads/main", branch)
	s.settled(r.ID, 3)
}

// dying ends the service at one step of a push, as a kill would.
type dying struct {
	reconciler.Writer
	at   string
	kill context.CancelFunc
	dead chan struct{}
	once *sync.Once
}

func (d dying) die(ctx context.Context) error {
	d.once.Do(func() { close(d.dead) })
	<-ctx.Done()
	return ctx.Err()
}

func (d dying) Land(ctx context.Context, plan func(context.Context, reconciler.Branch) (bool, error)) error {
	if d.at == "before the commit is made" {
		return d.die(ctx)
	}
	err := d.Writer.Land(ctx, func(ctx context.Context, b reconciler.Branch) (bool, error) {
		send, err := plan(ctx, b)
		if d.at == "before it is sent" {
			return false, d.die(ctx)
		}
		return send, err
	})
	if err == nil && d.at == "before it is recorded" {
		return d.die(ctx)
	}
	return err
}

func (d dying) Divert(ctx context.Context, branch string, ours []string) (string, error) {
	commit, err := d.Writer.Divert(ctx, branch, ours)
	if d.at == "before the branch is recorded" {
		return "", d.die(ctx)
	}
	return commit, err
}

// Killed at any step, a rollback is one commit in the end: never two, never none.
func TestKilledWhilePushing(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"before the commit is made", "before it is sent", "before it is recorded", "before the branch is recorded"} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			shop := newShop(t)
			protected := at == "before the branch is recorded"
			dir := t.TempDir()
			dead := make(chan struct{})
			s := shop.serve(dir, func(w reconciler.Writer) reconciler.Writer {
				return dying{Writer: w, at: at, dead: dead, once: &sync.Once{}}
			})
			s.deploy()
			if protected {
				shop.hook("update", `test "$1" != refs/heads/main || exit 1`)
			}
			r := s.rollback()
			<-dead
			s.stop()
			if at == "before it is recorded" { // somebody pushes on top meanwhile
				gitIn(t, s.work, "pull", "-q", "origin", "main")
				gitIn(t, s.work, "commit", "-q", "--allow-empty", "-m", "unrelated")
				gitIn(t, s.work, "push", "-q", "origin", "main")
			}
			s = shop.serve(dir, nil)
			if protected {
				s.until("the branch", func() bool {
					c, ok := s.change()
					return ok && c.State == string(rollback.GitBranch)
				})
				if got := gitIn(t, s.bare, "rev-list", "--count", "belay/rollback/"+r.ID); got != "3" {
					t.Errorf("%s commits on the branch", got)
				}
				gitIn(t, s.bare, "update-ref", "refs/heads/main", "belay/rollback/"+r.ID)
			}
			s.until("end of the hold", func() bool {
				_, held := s.store.Hold("default", "web")
				_, changing := s.change()
				return !held && !changing
			})
			if got := gitIn(t, s.bare, "log", "--format=%(trailers:key=Belay-Rollback,valueonly,separator=%x2C)", "main"); strings.TrimSpace(got) != r.ID {
				t.Errorf("commits of %q, want one of %s", got, r.ID)
			}
		})
	}
}
