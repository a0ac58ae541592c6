package source

import (
	"bytes"
	"compress/zlib"
	"context"
	"crypto/sha1" //nolint:gosec // Git's pack trailer is SHA-1
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"
)

// packMaker writes packs as nobody should.
type packMaker struct {
	bytes.Buffer
	n     int
	last  int64
	count func(n int) int // what the head says of the number of objects
}

func (p *packMaker) put(kind plumbing.ObjectType, says int64, base []byte, content io.Reader) {
	if p.Len() == 0 {
		p.WriteString("PACK\x00\x00\x00\x02\x00\x00\x00\x00")
	}
	at := int64(p.Len())
	p.n++
	p.Write(entryHead(kind, says))
	p.Write(base)
	z := must(zlib.NewWriterLevel(&p.Buffer, zlib.BestSpeed))
	if _, err := io.Copy(z, content); err != nil {
		panic(err)
	}
	if err := z.Close(); err != nil {
		panic(err)
	}
	p.last = at
}

// whole adds an object of n zeros.
func (p *packMaker) whole(kind plumbing.ObjectType, n int64) {
	p.put(kind, n, nil, io.LimitReader(zeroes{}, n))
}

// doubling adds a delta on the object before, of size n, that makes it times as large.
func (p *packMaker) doubling(n, times int64) {
	var d bytes.Buffer
	d.Write(binary.AppendUvarint(nil, uint64(n)))
	d.Write(binary.AppendUvarint(nil, uint64(n*times)))
	for range times {
		for at := int64(0); at < n; {
			size := min(n-at, 0xffffff)
			d.Write([]byte{0xff, byte(at), byte(at >> 8), byte(at >> 16), byte(at >> 24), byte(size), byte(size >> 8), byte(size >> 16)})
			at += size
		}
	}
	p.put(plumbing.OFSDeltaObject, int64(d.Len()), backward(int64(p.Len())-p.last), &d)
}

func (p *packMaker) done() []byte {
	b := bytes.Clone(p.Bytes())
	n := p.n
	if p.count != nil {
		n = p.count(n)
	}
	binary.BigEndian.PutUint32(b[8:], uint32(n))
	sum := sha1.Sum(b) //nolint:gosec // Git's pack trailer is SHA-1
	return append(b, sum[:]...)
}

type zeroes struct{}

