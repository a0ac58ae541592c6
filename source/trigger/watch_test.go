package trigger

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/rs/zerolog"

	"github.com/belay-dev/belay/source"
)

// watched is a repository with a clone to push from, and what Watch reports of one of its branches.
type watched struct {
	t     *testing.T
	bare  string
	clone string
	moved chan time.Time
}

func watchBranch(t *testing.T, branch string) *watched {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		if os.Getenv("REQUIRE_GIT") != "" {
			t.Fatal("git is not installed")
		}
		t.Skip("git is not installed")
	}
	dir := t.TempDir()
	w := &watched{t: t, bare: filepath.Join(dir, "shop.git"), clone: filepath.Join(dir, "shop"), moved: make(chan time.Time, 100)}
	w.git(dir, "init", "-q", "--bare", "-b", "main", w.bare)
	w.git(dir, "clone", "-q", w.bare, w.clone)
	w.commit()
	w.git(w.clone, "push", "-q", "origin", "HEAD:main")
	w.watch(w.bare, branch)
	return w
}

func (w *watched) watch(path, branch string) {
	done := make(chan struct{})
	ctx := w.t.Context()
	go func() {
		defer close(done)
		Watch(ctx, WatchConfig{
			Dir:    func() (string, error) { dir, _, err := source.LocalDir(path); return dir, err },
			Branch: branch, Moved: func() { w.moved <- time.Now() }, Log: zerolog.Nop(),
		})
	}()
	w.t.Cleanup(func() { <-done })
	w.reported("the start")
}

func (w *watched) git(dir string, args ...string) {
	w.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_NAME=Ann",
		"GIT_AUTHOR_EMAIL=ann@example.com", "GIT_COMMITTER_NAME=Ann", "GIT_COMMITTER_EMAIL=ann@example.com")
	if out, err := cmd.CombinedOutput(); err != nil {
		w.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
}

func (w *watched) commit() { w.git(w.clone, "commit", "-q", "--allow-empty", "-m", "more") }

func (w *watched) push(branch string) {
	w.t.Helper()
	w.commit()
	w.git(w.clone, "push", "-q", "-f", "origin", "HEAD:refs/heads/"+branch)
}

// reported fails unless a move is reported.
func (w *watched) reported(what string) time.Time {
	w.t.Helper()
	select {
	case at := <-w.moved:
		return at
	case <-time.After(2 * time.Minute):
		w.t.Fatalf("%s was not reported", what)
	}
	return time.Time{}
}

// quiet fails when a move is reported.
func (w *watched) quiet(what string) {
	w.t.Helper()
	select {
	case <-w.moved:
		w.t.Fatalf("%s was reported", what)
	case <-time.After(2 * stormTime):
	}
}

func TestWatchSeesPushes(t *testing.T) {
	t.Parallel()
	w := watchBranch(t, "main")
	for range 3 {
		w.push("main")
		w.reported("a push")
		w.quiet("nothing")
	}
	w.git(w.bare, "pack-refs", "--all")
	w.git(w.bare, "gc", "-q")
	w.push("other")
	w.quiet("packing, gc, or a push to another branch")
	w.push("main")
	w.reported("a push over packed references")
	w.git(w.bare, "pack-refs", "--all")
	w.git(w.bare, "update-ref", "-d", "refs/heads/main")
	w.reported("a packed branch that is gone")
	w.push("main")
	w.reported("a branch that is back")
}

func TestWatchSeesANestedBranch(t *testing.T) {
	t.Parallel()
	w := watchBranch(t, "feature/x/y")
	w.push("feature/x/y")
	w.reported("the first push")
	w.git(w.bare, "pack-refs", "--all") // removes the directories
	w.quiet("packing")
	w.push("feature/x/y")
	w.reported("a push into directories made anew")
	w.push("feature/x/z")
	w.quiet("a push to the branch beside")
}

func TestWatchSeesAReplacedRepository(t *testing.T) {
	t.Parallel()
	w := watchBranch(t, "main")
	if err := os.Rename(w.bare, w.bare+".old"); err != nil {
		t.Fatal(err)
	}
	w.reported("the repository that is gone")
	w.git(filepath.Dir(w.bare), "clone", "-q", "--bare", w.clone, w.bare)
	w.reported("the repository in its place")
	w.push("main")
	w.reported("a push to the one in its place")
	if err := os.RemoveAll(w.bare); err != nil {
		t.Fatal(err)
	}
	w.reported("the repository that was removed")
}

func TestWatchSeesCommitsOfAWorkingTree(t *testing.T) {
	t.Parallel()
	w := watchBranch(t, "main")
	w.git(w.clone, "worktree", "add", "-q", filepath.Join(w.clone, "more"), "-b", "side")
	w.watch(w.clone, "main")
	w.commit()
	w.reported("a commit")
	w.watch(filepath.Join(w.clone, "more"), "side")
	w.git(filepath.Join(w.clone, "more"), "commit", "-q", "--allow-empty", "-m", "more")
	w.reported("a commit in an added working tree")
}

// When the system says that it lost events, the branch is looked at, and what is watched goes on being watched.
func TestWatchOverflow(t *testing.T) {
	t.Parallel()
	w := watchBranch(t, "main")
	opened := make(chan *fsnotify.Watcher, 1)
	done := make(chan struct{})
	moved := make(chan struct{}, 100)
	ctx := t.Context()
	go func() {
		defer close(done)
		Watch(ctx, WatchConfig{
			Dir:    func() (string, error) { dir, _, err := source.LocalDir(w.bare); return dir, err },
			Branch: "main", Moved: func() { moved <- struct{}{} }, Log: zerolog.Nop(), recheck: time.Hour,
			open: func() (*fsnotify.Watcher, error) {
				fs, err := fsnotify.NewWatcher()
				opened <- fs
				return fs, err
			},
		})
	}()
	t.Cleanup(func() { <-done })
	fs := <-opened
	<-moved // the start
	dirs := fs.WatchList()
	for _, dir := range dirs { // from now on no event comes
		if err := fs.Remove(dir); err != nil {
			t.Fatal(err)
		}
	}
	w.push("main")
	w.reported("a push, to the watch that hears of it")
	if len(moved) != 0 {
		t.Fatal("a push was reported although no event came")
	}
	for _, dir := range dirs {
		if err := fs.Add(dir); err != nil {
			t.Fatal(err)
		}
	}
	fs.Errors <- fsnotify.ErrEventOverflow
	<-moved
	w.push("main")
	<-moved
}

// A storm of pushes is reported as a few moves, and the last one is among them.
func TestWatchStorm(t *testing.T) {
	t.Parallel()
	w := watchBranch(t, "main")
	name := filepath.Join(w.bare, "refs", "heads", "main")
	const many = 2000
	began := time.Now()
	for i := range many {
		if err := os.WriteFile(name+".new", []byte{'a' + byte(i%2), '\n'}, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(name+".new", name); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(name, []byte("end\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	w.reported("the storm")
	<-time.After(3 * stormTime)
	if most := int(time.Since(began)/stormTime) + 2; len(w.moved) > most {
		t.Errorf("%d reports of %d moves, want at most %d", len(w.moved), many, most)
	}
}
