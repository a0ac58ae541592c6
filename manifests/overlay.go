package manifests

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"time"
)

// Overlay is a tree with some files replaced, added or, where the bytes are nil,
// taken out; a directory whose last file goes is gone too, as in Git. Paths are
// those of Tree and lead through directories only. The bytes must not be changed
// afterwards. A replaced symbolic link becomes a file.
func Overlay(base Tree, files map[string][]byte) Tree {
	o := &overlayTree{base: base, files: maps.Clone(files), above: map[string]map[string]struct{}{}}
	for p := range files {
		for name, dir := path.Base(p), parentOf(p); ; name, dir = path.Base(dir), parentOf(dir) {
			if o.above[dir] == nil {
				o.above[dir] = map[string]struct{}{}
			}
			o.above[dir][name] = struct{}{}
			if dir == "" {
				break
			}
		}
	}
	return o
}

type overlayTree struct {
	base  Tree
	files map[string][]byte
	above map[string]map[string]struct{} // directory → names in it that lead to a file of the overlay
}

var _ Tree = (*overlayTree)(nil)

func (o *overlayTree) Hash() string {
	if len(o.files) == 0 {
		return o.base.Hash()
	}
	return ""
}

func (o *overlayTree) Stat(p string) (fs.DirEntry, error) {
	data, ours := o.files[p]
	switch {
	case ours && data == nil:
		return nil, &fs.PathError{Op: "stat", Path: p, Err: fs.ErrNotExist}
	case ours:
		return newOverlayEntry(path.Base(p), data), nil
	case o.above[p] != nil && p != "":
		if list, err := o.ReadDir(p); err != nil || len(list) == 0 {
			return nil, &fs.PathError{Op: "stat", Path: p, Err: fs.ErrNotExist}
		}
		return overlayEntry{name: path.Base(p), mode: fs.ModeDir}, nil
	}
	return o.base.Stat(p)
}

func (o *overlayTree) ReadDir(p string) ([]fs.DirEntry, error) {
	names, touched := o.above[p]
	list, err := o.base.ReadDir(p)
	if !touched || err != nil && !errors.Is(err, fs.ErrNotExist) {
		return list, err
	}
	var out []fs.DirEntry
	for _, e := range list {
		if _, ours := names[e.Name()]; !ours {
			out = append(out, e)
		}
	}
	for name := range names {
		e, err := o.Stat(path.Join(p, name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return nil, err
		default:
			out = append(out, e)
		}
	}
	if len(out) == 0 && err != nil {
		return nil, err
	}
	slices.SortFunc(out, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return out, nil
}

func (o *overlayTree) ReadFile(p string) ([]byte, error) {
	if data, ours := o.files[p]; ours {
		if data == nil {
			return nil, &fs.PathError{Op: "read", Path: p, Err: fs.ErrNotExist}
		}
		return data, nil
	}
	return o.base.ReadFile(p)
}

// overlayEntry is a file of the overlay, or a directory that leads to one. The
// directory has no hash: what is below it is looked into.
type overlayEntry struct {
	name string
	mode fs.FileMode
	hash string
	size int64
}

func newOverlayEntry(name string, data []byte) overlayEntry {
	sum := sha256.Sum256(data)
	return overlayEntry{name: name, hash: "overlay-" + hex.EncodeToString(sum[:]), size: int64(len(data))}
}

func (e overlayEntry) Name() string               { return e.name }
func (e overlayEntry) IsDir() bool                { return e.mode.IsDir() }
func (e overlayEntry) Type() fs.FileMode          { return e.mode.Type() }
func (e overlayEntry) Hash() string               { return e.hash }
func (e overlayEntry) Info() (fs.FileInfo, error) { return e, nil }
func (e overlayEntry) Size() int64                { return e.size }
func (e overlayEntry) Mode() fs.FileMode          { return e.mode }
func (e overlayEntry) ModTime() time.Time         { return time.Time{} }
func (e overlayEntry) Sys() any                   { return nil }
