package source

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/idxfile"
)

// leaveOut makes a server answer a first clone of head with a pack without one object.
func (w *webServer) leaveOut(t *testing.T, r *repo, head Hash, object string) func(http.ResponseWriter, *http.Request) bool {
	t.Helper()
	var ids strings.Builder
	for _, line := range strings.Split(r.git("", "rev-list", "--objects", "--no-object-names", string(head)), "\n") {
		if line != object {
			ids.WriteString(line + "\n")
		}
	}
	file := filepath.Join(t.TempDir(), "pack")
	full := r.git(ids.String(), "pack-objects", "-q", "--window=0", file)
	data := must(readFile(file + "-" + full + ".pack"))
	posts := 0
	return func(out http.ResponseWriter, req *http.Request) bool {
		if req.Method != http.MethodPost {
			return false
		}
		if posts++; posts != 2 {
			return false
		}
		m := &message{}
		m.line("packfile")
		out.Header().Set("Content-Type", "application/x-git-upload-pack-result")
		_, _ = out.Write(m.Bytes())
		for rest := data; len(rest) > 0; {
			n := min(len(rest), 60000)
			_, _ = fmt.Fprintf(out, "%04x\x01%s", n+5, rest[:n])
			rest = rest[n:]
		}
		_, _ = io.WriteString(out, "0000")
		return true
	}
}

// zeroStream is what zlib makes of n MB of zeros, made by writing what it makes of one again and again.
func zeroStream(megabytes int) []byte {
	var one bytes.Buffer
	z := must(flate.NewWriter(&one, flate.BestCompression))
	chunk := make([]byte, 1<<20)
	var out bytes.Buffer
	out.Write([]byte{0x78, 0x9c})
	for range 2 { // the second begins on a byte, after zeros
		one.Reset()
		if _, err := z.Write(chunk); err != nil {
			panic(err)
		}
		if err := z.Flush(); err != nil {
			panic(err)
		}
		out.Write(one.Bytes())
	}
	for range megabytes - 2 {
		out.Write(one.Bytes())
	}
	out.Write([]byte{1, 0, 0, 0xff, 0xff}) // a last block, empty
	n := uint64(megabytes) << 20
	out.Write(binary.BigEndian.AppendUint32(nil, uint32(n%65521)<<16|1))
	return out.Bytes()
}