func (zeroes) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// bombs are small packs of much, or of lies. None may cost more memory than the limit of an object, twice.
var bombs = []struct {
	name, says string
	kind       Kind
	make       func(*packMaker)
}{
	{"a file of 16 MB where 8 are allowed", "the inflated objects: too large: the limit is 8388608 bytes", KindTooLarge, func(p *packMaker) { p.whole(plumbing.BlobObject, 16<<20) }},
	{"many files of 1 MB", "the inflated objects: too large: the limit is 8388608 bytes", KindTooLarge, func(p *packMaker) {
		for range 9 {
			p.whole(plumbing.BlobObject, 1<<20)
		}
	}},
	{"a directory of 2 MB where 1 is allowed", "an object: too large: the limit is 1048576 bytes", KindTooLarge, func(p *packMaker) { p.whole(plumbing.TreeObject, 2<<20) }},
	{"a commit of 2 MB", "an object: too large: the limit is 1048576 bytes", KindTooLarge, func(p *packMaker) { p.whole(plumbing.CommitObject, 2<<20) }},
	{"a delta that makes 64 MB of 64 kB", "an object: too large: the limit is 1048576 bytes", KindTooLarge, func(p *packMaker) {
		p.whole(plumbing.BlobObject, 64<<10)
		p.doubling(64<<10, 1000)
	}},
	{"deltas on deltas, to 1 TB", "an object: too large: the limit is 1048576 bytes", KindTooLarge, func(p *packMaker) {
		p.whole(plumbing.BlobObject, 1<<10)
		for n := int64(1 << 10); n < 1<<35; n *= 32 {
			var d bytes.Buffer // says it, without doing it
			d.Write(binary.AppendUvarint(binary.AppendUvarint(nil, uint64(n)), uint64(n*32)))
			for range 32 {
				d.Write([]byte{0xf0, byte(n), byte(n >> 8), byte(n >> 16)})
			}
			p.put(plumbing.OFSDeltaObject, int64(d.Len()), backward(int64(p.Len())-p.last), &d)
		}
	}},
	{"a delta of 2 MB", "an object: too large: the limit is 1048576 bytes", KindTooLarge, func(p *packMaker) {
		p.whole(plumbing.BlobObject, 1)
		p.put(plumbing.OFSDeltaObject, 2<<20, backward(int64(p.Len())-p.last), io.LimitReader(zeroes{}, 2<<20))
	}},
	{"a difference to a file of 2 MB", "an object that others are differences to: too large: the limit is 1048576 bytes", KindTooLarge, func(p *packMaker) {
		p.whole(plumbing.BlobObject, 2<<20)
		p.put(plumbing.OFSDeltaObject, 7, backward(int64(p.Len())-p.last), bytes.NewReader(append(binary.AppendUvarint(nil, 2<<20), 1, 1, 'x')))
	}},
	{"deltas that all hold their base", "too large: the limit is", KindTooLarge, func(p *packMaker) {
		p.whole(plumbing.BlobObject, 1<<20)
		for range 20 {
			p.doubling(1<<20, 1)
		}
	}},
	{"four billion objects", "4294967295 objects: too large: the limit is 20000000 objects", KindTooLarge, func(p *packMaker) {
		p.whole(plumbing.BlobObject, 1)
		p.count = func(int) int { return 1<<32 - 1 }
	}},
	{"a file that says 10 bytes and has 16 MB", "longer than it says", KindCorrupt, func(p *packMaker) {
		p.put(plumbing.BlobObject, 10, nil, io.LimitReader(zeroes{}, 16<<20))
	}},
	{"a file that says 1 MB and has 10 bytes", "shorter than it says", KindCorrupt, func(p *packMaker) {
		p.put(plumbing.BlobObject, 1<<20, nil, io.LimitReader(zeroes{}, 10))
	}},
	{"more objects than the head says", "bytes after the last object", KindCorrupt, func(p *packMaker) {
		p.whole(plumbing.BlobObject, 1)
		p.whole(plumbing.BlobObject, 2)
		p.count = func(int) int { return 1 }
	}},
	{"fewer objects than the head says", "EOF", KindCorrupt, func(p *packMaker) {
		p.whole(plumbing.BlobObject, 1)
		p.count = func(int) int { return 2 }
	}},
	{"a delta of nothing", "a delta of nothing", KindCorrupt, func(p *packMaker) {
		p.whole(plumbing.BlobObject, 1)
		p.put(plumbing.OFSDeltaObject, 3, backward(5), bytes.NewReader([]byte{1, 1, 1}))
	}},
	{"a delta of an object elsewhere", "not in the pack", KindCorrupt, func(p *packMaker) {
		p.put(plumbing.REFDeltaObject, 3, bytes.Repeat([]byte{7}, 20), bytes.NewReader([]byte{1, 1, 1}))
	}},
	{"a delta that copies what is not there", "copies what is not there", KindCorrupt, func(p *packMaker) {
		p.whole(plumbing.BlobObject, 1)
		p.put(plumbing.OFSDeltaObject, 4, backward(int64(p.Len())-p.last), bytes.NewReader([]byte{1, 9, 0x90, 9}))
	}},
	{"a delta of another size", "a delta of another object", KindCorrupt, func(p *packMaker) {
		p.whole(plumbing.BlobObject, 1)
		p.put(plumbing.OFSDeltaObject, 4, backward(int64(p.Len())-p.last), bytes.NewReader([]byte{2, 1, 0x90, 1}))
	}},
	{"an object of type 5", "no known type", KindCorrupt, func(p *packMaker) { p.whole(5, 1) }},
}

func TestBombs(t *testing.T) {
	limits := Limits{InflatedBytes: 8 << 20, ObjectBytes: 1 << 20}.withDefaults()
	for _, row := range bombs {
		t.Run(row.name, func(t *testing.T) {
			p := &packMaker{}
			row.make(p)
			pack := p.done()
			dir := t.TempDir()
			if err := os.MkdirAll(filepath.Join(dir, "objects", "pack"), 0o755); err != nil {
				t.Fatal(err)
			}
			target := &fetchTarget{dir: dir, limits: limits}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err := target.writePack(t.Context(), nil, func(w io.Writer) error {
				_, err := w.Write(pack)
				return err
			})
			runtime.ReadMemStats(&after)
			if KindOf(err) != row.kind || !strings.Contains(fmt.Sprint(err), row.says) {
				t.Errorf("error %v of kind %s, want %q of kind %s", err, KindOf(err), row.says, row.kind)
			}
			if got := after.TotalAlloc - before.TotalAlloc; got > 12<<20 {
				t.Errorf("%d bytes were allocated for a pack of %d", got, len(pack))
			}
			if left := packs(t, dir, ""); len(left) > 0 {
				t.Errorf("litter: %v", left)
			}
		})
	}
}

