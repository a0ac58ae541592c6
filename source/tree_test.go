package source

import (
	"encoding/hex"
	"fmt"
	"io/fs"
	"strings"
	"testing"
)

// treeOf returns the tree of a commit whose root tree has the given raw entries: "mode name" and a hash, each.
func treeOf(t *testing.T, r *repo, entries ...[2]string) (*Tree, error) {
	t.Helper()
	var raw strings.Builder
	for _, e := range entries {
		id, err := hex.DecodeString(e[1])
		if err != nil {
			t.Fatal(err)
		}
		raw.WriteString(e[0] + "\x00" + string(id))
	}
	tree := r.object("tree", raw.String())
	commit := Hash(r.git("", "commit-tree", tree, "-m", "made by hand"))
	r.point("main", commit)
	m := r.mirror()
	poll(t, m)
	return snapshot(t, m).Tree(commit)
}

func TestHostileNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"..", ".", ".git", ".GIT", "a/b", "../../etc/passwd"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRepo(t)
			blob := r.object("blob", "x")
			_, err := treeOf(t, r, [2]string{"100644 " + name, blob})
			wantKind(t, err, KindMalformed)
		})
	}
	t.Run("twice", func(t *testing.T) {
		t.Parallel()
		r := newRepo(t)
		blob := r.object("blob", "x")
		_, err := treeOf(t, r, [2]string{"100644 a", blob}, [2]string{"100644 a", blob})
		wantKind(t, err, KindMalformed)
	})
	t.Run("cut off", func(t *testing.T) {
		t.Parallel()
		if _, err := parseTree([20]byte{}, []byte("100644 a\x00short")); KindOf(err) != KindMalformed {
			t.Fatal(err)
		}
	})
}

func TestOddNamesAreReadAsTheyAre(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	blob := r.object("blob", "x")
	names := []string{"-x", "caf\xe9", "ctrl\x1b", "new\nline", "ünï"}
	var entries [][2]string
	for _, n := range names {
		entries = append(entries, [2]string{"100644 " + n, blob})
	}
	tree, err := treeOf(t, r, entries...)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if data, err := tree.ReadFile(n); err != nil || string(data) != "x" {
			t.Errorf("%q: %q, %v", n, data, err)
		}
	}
}

func TestKindsOfEntries(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	blob, link := r.object("blob", "x"), r.object("blob", "../../etc/passwd")
	lfs := r.object("blob", lfsPrefix+"v1\noid sha256:1\nsize 1\n")
	sub := r.object("tree", "")
	tree, err := treeOf(t, r,
		[2]string{"40000 dir", sub}, [2]string{"100755 exe", blob}, [2]string{"100644 file", blob},
		[2]string{"100644 lfs", lfs}, [2]string{"120000 link", link}, [2]string{"100664 old", blob},
		[2]string{"160000 sub", strings.Repeat("1", 40)}, [2]string{"100000 weird", blob})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]fs.FileMode{
		"dir": fs.ModeDir | 0o755, "exe": 0o755, "file": 0o644, "lfs": 0o644, "link": fs.ModeSymlink | 0o777, "old": 0o644,
		"sub": fs.ModeIrregular, "weird": fs.ModeIrregular,
	}
	list, err := tree.ReadDir(".")
	if err != nil || len(list) != len(want) {
		t.Fatalf("ReadDir = %v, %v", list, err)
	}
	for _, e := range list {
		if info, err := e.Info(); err != nil || info.Mode() != want[e.Name()] || e.Type() != want[e.Name()].Type() {
			t.Errorf("%s: %v, want %v", e.Name(), info.Mode(), want[e.Name()])
		}
	}
	if data, err := tree.ReadFile("link"); err != nil || string(data) != "../../etc/passwd" {
		t.Errorf("link = %q, %v", data, err)
	}
	for path, kind := range map[string]Kind{"sub": KindUnsupported, "lfs": KindUnsupported} {
		_, err := tree.ReadFile(path)
		wantKind(t, err, kind)
	}
	for _, path := range []string{"link/x", "file/x", "sub/x", "nope/x", "dir/nope"} {
		if _, err := tree.Stat(path); !isNotExist(err) {
			t.Errorf("Stat %s = %v", path, err)
		}
	}
	for _, path := range []string{"/file", "dir/../file", "dir//x", "file/", "./file"} {
		if _, err := tree.ReadFile(path); err == nil {
			t.Errorf("ReadFile %s succeeded", path)
		}
	}
	if _, err := tree.ReadFile("dir"); err == nil {
		t.Error("ReadFile of a directory succeeded")
	}
	if _, err := tree.ReadDir("file"); err == nil {
		t.Error("ReadDir of a file succeeded")
	}
}

