package source

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
)

// treeCacheEntries bounds the decoded directories a mirror keeps, counted in entries.
const treeCacheEntries = 400_000

// lfsPrefix begins every file that Git LFS has put elsewhere.
const lfsPrefix = "version https://git-lfs.github.com/spec/"

// entry is one decoded entry of a directory. It satisfies fs.DirEntry and fs.FileInfo, and has Hash.
type entry struct {
	name string
	hash string
	id   plumbing.Hash
	mode fs.FileMode
}

func (e *entry) Name() string               { return e.name }
func (e *entry) IsDir() bool                { return e.mode.IsDir() }
func (e *entry) Type() fs.FileMode          { return e.mode.Type() }
func (e *entry) Mode() fs.FileMode          { return e.mode }
func (e *entry) Info() (fs.FileInfo, error) { return e, nil }
func (e *entry) Size() int64                { return 0 }
func (e *entry) ModTime() time.Time         { return time.Time{} }
func (e *entry) Sys() any                   { return nil }

// Hash returns the name of the object behind the entry: for a file its content, for a directory everything below.
func (e *entry) Hash() string { return e.hash }

// directory is a decoded tree object, sorted by name.
type directory []fs.DirEntry

func (d directory) find(name string) *entry {
	i := sort.Search(len(d), func(i int) bool { return d[i].Name() >= name })
	if i == len(d) || d[i].Name() != name {
		return nil
	}
	e, _ := d[i].(*entry)
	return e
}

// rawEntry is one entry of a tree object as it is stored.
type rawEntry struct {
	mode []byte
	name []byte
	id   plumbing.Hash
}

// eachEntry cuts a tree object and calls f for every entry in the order stored.
func eachEntry(h plumbing.Hash, data []byte, f func(rawEntry) error) error {
	for len(data) > 0 {
		space := bytes.IndexByte(data, ' ')
		null := bytes.IndexByte(data, 0)
		if space < 0 || space > 7 || null < space || len(data) < null+1+len(plumbing.Hash{}) {
			return fmt.Errorf("%w: tree %s", errMalformed, h)
		}
		e := rawEntry{mode: data[:space], name: data[space+1 : null]}
		copy(e.id[:], data[null+1:])
		data = data[null+1+len(e.id):]
		if err := f(e); err != nil {
			return err
		}
	}
	return nil
}

// fileMode translates Git's mode. Anything it does not know, a submodule too, is irregular.
func fileMode(mode string) fs.FileMode {
	switch mode {
	case "40000", "040000":
		return fs.ModeDir | 0o755
	case "100644", "100664":
		return 0o644
	case "100755":
		return 0o755
	case "120000":
		return fs.ModeSymlink | 0o777
	}
	return fs.ModeIrregular
}

// parseTree decodes a tree object. Names that cannot be one component of a path, and one name twice, are refused.
func parseTree(h plumbing.Hash, data []byte) (directory, error) {
	var list []*entry
	err := eachEntry(h, data, func(raw rawEntry) error {
		name := string(raw.name)
		if name == "" || name == "." || name == ".." || strings.EqualFold(name, ".git") || strings.Contains(name, "/") {
			return fmt.Errorf("%w: tree %s: name %s", errMalformed, h, quote(name))
		}
		list = append(list, &entry{name: name, mode: fileMode(string(raw.mode)), id: raw.id})
		return nil
	})
	if err != nil {
		return nil, err
	}
	sort.SliceStable(list, func(i, j int) bool { return list[i].name < list[j].name })
	digits := make([]byte, 0, 40*len(list))
	for _, e := range list {
		digits = hex.AppendEncode(digits, e.id[:])
	}
	all := string(digits) // one allocation for every hash of the directory
	out := make(directory, len(list))
	for i, e := range list {
		if i > 0 && list[i-1].name == e.name {
			return nil, fmt.Errorf("%w: tree %s: name %s twice", errMalformed, h, quote(e.name))
		}
		e.hash = all[40*i : 40*(i+1)]
		out[i] = e
	}
	return out, nil
}

// Tree is the file tree of one commit, read-only. Paths are relative and slash-separated; "" is the root. Links
// are never followed: a symbolic link is a file whose content is its target. Safe for concurrent use.
type Tree struct {
	snap    *Snapshot
	objects objectSource // the snapshot's, or a draft's over them
	commit  Hash
	root    plumbing.Hash

	entries atomic.Int64 // entries of the distinct directories read so far
	seen    sync.Map     // plumbing.Hash of those directories
}

// Hash returns the name of the root's tree object: two commits with the same files have the same.
func (t *Tree) Hash() string { return t.root.String() }

