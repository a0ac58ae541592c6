package manifests

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"path"
	"sort"
	"strings"
	"time"
)

// memTree is a tree in memory. with returns another one that shares what is
// unchanged, as the trees of two commits do. A value "-> x" is a symbolic link
// to x, "module" after "\x00" a submodule.
type memTree struct {
	root *memDir
	// fail makes reading a path fail.
	fail map[string]error
	// reads counts what is read when it is not nil.
	reads *int
}

type memDir struct {
	name    string
	hash    string
	entries []fs.DirEntry
	index   map[string]*memEntry
}

type memEntry struct {
	name string
	mode fs.FileMode
	data []byte
	hash string
	dir  *memDir
}

const submodule = "\x00module"

func (e *memEntry) Name() string               { return e.name }
func (e *memEntry) IsDir() bool                { return e.mode.IsDir() }
func (e *memEntry) Type() fs.FileMode          { return e.mode.Type() }
func (e *memEntry) Info() (fs.FileInfo, error) { return e, nil }
func (e *memEntry) Hash() string               { return e.hash }
func (e *memEntry) Mode() fs.FileMode          { return e.mode }
func (e *memEntry) ModTime() time.Time         { return time.Time{} }
func (e *memEntry) Size() int64                { return int64(len(e.data)) }
func (e *memEntry) Sys() any                   { return nil }

func newMemTree(files map[string]string) *memTree {
	return &memTree{root: buildMemDir(nil, files)}
}

// with returns the tree with files set; "" as content removes one.
func (t *memTree) with(files map[string]string) *memTree {
	out := *t
	out.root = buildMemDir(t.root, files)
	if out.root == nil {
		out.root = buildMemDir(nil, nil)
	}
	return &out
}

func buildMemDir(old *memDir, files map[string]string) *memDir {
	index := map[string]*memEntry{}
	if old != nil {
		for name, e := range old.index {
			index[name] = e
		}
	}
	below := map[string]map[string]string{}
	for p, content := range files {
		name, rest, deeper := strings.Cut(p, "/")
		if deeper {
			if below[name] == nil {
				below[name] = map[string]string{}
			}
			below[name][rest] = content
			continue
		}
		if content == "" {
			delete(index, name)
			continue
		}
		index[name] = memFile(name, content)
	}
	for name, sub := range below {
		var was *memDir
		if e := index[name]; e != nil {
			was = e.dir
		}
		d := buildMemDir(was, sub)
		if len(d.index) == 0 {
			delete(index, name)
			continue
		}
		index[name] = &memEntry{name: name, mode: fs.ModeDir | 0o755, hash: d.hash, dir: d}
	}
	d := &memDir{index: index}
	names := make([]string, 0, len(index))
	for name := range index {
		names = append(names, name)
	}
	sort.Strings(names)
	sum := sha256.New()
	for _, name := range names {
		e := index[name]
		d.entries = append(d.entries, e)
		fmt.Fprintf(sum, "%s\x00%o\x00%s\x00", name, e.mode, e.hash)
	}
	d.hash = hex.EncodeToString(sum.Sum(nil))
	return d
}

func memFile(name, content string) *memEntry {
	e := &memEntry{name: name, mode: 0o644, data: []byte(content)}
	if target, ok := strings.CutPrefix(content, "-> "); ok {
		e.mode, e.data = fs.ModeSymlink|0o777, []byte(strings.TrimSuffix(target, "\n"))
	}
	if content == submodule {
		e.mode = fs.ModeIrregular
	}
	sum := sha256.Sum256([]byte(content))
	e.hash = hex.EncodeToString(sum[:])
	return e
}

func (t *memTree) Hash() string { return t.root.hash }

func (t *memTree) find(op, p string) (*memEntry, error) {
	if err := t.fail[p]; err != nil {
		return nil, err
	}
	at := &memEntry{name: ".", mode: fs.ModeDir | 0o755, dir: t.root, hash: t.root.hash}
	if p == "" {
		return at, nil
	}
	for _, part := range strings.Split(p, "/") {
		if at.dir == nil || at.dir.index[part] == nil {
			return nil, &fs.PathError{Op: op, Path: p, Err: fs.ErrNotExist}
		}
		at = at.dir.index[part]
	}
	return at, nil
}

func (t *memTree) Stat(p string) (fs.DirEntry, error) { return t.find("stat", p) }

func (t *memTree) ReadDir(p string) ([]fs.DirEntry, error) {
	e, err := t.find("readdir", p)
	if err != nil {
		return nil, err
	}
	if e.dir == nil {
		return nil, fmt.Errorf("%s: not a directory", p)
	}
	if t.reads != nil {
		*t.reads++
	}
	return e.dir.entries, nil
}

func (t *memTree) ReadFile(p string) ([]byte, error) {
	e, err := t.find("read", p)
	if err != nil {
		return nil, err
	}
	if e.dir != nil || e.mode&fs.ModeIrregular != 0 {
		return nil, fmt.Errorf("%s: not a file", p)
	}
	if t.reads != nil {
		*t.reads++
	}
	return e.data, nil
}

// files lists every file of the tree.
func (t *memTree) files() map[string]string {
	out := map[string]string{}
	var walk func(p string, d *memDir)
	walk = func(p string, d *memDir) {
		for name, e := range d.index {
			here := path.Join(p, name)
			switch {
			case e.dir != nil:
				walk(here, e.dir)
			case e.mode&fs.ModeSymlink != 0:
				out[here] = "-> " + string(e.data)
			default:
				out[here] = string(e.data)
			}
		}
	}
	walk("", t.root)
	return out
}
