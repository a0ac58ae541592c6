package source

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rs/zerolog"
)

// at returns a mirror of another address of the same repository.
func (r *repo) at(url string) *Mirror {
	cfg := r.config()
	cfg.URL = url
	return openMirror(r.t, cfg)
}

func TestLocalRepositoriesOfEveryShape(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	first := r.commit("main", "first", map[string]string{"f": "1"})
	base := t.TempDir()
	work := filepath.Join(base, "work tree")
	r.git("", "clone", "-q", r.dir, work)
	borrowed := filepath.Join(base, "borrowed.git")
	r.git("", "clone", "-q", "--bare", "--shared", r.dir, borrowed)
	linked := filepath.Join(base, "linked")
	r.git("", "-C", work, "worktree", "add", "-q", "-b", "feature", linked)
	packed := filepath.Join(base, "packed.git")
	r.git("", "clone", "-q", "--bare", r.dir, packed)
	r.git("", "-C", packed, "gc", "-q")

	rows := map[string]string{
		"bare": r.dir, "file address": "file://" + r.dir, "file address with host": "file://localhost" + r.dir,
		"file address with blanks": "file://" + strings.ReplaceAll(work, " ", "%20"), "working tree": work,
		".git directory": filepath.Join(work, ".git"), "linked working tree": linked, "alternates": borrowed,
		"packed": packed, "trailing slash": packed + "/",
	}
	for name, url := range rows {
		t.Run(name, func(t *testing.T) {
			m := r.at(url)
			if head := poll(t, m); head.Commit != first {
				t.Fatalf("head %s, want %s", head.Commit, first)
			}
			if files, err := readAll(snapshot(t, m), first); err != nil || files["f"] != "1" {
				t.Fatalf("%v, %v", files, err)
			}
		})
	}
}

func TestLocalRepositoriesThatCannotBeRead(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	r.commit("main", "first", map[string]string{"f": "1"})
	r.commit("main", "second", map[string]string{"f": "2"})
	r.commit("dev", "dev", map[string]string{"f": "1"})
	base := t.TempDir()
	dir := func(name string) string {
		path := filepath.Join(base, name)
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	fresh := filepath.Join(base, "fresh.git")
	r.git("", "init", "-q", "--bare", fresh)
	shallow := filepath.Join(base, "shallow.git")
	r.git("", "clone", "-q", "--bare", "--depth=1", "--branch=main", "file://"+r.dir, shallow)
	sha256 := filepath.Join(base, "sha256")
	r.git("", "init", "-q", "-b", "main", "--object-format=sha256", sha256)
	r.git("", "-C", sha256, "commit", "-q", "--allow-empty", "-m", "x")
	reftable := filepath.Join(base, "reftable.git")
	r.git("", "clone", "-q", "--bare", r.dir, reftable)
	if err := os.MkdirAll(filepath.Join(reftable, "reftable"), 0o755); err != nil {
		t.Fatal(err)
	}
	remove(t, filepath.Join(reftable, "packed-refs"))
	if err := os.WriteFile(filepath.Join(dir("points"), ".git"), []byte("gitdir: ../nowhere\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	cut := filepath.Join(base, "cut.git")
	r.git("", "clone", "-q", "--bare", r.dir, cut)
	r.git("", "-C", cut, "repack", "-adq")
	edit(t, packs(t, cut, ".pack")[0], half)

	rows := []struct {
		name, url, branch string
		kind              Kind
		hint              string
	}{
		{"no such path", filepath.Join(base, "nope"), "main", KindNotFound, "check the path"},
		{"no repository", dir("plain"), "main", KindNotFound, "bare repository"},
		{"pointer to nowhere", filepath.Join(base, "points"), "main", KindNotFound, "bare repository"},
		{"wrong branch", r.dir, "master", KindBranchGone, "branches there: dev, main"},
		{"branch below a branch", r.dir, "main/x", KindBranchGone, "branches there: dev, main"},
		{"empty", fresh, "main", KindEmpty, "push a first commit to branch main"},
		{"shallow", shallow, "main", KindUnsupported, "git fetch --unshallow"},
		{"sha256", sha256, "main", KindUnsupported, "SHA-1"},
		{"reftable", reftable, "main", KindUnsupported, "git refs migrate"},
		{"damaged", cut, "main", KindCorrupt, "git fsck"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			cfg := r.config()
			cfg.URL, cfg.Branch = row.url, row.branch
			m := openMirror(t, cfg)
			_, err := m.Poll(t.Context())
			wantKind(t, err, row.kind)
			e := err.(*Error) //nolint:errorlint // Poll returns nothing else
			if !strings.Contains(e.Hint, row.hint) {
				t.Errorf("hint %q does not say %q", e.Hint, row.hint)
			}
			if m.damaged.Load() {
				t.Error("the remote's fault is taken for damage of the mirror")
			}
			_, err = m.Snapshot()
			wantKind(t, err, KindEmpty)
		})
	}
}

func TestConfigThatCannotWork(t *testing.T) {
	t.Parallel()
	for _, branch := range []string{"", "-x", "a..b", "a b", "../config", "a/../b", "a//b", "/a", "a/", ".a", "a/.b", "a.lock", "a\x00", "a~1", "a^", "a:b", "@", "a@{1}", "a."} {
		_, err := Open(t.Context(), Config{Name: "x", URL: "/x", Branch: branch, Dir: filepath.Join(t.TempDir(), "m")}, zerolog.Nop())
		if KindOf(err) != KindInvalid {
			t.Errorf("branch %q: %v", branch, err)
		}
	}
	for _, branch := range []string{"main", "release/1.2", "ünï", "a-b", "@x", "x@"} {
		if _, err := Open(t.Context(), Config{Name: "x", URL: "/x", Branch: branch, Dir: filepath.Join(t.TempDir(), "m")}, zerolog.Nop()); err != nil {
			t.Errorf("branch %q: %v", branch, err)
		}
	}
	for _, url := range []string{"", "file://relative", "file://host/path"} {
		_, err := Open(t.Context(), Config{Name: "x", URL: url, Branch: "main", Dir: filepath.Join(t.TempDir(), "m")}, zerolog.Nop())
		if KindOf(err) != KindInvalid {
			t.Errorf("url %q: %v", url, err)
		}
	}
}

func TestReadOnlyRemoteAndNoGitBinary(t *testing.T) {
	r := newRepo(t)
	h := r.commit("main", "first", map[string]string{"f": "1"})
	if err := filepath.Walk(r.dir, func(path string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		return os.Chmod(path, info.Mode()&^0o222)
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := filepath.Walk(r.dir, func(path string, info os.FileInfo, err error) error {
			if err != nil {
				return err
			}
			return os.Chmod(path, info.Mode()|0o200)
		}); err != nil {
			t.Error(err)
		}
	})
	cfg := r.config()
	t.Setenv("PATH", "")
	if head := poll(t, openMirror(t, cfg)); head.Commit != h {
		t.Fatalf("head %s, want %s", head.Commit, h)
	}
}
