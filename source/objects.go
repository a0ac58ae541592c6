package source

import (
	"crypto/sha1" //nolint:gosec // Git's object names are SHA-1
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/go-git/go-billy/v5"
	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/format/idxfile"
	"github.com/go-git/go-git/v5/plumbing/format/objfile"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
)

// objectCacheBytes bounds the inflated objects one reader keeps as bases of deltas.
const objectCacheBytes = 32 << 20

// pack is one pack file with its decoded index.
type pack struct {
	path  string // without extension
	index *idxfile.MemoryIndex
}

// indexes keeps the decoded indexes of packs, which never change, so that a new reader costs what is new and not
// what the repository holds. Safe for concurrent use.
type indexes struct {
	mu     sync.Mutex
	byPath map[string]*idxfile.MemoryIndex
}

// load returns the packs below the object directories, sorted by path within each. Packs that are gone are
// forgotten. A pack without an index is an error when strict, else left out: its writer is not done with it.
func (x *indexes) load(dirs []string, strict bool) ([]pack, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	seen := map[string]*idxfile.MemoryIndex{}
	var packs []pack
	for _, dir := range dirs {
		entries, err := os.ReadDir(filepath.Join(dir, "pack"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, e := range entries {
			name, ok := strings.CutSuffix(e.Name(), ".pack")
			if !ok || !strings.HasPrefix(name, "pack-") {
				continue
			}
			path := filepath.Join(dir, "pack", name)
			index, ok := x.byPath[path]
			if !ok {
				index, err = readIndex(path)
				if errors.Is(err, fs.ErrNotExist) && !strict {
					continue
				}
				if err != nil {
					return nil, fmt.Errorf("%w: %s.idx: %w", errDamaged, name, err)
				}
			}
			seen[path] = index
			packs = append(packs, pack{path: path, index: index})
		}
	}
	x.byPath = seen
	return packs, nil
}

func readIndex(path string) (*idxfile.MemoryIndex, error) {
	f, err := os.Open(path + ".idx")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	index := idxfile.NewMemoryIndex()
	if err := idxfile.NewDecoder(f).Decode(index); err != nil {
		return nil, err
	}
	return index, nil
}

// verifyPack reads the whole of a pack and compares it with its trailer and with its index.
func (p pack) verify() error {
	f, err := os.Open(p.path + ".pack")
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	bad := func(text string) error { return fmt.Errorf("%w: %s.pack: %s", errDamaged, filepath.Base(p.path), text) }
	body := info.Size() - sha1.Size
	if body < 12 {
		return bad("truncated")
	}
	sum := sha1.New() //nolint:gosec // Git's pack trailer is SHA-1
	if _, err := io.Copy(sum, io.LimitReader(f, body)); err != nil {
		return err
	}
	var trailer [sha1.Size]byte
	if _, err := io.ReadFull(f, trailer[:]); err != nil {
		return err
	}
	if trailer != [sha1.Size]byte(sum.Sum(nil)) || trailer != p.index.PackfileChecksum {
		return bad("checksum differs")
	}
	return nil
}

// reader reads objects from object directories: loose ones and packs. Every object is verified against its hash.
// It holds open files and is released by Close. Safe for concurrent use.
type reader struct {
	mu     sync.Mutex
	dirs   []string
	packs  []pack
	files  []*packfile.Packfile // one for each of packs
	raw    []billy.File         // and its file
	cache  cache.Object
	closed bool
	// most is the largest object that is read into memory; zero: any. A mirror has let nothing larger in.
	most int64
}

// newReader opens every pack at once, so that packs deleted or moved later stay readable. Packs that go away while they
// are listed are listed again.
func newReader(x *indexes, strict bool, dirs ...string) (*reader, error) {
	for attempt := 0; ; attempt++ {
		packs, err := x.load(dirs, strict)
		if err != nil {
			return nil, err
		}
		r := &reader{dirs: dirs, packs: packs, cache: cache.NewObjectLRU(objectCacheBytes)}
		err = r.openPacks()
		if err == nil {
			return r, nil
		}
		err = errors.Join(err, r.Close())
		if attempt == 3 || !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
}

func (r *reader) openPacks() error {
	for _, p := range r.packs {
		f, err := osfs.New(filepath.Dir(p.path)).Open(filepath.Base(p.path) + ".pack")
		if err != nil {
			return err
		}
		r.raw = append(r.raw, f)
		r.files = append(r.files, packfile.NewPackfileWithCache(p.index, nil, f, r.cache, 0))
	}
	return nil
}

func (r *reader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	var first error
	for _, p := range r.files {
		if err := p.Close(); err != nil && first == nil {
			first = err
		}
	}
	r.files = nil
	return first
}

// has tells whether the object is listed by an index or lies loose. It does not read it.
func (r *reader) has(h plumbing.Hash) bool {
	for i := range r.packs {
		if ok, err := r.packs[i].index.Contains(h); ok && err == nil {
			return true
		}
	}
	for _, dir := range r.dirs {
		if _, err := os.Stat(loosePath(dir, h)); err == nil {
			return true
		}
	}
	return false
}

func loosePath(dir string, h plumbing.Hash) string {
	s := h.String()
	return filepath.Join(dir, s[:2], s[2:])
}

// bytes returns the content of an object of the given type.
func (r *reader) bytes(t plumbing.ObjectType, h plumbing.Hash) ([]byte, error) {
	o, err := r.object(t, h)
	if err != nil {
		return nil, err
	}
	in, err := o.Reader()
	if err != nil {
		return nil, err
	}
	defer in.Close()
	out := make([]byte, o.Size())
	if _, err := io.ReadFull(in, out); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", errDamaged, h, err)
	}
	return out, nil
}

// object returns an object of the given type, its content in memory and verified.
func (r *reader) object(t plumbing.ObjectType, h plumbing.Hash) (plumbing.EncodedObject, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	o, err := r.locate(h)
	if err != nil {
		return nil, err
	}
	if o.Hash() != h {
		return nil, fmt.Errorf("%w: %s: content does not match its name", errDamaged, h)
	}
	if t != plumbing.AnyObject && o.Type() != t {
		return nil, fmt.Errorf("%w: %s is a %s where a %s should be", errMalformed, h, o.Type(), t)
	}
	return o, nil
}

func (r *reader) locate(h plumbing.Hash) (plumbing.EncodedObject, error) {
	p, offset, err := r.packOf(h)
	if err != nil {
		return nil, err
	}
	if p == nil {
		return r.loose(h)
	}
	if r.most > 0 {
		if size, err := p.GetSizeByOffset(offset); err == nil && size > r.most {
			return nil, tooLarge("an object", r.most, "bytes")
		}
	}
	o, err := p.Get(h)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", errDamaged, h, err)
	}
	return o, nil
}

// packOf returns the opened pack that lists h and the object's place in it, or nil.
func (r *reader) packOf(h plumbing.Hash) (*packfile.Packfile, int64, error) {
	if r.closed {
		return nil, 0, errClosed
	}
	for i := range r.packs {
		offset, err := r.packs[i].index.FindOffset(h)
		if errors.Is(err, plumbing.ErrObjectNotFound) {
			continue
		}
		if err != nil {
			return nil, 0, fmt.Errorf("%w: %s: %w", errDamaged, h, err)
		}
		return r.files[i], offset, nil
	}
	return nil, 0, nil
}

// size returns the inflated size of an object without inflating it where that can be avoided.
func (r *reader) size(h plumbing.Hash) (int64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p, offset, err := r.packOf(h)
	if err != nil {
		return 0, err
	}
	if p == nil {
		_, size, in, err := r.openLoose(h)
		if err != nil {
			return 0, err
		}
		return size, in.Close()
	}
	size, err := p.GetSizeByOffset(offset)
	if err != nil {
		return 0, fmt.Errorf("%w: %s: %w", errDamaged, h, err)
	}
	return size, nil
}

type looseFile struct {
	*objfile.Reader
	f *os.File
}

func (l looseFile) Close() error { return errors.Join(l.Reader.Close(), l.f.Close()) }

func (r *reader) openLoose(h plumbing.Hash) (plumbing.ObjectType, int64, io.ReadCloser, error) {
	for _, dir := range r.dirs {
		f, err := os.Open(loosePath(dir, h))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, 0, nil, err
		}
		in, err := objfile.NewReader(f)
		if err != nil {
			return 0, 0, nil, errors.Join(fmt.Errorf("%w: %s: %w", errDamaged, h, err), f.Close())
		}
		t, size, err := in.Header()
		if err != nil {
			return 0, 0, nil, errors.Join(fmt.Errorf("%w: %s: %w", errDamaged, h, err), f.Close())
		}
		return t, size, looseFile{Reader: in, f: f}, nil
	}
	return 0, 0, nil, fmt.Errorf("%w: %s", errMissing, h)
}

func (r *reader) loose(h plumbing.Hash) (plumbing.EncodedObject, error) {
	t, size, in, err := r.openLoose(h)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	if r.most > 0 && size > r.most {
		return nil, tooLarge("an object", r.most, "bytes")
	}
	o := new(plumbing.MemoryObject)
	o.SetType(t)
	if _, err := io.Copy(o, io.LimitReader(in, size+1)); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", errDamaged, h, err)
	}
	return o, nil
}

func toGit(h Hash) (plumbing.Hash, error) {
	var out plumbing.Hash
	if len(h) != 2*len(out) {
		return out, fmt.Errorf("%w: %s is not a full hash", errMalformed, quote(string(h)))
	}
	if _, err := hex.Decode(out[:], []byte(h)); err != nil {
		return out, fmt.Errorf("%w: %s is not a hash", errMalformed, quote(string(h)))
	}
	return out, nil
}

func fromGit(h plumbing.Hash) Hash { return Hash(h.String()) }
