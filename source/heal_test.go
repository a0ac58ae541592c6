package source

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func packs(t testing.TB, dir, ext string) []string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(dir, "objects", "pack", "*"+ext))
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func edit(t testing.TB, path string, f func([]byte) []byte) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err == nil {
		err = os.Chmod(path, 0o644)
	}
	if err == nil {
		err = os.WriteFile(path, f(data), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func remove(t testing.TB, paths ...string) {
	t.Helper()
	for _, p := range paths {
		if err := os.RemoveAll(p); err != nil {
			t.Fatal(err)
		}
	}
}

func half(b []byte) []byte  { return b[:len(b)/2] }
func empty(b []byte) []byte { return b[:0] }
func flip(b []byte) []byte  { b[len(b)/2] ^= 0xff; return b }

// readAll reads every file of a commit.
func readAll(s *Snapshot, h Hash) (map[string]string, error) {
	tree, err := s.Tree(h)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	var walk func(dir string) error
	walk = func(dir string) error {
		list, err := tree.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, e := range list {
			path := strings.TrimPrefix(dir+"/"+e.Name(), "/")
			if e.IsDir() {
				if err := walk(path); err != nil {
					return err
				}
				continue
			}
			data, err := tree.ReadFile(path)
			if err != nil {
				return err
			}
			out[path] = string(data)
		}
		return nil
	}
	return out, walk("")
}

// damages are all that must be noticed when a mirror is opened.
var damages = []struct {
	name string
	do   func(t testing.TB, dir string)
	// kept tells that the mirror needs no set-aside.
	kept bool
}{
	{"pack without index", func(t testing.TB, dir string) { remove(t, packs(t, dir, ".idx")[0]) }, false},
	{"truncated index", func(t testing.TB, dir string) { edit(t, packs(t, dir, ".idx")[0], half) }, false},
	{"empty index", func(t testing.TB, dir string) { edit(t, packs(t, dir, ".idx")[0], empty) }, false},
	{"flipped index", func(t testing.TB, dir string) { edit(t, packs(t, dir, ".idx")[0], flip) }, false},
	{"truncated pack", func(t testing.TB, dir string) { edit(t, packs(t, dir, ".pack")[0], half) }, false},
	{"empty pack", func(t testing.TB, dir string) { edit(t, packs(t, dir, ".pack")[0], empty) }, false},
	{"flipped pack", func(t testing.TB, dir string) { edit(t, packs(t, dir, ".pack")[0], flip) }, false},
	{"lost packs", func(t testing.TB, dir string) { remove(t, packs(t, dir, "")...) }, false},
	{"lost objects", func(t testing.TB, dir string) { remove(t, filepath.Join(dir, "objects")) }, false},
	{"empty ref", func(t testing.TB, dir string) { edit(t, filepath.Join(dir, "refs/heads/main"), empty) }, false},
	{"garbage ref", func(t testing.TB, dir string) {
		edit(t, filepath.Join(dir, "refs/heads/main"), func([]byte) []byte { return []byte("garbage\x00\n") })
	}, false},
	{"ref to nothing", func(t testing.TB, dir string) {
		edit(t, filepath.Join(dir, "refs/heads/main"), func([]byte) []byte { return []byte(strings.Repeat("3", 40)) })
	}, false},
	{"file instead of the mirror", func(t testing.TB, dir string) {
		remove(t, dir)
		if err := os.WriteFile(dir, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}, false},
	{"lost ref", func(t testing.TB, dir string) { remove(t, filepath.Join(dir, "refs/heads/main")) }, true},
	{"lost HEAD", func(t testing.TB, dir string) { remove(t, filepath.Join(dir, "HEAD")) }, true},
	{"garbage HEAD", func(t testing.TB, dir string) {
		edit(t, filepath.Join(dir, "HEAD"), func([]byte) []byte { return []byte("ref: ../../../etc/passwd\x00\n") })
	}, true},
	{"broken config", func(t testing.TB, dir string) {
		edit(t, filepath.Join(dir, "config"), func([]byte) []byte { return []byte("[core\n\tworktree = /etc\n[include]\npath=/etc/passwd") })
	}, true},
	{"alternates", func(t testing.TB, dir string) {
		if err := os.WriteFile(filepath.Join(dir, "objects/info/alternates"), []byte("/nonexistent\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}, true},
	{"litter", func(t testing.TB, dir string) {
		for _, name := range []string{"objects/pack/tmp_pack_1", "objects/pack/tmp_idx_2", "refs/heads/tmp_3.lock"} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte("half"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}, true},
	{"index without pack", func(t testing.TB, dir string) {
		if err := os.WriteFile(filepath.Join(dir, "objects/pack/pack-"+strings.Repeat("4", 40)+".idx"), []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}, true},
}

func TestDamagedMirrorHealsWhenOpened(t *testing.T) {
	t.Parallel()
	for _, row := range damages {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			r := newRepo(t)
			old := r.commit("main", "one", map[string]string{"a/f": strings.Repeat("one ", 500)})
			cfg := r.config()
			poll(t, openMirror(t, cfg))
			next := r.commit("main", "two", map[string]string{"a/g": strings.Repeat("two ", 500)})
			poll(t, openMirror(t, cfg))
			row.do(t, cfg.Dir)

			m := openMirror(t, cfg)
			if head := poll(t, m); head.Commit != next {
				t.Fatalf("head %s, want %s", head.Commit, next)
			}
			s := snapshot(t, m)
			if files, err := readAll(s, next); err != nil || len(files) != 2 {
				t.Fatalf("files %v, %v", files, err)
			}
			if got := show(steps(t, s, old, next, 0)); got != "Linear two" {
				t.Fatalf("steps %s", got)
			}
			if _, err := os.Stat(cfg.Dir + ".bad"); (err == nil) == row.kept {
				t.Errorf("set aside: %v, want %v", err == nil, !row.kept)
			}
			if litter := packs(t, cfg.Dir, ""); strings.Contains(fmt.Sprint(litter), "tmp_") {
				t.Errorf("litter is left: %v", litter)
			}
		})
	}
}

func TestDamageWhileRunningHealsWithTheNextPoll(t *testing.T) {
	t.Parallel()
	for _, row := range damages[:9] {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			r := newRepo(t)
			r.commit("main", "one", map[string]string{"a/f": strings.Repeat("one ", 500)})
			cfg := r.config()
			poll(t, openMirror(t, cfg))
			next := r.commit("main", "two", map[string]string{"a/g": strings.Repeat("two ", 500)})
			m := openMirror(t, cfg)
			poll(t, m)
			row.do(t, cfg.Dir)
			var err error
			if s, serr := m.Snapshot(); serr != nil {
				err = serr
			} else {
				var files map[string]string
				if files, err = readAll(s, next); err == nil && (len(files) != 2 || files["a/g"] != strings.Repeat("two ", 500)) {
					t.Fatalf("wrong files are read: %v", files)
				}
				if cerr := s.Close(); cerr != nil {
					t.Error(cerr)
				}
			}
			if err == nil {
				return // what is in memory is right, and goes on to be
			}
			wantKind(t, err, KindCorrupt)
			if head := poll(t, m); head.Commit != next {
				t.Fatalf("head %s, want %s", head.Commit, next)
			}
			if files, err := readAll(snapshot(t, m), next); err != nil || len(files) != 2 {
				t.Fatalf("files %v, %v", files, err)
			}
		})
	}
}

func TestALostPackIsNotTakenForRewrittenHistory(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	old := r.commit("main", "one", map[string]string{"f": "1"})
	cfg := r.config()
	m := openMirror(t, cfg)
	poll(t, m)
	lost := packs(t, cfg.Dir, "")
	next := r.commit("main", "two", map[string]string{"f": "2", "g": "1"})
	poll(t, m)
	remove(t, lost...)
	m = openMirror(t, cfg)
	head := poll(t, m)
	_, err := snapshot(t, m).Steps(t.Context(), old, head.Commit, 0)
	wantKind(t, err, KindCorrupt)
	poll(t, m)
	if got := show(steps(t, snapshot(t, m), old, next, 0)); got != "Linear two" {
		t.Fatalf("steps %s", got)
	}
}

func TestForeignGC(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	cfg := r.config()
	m := openMirror(t, cfg)
	var heads []Hash
	for i := range 5 {
		heads = append(heads, r.commit("main", fmt.Sprint("c", i), map[string]string{"f": fmt.Sprint(i)}))
		poll(t, m)
	}
	before := snapshot(t, m)
	gc := exec.Command("git", "gc", "-q", "--prune=now")
	gc.Dir, gc.Env = cfg.Dir, gitEnv()
	if out, err := gc.CombinedOutput(); err != nil {
		t.Fatalf("git gc: %v\n%s", err, out)
	}
	for _, s := range []*Snapshot{before, snapshot(t, m)} {
		for i, h := range heads {
			if files, err := readAll(s, h); err != nil || files["f"] != fmt.Sprint(i) {
				t.Fatalf("%v, %v", files, err)
			}
		}
	}
	last := r.commit("main", "last", map[string]string{"f": "last"})
	if head := poll(t, m); head.Commit != last {
		t.Fatalf("head %s, want %s", head.Commit, last)
	}
	if _, err := os.Stat(cfg.Dir + ".bad"); err == nil {
		t.Error("a mirror that was packed anew was set aside")
	}
	if head := openMirror(t, cfg).Head(); head.Commit != last {
		t.Errorf("reopened at %s, want %s", head.Commit, last)
	}
}

func TestHeadsThatWereLeftAreKept(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	base := r.commit("main", "base", map[string]string{"f": "0"})
	lost := r.commit("main", "lost", map[string]string{"f": "1"})
	cfg := r.config()
	m := openMirror(t, cfg)
	poll(t, m)
	r.point("main", base)
	next := r.commit("main", "next", map[string]string{"f": "2"})
	poll(t, m)
	if h, err := readRef(cfg.Dir, keepPrefix+string(lost)); err != nil || fromGit(h) != lost {
		t.Fatalf("no private ref: %v", err)
	}
	r.commit("main", "linear", map[string]string{"f": "3"})
	poll(t, m)
	if _, err := readRef(cfg.Dir, keepPrefix+string(next)); !isNotExist(err) {
		t.Errorf("a head that is an ancestor is kept too: %v", err)
	}
	r.git("", "gc", "-q", "--prune=now") // the remote has forgotten it

	edit(t, filepath.Join(cfg.Dir, "objects/pack", newest(t, cfg.Dir)), flip)
	m.damaged.Store(true)
	poll(t, m)
	if files, err := readAll(snapshot(t, m), lost); err != nil || files["f"] != "1" {
		t.Errorf("the kept commit did not survive the new mirror: %v, %v", files, err)
	}
}

// newest returns the name of the pack written last.
func newest(t testing.TB, dir string) string {
	t.Helper()
	var name string
	var at int64
	for _, p := range packs(t, dir, ".pack") {
		info, err := os.Stat(p)
		if err != nil {
			t.Fatal(err)
		}
		if info.ModTime().UnixNano() > at {
			name, at = info.Name(), info.ModTime().UnixNano()
		}
	}
	return name
}

func TestMirrorOfAnotherBranchIsNotServed(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	r.commit("main", "m", map[string]string{"f": "m"})
	other := r.commit("x", "x", map[string]string{"f": "x"})
	r.git("", "update-ref", "refs/heads/nested/main", string(other))
	cfg := r.config()
	poll(t, openMirror(t, cfg))
	cfg.Branch = "nested/main"
	m := openMirror(t, cfg)
	if head := m.Head(); head.Commit != "" {
		t.Fatalf("the head of another branch is served: %s", head.Commit)
	}
	if head := poll(t, m); head.Commit != other {
		t.Fatalf("head %s, want %s", head.Commit, other)
	}
}

// What looks like litter and is a branch stays; litter goes, wherever a branch's name puts it.
func TestBranchNamedLikeLitter(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	cfg := r.config()
	cfg.Branch = "a/tmp_x"
	at := r.commit(cfg.Branch, "one", map[string]string{"f": "1"})
	poll(t, openMirror(t, cfg))
	litter := filepath.Join(cfg.Dir, "refs", "heads", "a", "tmp_1.lock")
	write(t, litter, "half")
	m := openMirror(t, cfg)
	defer m.Close()
	if head := m.Head(); head.Commit != at {
		t.Errorf("head %+v, want %s", head, at)
	}
	if _, err := os.Stat(litter); !isNotExist(err) {
		t.Errorf("litter: %v", err)
	}
}