// A bomb that a server sends is a limit that was met, and stays one.
func TestBombFromAServer(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	h := r.commit("main", "first", map[string]string{"f": "1"})
	w := serveHTTP(t, r)
	p := &packMaker{}
	p.whole(plumbing.BlobObject, 32<<20)
	posts := 0
	w.fault(func(out http.ResponseWriter, req *http.Request) bool {
		if req.Method != http.MethodPost {
			return false
		}
		if posts++; posts%2 == 1 {
			return false
		}
		m := &message{}
		m.line("packfile")
		out.Header().Set("Content-Type", "application/x-git-upload-pack-result")
		_, _ = out.Write(m.Bytes())
		for rest := p.done(); len(rest) > 0; {
			n := min(len(rest), 60000)
			_, _ = fmt.Fprintf(out, "%04x\x01%s", n+5, rest[:n])
			rest = rest[n:]
		}
		_, _ = io.WriteString(out, "0000")
		return true
	})
	cfg := w.config(r)
	cfg.Limits.InflatedBytes = 16 << 20
	m := openMirror(t, cfg)
	defer m.Close()
	for range 2 {
		_, err := m.Poll(t.Context())
		wantKind(t, err, KindTooLarge)
	}
	w.fault(nil)
	if head := poll(t, m); head.Commit != h {
		t.Errorf("head %+v", head)
	}
}

// What git makes of a repository, the indexer reads as git does: names, sums and places.
func TestIndexAgreesWithGit(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"-adfq", "--depth=50", "--window=50"}, {"-adfq", "--depth=4095"}, {"-adq", "--depth=0"}} {
		for _, config := range []string{"true", "false"} {
			r := newRepo(t)
			for i := range 40 {
				r.commit("main", fmt.Sprint("c", i), map[string]string{
					"same": fmt.Sprint(noise(3000), i), fmt.Sprintf("d/%d", i): noise(100 * i), "long": strings.Repeat("x", 200_000+i) + fmt.Sprint(i),
				})
			}
			r.git("", append([]string{"-c", "repack.useDeltaBaseOffset=" + config, "-c", "pack.indexVersion=2", "repack"}, args...)...)
			path := packs(t, r.dir, ".pack")[0]
			file := must(os.Open(path))
			index, err := indexPack(t.Context(), file, DefaultLimits())
			if err != nil {
				t.Fatal(err)
			}
			if err := file.Close(); err != nil {
				t.Error(err)
			}
			dir := t.TempDir()
			target := &fetchTarget{dir: dir, limits: DefaultLimits()}
			if err := target.writeIndex(dir, filepath.Join(dir, "made"), index); err != nil {
				t.Fatal(err)
			}
			git := must(readFile(strings.TrimSuffix(path, ".pack") + ".idx"))
			if got := must(readFile(filepath.Join(dir, "made.idx"))); got != git {
				t.Errorf("%v, offsets %s: the index is not git's", args, config)
			}
		}
	}
}

func TestIndexingEndsWithItsContext(t *testing.T) {
	t.Parallel()
	p := &packMaker{}
	for range 100 {
		p.whole(plumbing.BlobObject, 1000)
	}
	path := write(t, filepath.Join(t.TempDir(), "pack"), string(p.done()))
	file := must(os.Open(path))
	defer file.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := indexPack(ctx, file, DefaultLimits())
	wantKind(t, err, KindCanceled)
}

// No bytes make the indexer panic, or allocate what they only speak of.
func FuzzPack(f *testing.F) {
	for _, row := range bombs {
		p := &packMaker{}
		row.make(p)
		if p.Len() < 10_000 {
			f.Add(p.done())
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 20 {
			sum := sha1.Sum(data[:len(data)-20]) //nolint:gosec // Git's pack trailer is SHA-1
			copy(data[len(data)-20:], sum[:])
		}
		file := must(os.Create(filepath.Join(t.TempDir(), "pack")))
		defer file.Close()
		if _, err := file.Write(data); err != nil {
			t.Fatal(err)
		}
		index, err := indexPack(t.Context(), file, Limits{InflatedBytes: 1 << 20, ObjectBytes: 1 << 16}.withDefaults())
		if k := KindOf(err); err != nil && k != KindCorrupt && k != KindTooLarge {
			t.Fatal(err)
		}
		if err == nil && index != nil {
			if n, err := index.Count(); err != nil || n == 0 {
				t.Fatalf("%d objects, %v", n, err)
			}
		}
	})
}