// A file of 1 GB, in the history and in the head, costs no memory as long as nobody asks for it, and asking is refused.
func TestHugeBlobIsNotLoaded(t *testing.T) {
	r := newRepo(t)
	p := &packMaker{}
	p.raw(plumbing.BlobObject, hugeMegabytes<<20, zeroStream(hugeMegabytes))
	pack := p.done()
	name := filepath.Join(r.dir, "objects", "pack", "pack-"+strings.Repeat("0", 40))
	write(t, name+".pack", string(pack))
	list := &idxfile.Writer{}
	if err := list.OnHeader(1); err != nil {
		t.Fatal(err)
	}
	list.Add(must(toGit(hugeZeros)), 12, 0)
	if err := list.OnFooter(plumbing.Hash(pack[len(pack)-20:])); err != nil {
		t.Fatal(err)
	}
	if err := (&fetchTarget{}).writeIndex(filepath.Dir(name), name, must(list.Index())); err != nil {
		t.Fatal(err)
	}
	tree := r.git(fmt.Sprintf("100644 blob %s\thuge\n100644 blob %s\tsmall\n", hugeZeros, r.object("blob", "x")), "mktree", "--missing")
	first := Hash(r.git("", "commit-tree", tree, "-m", "huge"))
	r.point("main", first)

	m := r.mirror()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	poll(t, m)
	s := snapshot(t, m)
	at, err := s.Tree(first)
	if err != nil {
		t.Fatal(err)
	}
	if data, err := at.ReadFile("small"); err != nil || string(data) != "x" {
		t.Errorf("small: %q, %v", data, err)
	}
	if list, err := at.ReadDir(""); err != nil || len(list) != 2 {
		t.Errorf("%v, %v", list, err)
	}
	_, err = at.ReadFile("huge")
	wantKind(t, err, KindTooLarge)
	next := r.commit("main", "gone", map[string]string{"huge": ""})
	poll(t, m)
	if got := show(steps(t, snapshot(t, m), first, next, 0)); got != "Linear gone" {
		t.Errorf("steps %s", got)
	}
	m = openMirror(t, m.cfg) // verified anew
	if m.Head().Commit != next {
		t.Errorf("head %+v", m.Head())
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 64<<20 {
		t.Errorf("%d MB were allocated", got>>20)
	}
}

// raw adds an object that is deflated already.
func (p *packMaker) raw(kind plumbing.ObjectType, says int64, deflated []byte) {
	p.WriteString("PACK\x00\x00\x00\x02\x00\x00\x00\x00")
	p.n++
	p.Write(entryHead(kind, says))
	p.Write(deflated)
}

func TestManyFiles(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	var in strings.Builder
	in.WriteString("blob\nmark :1\ndata 1\nx\ncommit refs/heads/main\nmark :2\ncommitter A <a@b> 1 +0000\ndata 4\nmany\n")
	for i := range 100_000 {
		fmt.Fprintf(&in, "M 100644 :1 d%02d/s%02d/f%05d\n", i%50, i/50%20, i)
	}
	in.WriteString("done\n")
	r.git(in.String(), "fast-import", "--quiet", "--done")
	m := r.mirror()
	h := poll(t, m).Commit
	s := snapshot(t, m)
	count := func(tree *Tree) (n int, err error) {
		var walk func(string) error
		walk = func(dir string) error {
			list, err := tree.ReadDir(dir)
			if err != nil {
				return err
			}
			for _, e := range list {
				if !e.IsDir() {
					n++
				} else if err := walk(strings.TrimPrefix(dir+"/"+e.Name(), "/")); err != nil {
					return err
				}
			}
			return nil
		}
		err = walk("")
		return n, err
	}
	if n, err := count(must(s.Tree(h))); n != 100_000 || err != nil {
		t.Errorf("%d files, %v", n, err)
	}
	cfg := m.cfg
	cfg.Limits.Entries = 50_000
	small := openMirror(t, cfg)
	_, err := count(must(snapshot(t, small).Tree(h)))
	wantKind(t, err, KindTooLarge)
}

// needRoot skips without the right to mount, or fails where CI promised it.
func needRoot(t *testing.T, err error) {
	t.Helper()
	if os.Getenv("REQUIRE_ROOT") != "" {
		t.Fatalf("a small file system cannot be mounted: %v", err)
	}
	t.Skipf("a small file system cannot be mounted: %v", err)
}

// treeSize is the sum of the sizes of all files below dir. Unlike the free blocks of its file system it does not count a
// deleted file that a process which another test just forks has still open.
func treeSize(t *testing.T, dir string) (sum int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			sum += info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// A disk that fills up amid a fetch is told as that; what is served stays, nothing is left behind, and the poll after
// somebody has made room goes on.
func TestDiskThatFillsUp(t *testing.T) {
	t.Parallel()
	for _, way := range []int{0, 1, 3} {
		tr := transports[way]
		t.Run(tr.name, func(t *testing.T) {
			t.Parallel()
			r := newRepo(t)
			disk := t.TempDir()
			if err := syscall.Mount("belay-test", disk, "tmpfs", 0, "size=512k"); err != nil {
				needRoot(t, err)
			}
			t.Cleanup(func() {
				// Detached: a process that another test just forks may still have a file of it open.
				if err := syscall.Unmount(disk, syscall.MNT_DETACH); err != nil {
					t.Error(err)
				}
			})
			first := r.commit("main", "first", map[string]string{"f": "1"})
			cfg := tr.config(t, r)
			cfg.Dir = filepath.Join(disk, "mirror")
			m := openMirror(t, cfg)
			defer m.Close()
			poll(t, m)
			before := treeSize(t, disk)
			next := r.commit("main", "large", map[string]string{"big": noise(1 << 20)})
			for range 2 {
				_, err := m.Poll(t.Context())
				wantKind(t, err, KindDisk)
				if e := new(Error); !asError(err, &e) || !strings.Contains(e.Hint, "free some space") {
					t.Errorf("no hint in %+v", err)
				}
				if now := treeSize(t, disk); now != before {
					t.Errorf("%d bytes are taken, of %d before", now, before)
				}
			}
			s, err := m.Snapshot()
			if err != nil || s.Head() != first || m.damaged.Load() {
				t.Fatalf("snapshot at %v, %v", s, err)
			}
			if files, err := readAll(s, first); err != nil || files["f"] != "1" {
				t.Errorf("%v, %v", files, err)
			}
			// A full disk at the start is no reason not to serve what is there.
			filler := filepath.Join(disk, "filler")
			_ = os.WriteFile(filler, make([]byte, 1<<20), 0o600) // until it is full
			if again, err := Open(t.Context(), cfg, nopLog); err != nil {
				wantKind(t, err, KindDisk)
			} else if again.Head().Commit != first {
				t.Errorf("reopened at %+v", again.Head())
			}
			remove(t, filler)
			if err := syscall.Mount("belay-test", disk, "tmpfs", syscall.MS_REMOUNT, "size=16m"); err != nil {
				t.Fatal(err)
			}
			if head := poll(t, m); head.Commit != next {
				t.Errorf("head %+v", head)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			reopened := openMirror(t, cfg)
			defer reopened.Close()
			if reopened.Head().Commit != next {
				t.Errorf("reopened at %+v", reopened.Head())
			}
		})
	}
}
