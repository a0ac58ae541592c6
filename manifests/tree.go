package manifests

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"sort"
	"strings"
	"sync"
)

// Tree is the file tree of one commit. Paths are relative and slash-separated,
// "" is the root; nothing follows links. Every fs.DirEntry it returns also has
// a method Hash() string: equal hashes mean equal content, for a directory the
// content of everything below. A directory, and so the tree, may have an empty
// hash: it is then compared by looking into it. A symbolic link has fs.ModeSymlink and its
// target as its file content, a submodule fs.ModeIrregular. What is not there
// is an error wrapping fs.ErrNotExist. Trees are safe for concurrent use.
type Tree interface {
	Hash() string
	Stat(path string) (fs.DirEntry, error)
	ReadDir(path string) ([]fs.DirEntry, error) // sorted by name
	ReadFile(path string) ([]byte, error)
}

// Limits of what is read from a tree.
const (
	maxFileBytes = 8 << 20
	maxLinks     = 40  // links followed for one path
	maxDirDepth  = 200 // directories below each other
	maxNodes     = 200_000
	maxNodeDepth = 200
)

type hasher interface{ Hash() string }

func hashOf(e fs.DirEntry) (string, error) {
	h, ok := e.(hasher)
	if !ok {
		return "", fmt.Errorf("tree entry %q has no hash", e.Name())
	}
	return h.Hash(), nil
}

// dirTree is a directory outside Git as a Tree.
type dirTree struct {
	fsys   fs.FS
	mu     sync.Mutex
	hashes map[string]string // of files
}

var _ Tree = (*dirTree)(nil)

// DirTree presents a file system, such as a working tree opened as os.Root.FS,
// as a Tree, for checks that need no commit. Files are hashed once when they
// are first listed: they must not change meanwhile. Directories have no hash.
// Version control's own directory (.git) is left out.
func DirTree(fsys fs.FS) Tree {
	return &dirTree{fsys: fsys, hashes: map[string]string{}}
}

func (t *dirTree) Hash() string { return "" }

func (t *dirTree) Stat(p string) (fs.DirEntry, error) {
	info, err := fs.Lstat(t.fsys, fsPath(p))
	if err != nil {
		return nil, err
	}
	return dirTreeEntry{DirEntry: fs.FileInfoToDirEntry(info), tree: t, path: p}, nil
}

func (t *dirTree) ReadDir(p string) ([]fs.DirEntry, error) {
	list, err := fs.ReadDir(t.fsys, fsPath(p))
	if err != nil {
		return nil, err
	}
	out := make([]fs.DirEntry, 0, len(list))
	for _, e := range list {
		if e.Name() != ".git" {
			out = append(out, dirTreeEntry{DirEntry: e, tree: t, path: path.Join(p, e.Name())})
		}
	}
	return out, nil
}

func (t *dirTree) ReadFile(p string) ([]byte, error) {
	e, err := t.Stat(p)
	if err != nil {
		return nil, err
	}
	if e.Type()&fs.ModeSymlink != 0 {
		target, err := fs.ReadLink(t.fsys, fsPath(p))
		return []byte(target), err
	}
	if !e.Type().IsRegular() {
		return nil, &fs.PathError{Op: "read", Path: p, Err: errors.New("not a regular file")}
	}
	info, err := e.Info()
	if err != nil {
		return nil, err
	}
	if info.Size() > maxFileBytes {
		return nil, tooLarge(p)
	}
	return fs.ReadFile(t.fsys, fsPath(p))
}

// hash names the content of a file. Files that cannot be read share one: their
// reader reports why.
func (t *dirTree) hash(p string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if h, ok := t.hashes[p]; ok {
		return h
	}
	h := "unreadable"
	if data, err := t.ReadFile(p); err == nil {
		sum := sha256.Sum256(data)
		h = hex.EncodeToString(sum[:])
	}
	t.hashes[p] = h
	return h
}

type dirTreeEntry struct {
	fs.DirEntry
	tree *dirTree
	path string
}

func (e dirTreeEntry) Hash() string {
	if e.IsDir() {
		return ""
	}
	return e.tree.hash(e.path)
}

func fsPath(p string) string {
	if p == "" {
		return "."
	}
	return p
}

// tooLargeError marks a file above maxFileBytes.
type tooLargeError struct{ path string }

func (e tooLargeError) Error() string {
	return fmt.Sprintf("%s: larger than %d MiB", e.path, maxFileBytes>>20)
}

func tooLarge(p string) error { return tooLargeError{path: p} }

// entry is one name in a directory of a tree, with what is known below it.
type entry struct {
	name string
	mode fs.FileMode // type bits only
	hash string
	sub  *dir // set once the directory has been read
}

// dir is one directory of a tree as it was at one hash. It never changes,
// except that directories below it are filled in when they are first read.
type dir struct {
	hash    string
	entries []entry // sorted by name
	listing string  // digest of names and types, computed when first asked for
	class   dirClass
}

// dirClass is what a directory is to root discovery.
type dirClass int

const (
	classUnknown dirClass = iota
	classNone
	classKustomize
	classComponent
)

func (d *dir) find(name string) *entry {
	i := sort.Search(len(d.entries), func(i int) bool { return d.entries[i].name >= name })
	if i < len(d.entries) && d.entries[i].name == name {
		return &d.entries[i]
	}
	return nil
}

// readDir reads one directory. A name that no file system allows, or one twice,
// makes the whole tree unusable: nothing of it can be trusted to be complete.
func readDir(t Tree, p, hash string) (*dir, error) {
	if strings.Count(p, "/") >= maxDirDepth {
		return nil, fmt.Errorf("%q: more than %d directories deep", p, maxDirDepth)
	}
	list, err := t.ReadDir(p)
	if err != nil {
		return nil, fmt.Errorf("read directory %q: %w", p, err)
	}
	d := &dir{hash: hash, entries: make([]entry, len(list))}
	sorted := true
	for i, e := range list {
		name := e.Name()
		if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
			return nil, fmt.Errorf("read directory %q: name %q is not allowed", p, name)
		}
		h, err := hashOf(e)
		if err != nil {
			return nil, fmt.Errorf("read directory %q: %w", p, err)
		}
		d.entries[i] = entry{name: name, mode: e.Type(), hash: h}
		sorted = sorted && (i == 0 || d.entries[i-1].name < name)
	}
	if !sorted {
		sort.Slice(d.entries, func(i, j int) bool { return d.entries[i].name < d.entries[j].name })
		for i := 1; i < len(d.entries); i++ {
			if d.entries[i-1].name == d.entries[i].name {
				return nil, fmt.Errorf("read directory %q: name %q twice", p, d.entries[i].name)
			}
		}
	}
	return d, nil
}