// ReadDir returns the entries of a directory, sorted by name. Each also has the method Hash() string. The slice is
// shared: the caller must not change it.
func (t *Tree) ReadDir(path string) ([]fs.DirEntry, error) {
	d, err := t.directory("readdir", path)
	if err != nil {
		return nil, err
	}
	return d, nil
}

// Stat returns the entry at path. The root's name is ".".
func (t *Tree) Stat(path string) (fs.DirEntry, error) {
	e, err := t.lookup("stat", path)
	if err != nil {
		return nil, err
	}
	return e, nil
}

// ReadFile returns the content of a file, or the target of a symbolic link.
func (t *Tree) ReadFile(path string) ([]byte, error) {
	e, err := t.lookup("read", path)
	if err != nil {
		return nil, err
	}
	switch {
	case e.mode.IsDir():
		return nil, &fs.PathError{Op: "read", Path: path, Err: errorText("is a directory")}
	case e.mode&fs.ModeIrregular != 0:
		return nil, t.fail(KindUnsupported, path, errorText("is a submodule"), "submodules are not read: put the files into the repository")
	}
	limit := t.snap.mirror.cfg.Limits.BlobBytes
	size, err := t.objects.size(e.id)
	if err != nil {
		return nil, t.readError(path, err)
	}
	if size > limit {
		return nil, t.fail(KindTooLarge, path, fmt.Errorf("%w: %d bytes, the limit is %d", errTooLarge, size, limit), "")
	}
	data, err := t.objects.bytes(plumbing.BlobObject, e.id)
	if err != nil {
		return nil, t.readError(path, err)
	}
	if bytes.HasPrefix(data, []byte(lfsPrefix)) {
		return nil, t.fail(KindUnsupported, path, errorText("is a Git LFS pointer"), "Git LFS is not read: put the file itself into the repository")
	}
	return data, nil
}

// lookup finds the entry at path.
func (t *Tree) lookup(op, path string) (*entry, error) {
	parts, err := t.split(op, path)
	if err != nil {
		return nil, err
	}
	at := &entry{name: ".", mode: fs.ModeDir | 0o755, id: t.root, hash: t.root.String()}
	for _, part := range parts {
		if !at.mode.IsDir() {
			return nil, &fs.PathError{Op: op, Path: path, Err: fs.ErrNotExist}
		}
		d, err := t.load(path, at.id)
		if err != nil {
			return nil, err
		}
		if at = d.find(part); at == nil {
			return nil, &fs.PathError{Op: op, Path: path, Err: fs.ErrNotExist}
		}
	}
	return at, nil
}

func (t *Tree) directory(op, path string) (directory, error) {
	e, err := t.lookup(op, path)
	if err != nil {
		return nil, err
	}
	if !e.mode.IsDir() {
		return nil, &fs.PathError{Op: op, Path: path, Err: errorText("not a directory")}
	}
	return t.load(path, e.id)
}

func (t *Tree) split(op, path string) ([]string, error) {
	if path == "" || path == "." {
		return nil, nil
	}
	parts := strings.Split(path, "/")
	for _, p := range parts {
		if p == "" || p == "." || p == ".." {
			return nil, &fs.PathError{Op: op, Path: path, Err: fs.ErrInvalid}
		}
	}
	if limit := t.snap.mirror.cfg.Limits.Depth; len(parts) > limit {
		return nil, t.fail(KindTooLarge, path, fmt.Errorf("%w: more than %d directories deep", errTooLarge, limit), "")
	}
	return parts, nil
}

// load returns a decoded directory, from the mirror's cache where it can.
func (t *Tree) load(path string, id plumbing.Hash) (directory, error) {
	d, ok := t.snap.mirror.trees.get(id)
	if !ok {
		data, err := t.objects.bytes(plumbing.TreeObject, id)
		if err != nil {
			return nil, t.readError(path, err)
		}
		if d, err = parseTree(id, data); err != nil {
			return nil, t.readError(path, err)
		}
		t.snap.mirror.trees.put(id, d)
	}
	if _, counted := t.seen.LoadOrStore(id, nil); !counted {
		if n, limit := t.entries.Add(int64(len(d))), t.snap.mirror.cfg.Limits.Entries; n > int64(limit) {
			return nil, t.fail(KindTooLarge, path, fmt.Errorf("%w: more than %d files and directories", errTooLarge, limit), "")
		}
	}
	return d, nil
}

func (t *Tree) fail(kind Kind, path string, err error, hint string) error {
	return &Error{Kind: kind, Op: "read", Subject: t.commit.Short() + ":" + path, Err: err, Hint: hint}
}

func (t *Tree) readError(path string, err error) error {
	t.snap.mirror.suspect(err)
	var e *Error
	if errors.As(err, &e) {
		return err
	}
	return t.fail(KindOf(err), path, err, "")
}
