package merge

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ID names an object; the zero ID names none.
type ID [20]byte

// The modes of entries that Git writes.
const (
	ModeDir       uint32 = 0o040000
	ModeFile      uint32 = 0o100644
	ModeExec      uint32 = 0o100755
	ModeLink      uint32 = 0o120000
	ModeSubmodule uint32 = 0o160000
)

const typeBits = 0o170000

// Entry is what a name in a directory stands for. The zero Entry is nothing.
type Entry struct {
	Mode uint32
	ID   ID
}

func (e Entry) absent() bool  { return e.Mode == 0 }
func (e Entry) isDir() bool   { return e.Mode&typeBits == ModeDir }
func (e Entry) isFile() bool  { return !e.absent() && !e.isDir() }
func (e Entry) regular() bool { return e.Mode&typeBits == ModeFile&typeBits }

// file returns the entry when it is no directory, else nothing.
func (e Entry) file() Entry {
	if e.isDir() {
		return Entry{}
	}
	return e
}

// Named is one entry of a directory.
type Named struct {
	Name string
	Entry
}

// Store reads objects and takes new ones.
type Store interface {
	// Tree returns the entries of a directory, in any order, with the modes above.
	Tree(ID) ([]Named, error)
	// Blob returns the content of a file.
	Blob(ID) ([]byte, error)
	// PutTree and PutBlob take an object and return its name. The entries come in Git's order.
	PutTree([]Named) (ID, error)
	PutBlob([]byte) (ID, error)
}

// Edit makes Path, slash-separated, what Entry says; the zero Entry deletes it.
type Edit struct {
	Path  string
	Entry Entry
}

// maxChanges bounds the files that may differ between two trees.
const maxChanges = 200_000

// ErrTooMany is returned for trees that differ in more files than are looked at.
var ErrTooMany = errors.New("too many files changed")

// treeReader reads trees by path and keeps what it read.
type treeReader struct {
	store Store
	read  map[ID][]Named
}

// list returns a directory sorted by name; that of the zero ID is empty.
func (r *treeReader) list(id ID) ([]Named, error) {
	if id == (ID{}) {
		return nil, nil
	}
	if list, ok := r.read[id]; ok {
		return list, nil
	}
	list, err := r.store.Tree(id)
	if err != nil {
		return nil, err
	}
	list = slices.SortedFunc(slices.Values(list), func(a, b Named) int { return cmp.Compare(a.Name, b.Name) })
	r.read[id] = list
	return list, nil
}

func find(list []Named, name string) Entry {
	if i, ok := slices.BinarySearchFunc(list, name, func(n Named, name string) int { return cmp.Compare(n.Name, name) }); ok {
		return list[i].Entry
	}
	return Entry{}
}

// at returns the entry at a path; the root's for "".
func (r *treeReader) at(root ID, path string) (Entry, error) {
	at := Entry{Mode: ModeDir, ID: root}
	if path == "" {
		return at, nil
	}
	for name := range strings.SplitSeq(path, "/") {
		if !at.isDir() {
			return Entry{}, nil
		}
		list, err := r.list(at.ID)
		if err != nil {
			return Entry{}, err
		}
		at = find(list, name)
	}
	return at, nil
}

// change is a file that differs between two trees.
type change struct {
	path     string
	from, to Entry
}

func (c change) added() bool   { return c.from.absent() }
func (c change) deleted() bool { return c.to.absent() }

// changes lists the files below two directories that differ, sorted by path as directories are walked. Directories that
// are equal are not read.
func (r *treeReader) changes(from, to ID, below string) ([]change, error) {
	var out []change
	var walk func(from, to ID, below string) error
	walk = func(from, to ID, below string) error {
		if from == to {
			return nil
		}
		a, err := r.list(from)
		if err != nil {
			return err
		}
		b, err := r.list(to)
		if err != nil {
			return err
		}
		return pairs(a, b, func(name string, old, next Entry) error {
			if old == next {
				return nil
			}
			path := join(below, name)
			if f, t := old.file(), next.file(); f != t {
				out = append(out, change{path, f, t})
			}
			if len(out) > maxChanges {
				return fmt.Errorf("%w: more than %d", ErrTooMany, maxChanges)
			}
			if !old.isDir() && !next.isDir() {
				return nil
			}
			return walk(dirID(old), dirID(next), path)
		})
	}
	err := walk(from, to, below)
	return out, err
}

func dirID(e Entry) ID {
	if e.isDir() {
		return e.ID
	}
	return ID{}
}

func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

// parent returns the directory of a path; "" is the root, which has none: false.
func parent(path string) (string, bool) {
	if path == "" {
		return "", false
	}
	return path[:max(0, strings.LastIndexByte(path, '/'))], true
}

// pairs walks along two sorted directories.
func pairs(a, b []Named, f func(name string, a, b Entry) error) error {
	for len(a) > 0 || len(b) > 0 {
		var err error
		switch {
		case len(b) == 0 || len(a) > 0 && a[0].Name < b[0].Name:
			err, a = f(a[0].Name, a[0].Entry, Entry{}), a[1:]
		case len(a) == 0 || b[0].Name < a[0].Name:
			err, b = f(b[0].Name, Entry{}, b[0].Entry), b[1:]
		default:
			err, a, b = f(a[0].Name, a[0].Entry, b[0].Entry), a[1:], b[1:]
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Changed lists the files that differ between two trees, sorted.
func Changed(s Store, from, to ID) ([]string, error) {
	r := &treeReader{store: s, read: map[ID][]Named{}}
	list, err := r.changes(from, to, "")
	if err != nil {
		return nil, err
	}
	var out []string
	for _, c := range list {
		out = append(out, c.path)
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}