func TestExecutableBitAndSwapsChangeTheHash(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	blob := r.object("blob", "x")
	sub := r.object("tree", "100644 x\x00"+string(must(hex.DecodeString(blob))))
	seen := map[string]string{}
	for name, e := range map[string][2]string{
		"file": {"100644 a", blob}, "executable": {"100755 a", blob}, "directory": {"40000 a", sub}, "case": {"100644 A", blob},
	} {
		tree, err := treeOf(t, r, e)
		if err != nil {
			t.Fatal(err)
		}
		if other, ok := seen[tree.Hash()]; ok {
			t.Errorf("%s and %s have one hash", name, other)
		}
		seen[tree.Hash()] = name
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestLimits(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	deep := strings.Repeat("d/", 1000) + "f"
	files := map[string]string{"big": strings.Repeat("x", 2000), "small": "x", deep: "x"}
	for i := range 60 {
		files[fmt.Sprintf("many/%d", i)] = "x"
	}
	r.commit("main", "c", files)
	cfg := r.config()
	cfg.Limits = Limits{BlobBytes: 1000, Entries: 50, Depth: 10}
	m := openMirror(t, cfg)
	head := poll(t, m)
	tree, err := snapshot(t, m).Tree(head.Commit)
	if err != nil {
		t.Fatal(err)
	}
	_, err = tree.ReadFile("big")
	wantKind(t, err, KindTooLarge)
	if _, err := tree.ReadFile("small"); err != nil {
		t.Error(err)
	}
	_, err = tree.Stat(deep)
	wantKind(t, err, KindTooLarge)
	_, err = tree.ReadDir("many")
	wantKind(t, err, KindTooLarge)

	cfg = r.config()
	cfg.Limits.PackBytes = 100
	_, err = openMirror(t, cfg).Poll(t.Context())
	wantKind(t, err, KindTooLarge)
}

func TestMissingSubtreeIsAnError(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	r.git("", "config", "receive.fsckObjects", "false")
	blob := r.object("blob", "x")
	tree := r.object("tree", "100644 a\x00"+string(must(hex.DecodeString(blob)))+"40000 gone\x00"+strings.Repeat("\x11", 20))
	c := "tree " + tree + "\nauthor A <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\n\nbroken\n"
	r.point("main", Hash(r.object("commit", c)))
	_, err := r.mirror().Poll(t.Context())
	wantKind(t, err, KindCorrupt)
	if !strings.Contains(err.Error(), strings.Repeat("11", 20)) {
		t.Errorf("the error does not name the object: %v", err)
	}
}

func FuzzParseTree(f *testing.F) {
	f.Add([]byte("100644 a\x00" + strings.Repeat("1", 20) + "40000 b\x00" + strings.Repeat("2", 20)))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := parseTree([20]byte{}, data)
		if err != nil {
			return
		}
		for i, e := range d {
			if e.Name() == "" || strings.Contains(e.Name(), "/") || i > 0 && d[i-1].Name() >= e.Name() {
				t.Fatalf("bad entry %q", e.Name())
			}
			if d.find(e.Name()) != e {
				t.Fatalf("%q is not found", e.Name())
			}
		}
	})
}
