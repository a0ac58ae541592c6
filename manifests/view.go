package manifests

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"sync"
)

// view reads one tree through the directories already known of it.
type view struct {
	tree Tree
	root *dir
	mu   *sync.Mutex // guards entry.sub and dir.listing, shared by all views of a cache
}

func newView(t Tree, mu *sync.Mutex) (*view, error) {
	root, err := readDir(t, "", t.Hash())
	if err != nil {
		return nil, err
	}
	return &view{tree: t, root: root, mu: mu}, nil
}

// open returns the directory behind an entry, reading it when it is new.
func (v *view) open(e *entry, p string) (*dir, error) {
	v.mu.Lock()
	sub := e.sub
	v.mu.Unlock()
	if sub != nil {
		return sub, nil
	}
	sub, err := readDir(v.tree, p, e.hash)
	if err != nil {
		return nil, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if e.sub == nil {
		e.sub = sub
	}
	return e.sub, nil
}

// listing is a digest of the names and types in a directory, so that a change
// of content alone leaves it as it was.
func (v *view) listing(d *dir) string {
	v.mu.Lock()
	defer v.mu.Unlock()
	if d.listing == "" {
		sum := sha256.New()
		for i := range d.entries {
			fmt.Fprintf(sum, "%s\x00%o\x00", d.entries[i].name, d.entries[i].mode)
		}
		d.listing = hex.EncodeToString(sum.Sum(nil)[:16])
	}
	return d.listing
}

// pathError is a path that cannot be followed, with the reason for it.
type pathError struct {
	reason Reason
	path   string
	text   string
}

func (e *pathError) Error() string { return e.text }

func (e *pathError) Is(target error) bool {
	return target == fs.ErrNotExist && e.reason == LinkBroken
}

// reader reads paths of a view and records what the answers depend on:
//
//	"a/b"   the type of a/b, and its content when it is no directory ("" when absent)
//	"a/b/"  the names and types in the directory a/b
type reader struct {
	*view
	deps map[string]string
}

func (v *view) reader() *reader { return &reader{view: v, deps: map[string]string{}} }

const absent = ""

func (e *entry) dependency() string {
	switch {
	case e.mode.IsDir():
		return "dir"
	case e.mode&fs.ModeSymlink != 0:
		return "link " + e.hash
	case e.mode&fs.ModeIrregular != 0:
		return "module " + e.hash
	default:
		return e.hash
	}
}

// found is what a path leads to after all links.
type found struct {
	real  string // where it is, without links
	entry *entry // nil for the root of the tree
	dir   *dir   // set for directories
}

// resolve follows a path through the tree. A path that leads nowhere is an
// error wrapping fs.ErrNotExist; a link that leaves the tree, or never ends, is
// a *pathError.
func (r *reader) resolve(p string) (found, error) {
	at := found{dir: r.root}
	parts := splitPath(p)
	for links := 0; len(parts) > 0; {
		name := parts[0]
		parts = parts[1:]
		if name == ".." {
			if at.real == "" {
				return found{}, &pathError{LinkOutside, p, fmt.Sprintf("%s: leads out of the repository", p)}
			}
			up, err := r.resolve(parentOf(at.real))
			if err != nil {
				return found{}, err
			}
			at = up
			continue
		}
		if at.dir == nil {
			return found{}, &fs.PathError{Op: "open", Path: p, Err: fs.ErrNotExist}
		}
		here := path.Join(at.real, name)
		e := at.dir.find(name)
		if e == nil {
			r.deps[here] = absent
			return found{}, &fs.PathError{Op: "open", Path: p, Err: fs.ErrNotExist}
		}
		if e.mode&fs.ModeSymlink != 0 {
			r.deps[here] = e.dependency()
			if links++; links > maxLinks {
				return found{}, &pathError{LinkBroken, p, fmt.Sprintf("%s: too many levels of symbolic links", p)}
			}
			target, err := r.linkTarget(here)
			if err != nil {
				return found{}, err
			}
			parts = append(splitPath(target), parts...)
			if len(parts) > maxDirDepth {
				return found{}, &pathError{LinkBroken, p, fmt.Sprintf("%s: too many levels of symbolic links", p)}
			}
			continue
		}
		next := found{real: here, entry: e}
		if e.mode.IsDir() {
			d, err := r.open(e, here)
			if err != nil {
				return found{}, err
			}
			next.dir = d
		} else {
			r.deps[here] = e.dependency()
		}
		at = next
	}
	if at.entry != nil && at.dir != nil {
		r.deps[at.real] = at.entry.dependency()
	}
	return at, nil
}

func (r *reader) linkTarget(p string) (string, error) {
	data, err := r.tree.ReadFile(p)
	if err != nil {
		return "", fmt.Errorf("read link %q: %w", p, err)
	}
	target := string(data)
	switch {
	case target == "" || len(target) > 4096 || strings.ContainsRune(target, 0):
		return "", &pathError{LinkBroken, p, fmt.Sprintf("%s: is a symbolic link without a usable target", p)}
	case strings.HasPrefix(target, "/"):
		return "", &pathError{LinkOutside, p, fmt.Sprintf("%s: is a symbolic link out of the repository (%s)", p, clean(target))}
	}
	return target, nil
}

func splitPath(p string) []string {
	var parts []string
	for _, part := range strings.Split(p, "/") {
		if part != "" && part != "." {
			parts = append(parts, part)
		}
	}
	return parts
}

func parentOf(p string) string {
	if i := strings.LastIndexByte(p, '/'); i >= 0 {
		return p[:i]
	}
	return ""
}

// list returns the entries of a directory and depends on their names.
func (r *reader) list(f found) []entry {
	r.deps[f.real+"/"] = r.listing(f.dir)
	return f.dir.entries
}

var lfsMark = []byte("version https://git-lfs.github.com/spec/")

// read returns the bytes of the file that a path leads to. Errors are
// *pathError with the reason, or wrap fs.ErrNotExist.
func (r *reader) read(p string) ([]byte, found, error) {
	f, err := r.resolve(p)
	if err != nil {
		return nil, f, err
	}
	switch {
	case f.dir != nil:
		return nil, f, &pathError{Unreadable, p, fmt.Sprintf("%s: is a directory", p)}
	case f.entry.mode&fs.ModeIrregular != 0:
		return nil, f, &pathError{Submodule, p, fmt.Sprintf("%s: is a Git submodule, whose files are not read", p)}
	}
	data, err := r.tree.ReadFile(f.real)
	var large tooLargeError
	switch {
	case errors.As(err, &large) || err == nil && len(data) > maxFileBytes:
		return nil, f, &pathError{TooLarge, p, fmt.Sprintf("%s: is larger than %d MiB", p, maxFileBytes>>20)}
	case err != nil && strings.Contains(err.Error(), "Git LFS pointer"), bytes.HasPrefix(data, lfsMark):
		return nil, f, &pathError{LFSPointer, p, fmt.Sprintf("%s: is a Git LFS pointer: commit the file itself", p)}
	case err != nil:
		return nil, f, &pathError{Unreadable, p, fmt.Sprintf("%s: %v", p, err)}
	}
	return data, f, nil
}

// changes is what differs between two trees, among the directories that were
// read of the first.
type changes struct {
	keys       map[string]struct{} // dependency keys (see reader) that may have changed
	structural bool                // the set of roots may have changed
	edited     []editedDir         // directories whose kustomization has another content
}

// editedDir is a directory that is a root, or not, for the same reason as
// before unless the kind of its kustomization changed.
type editedDir struct {
	path     string
	old, new *dir
}

func (c *changes) hit(key string) { c.keys[key] = struct{}{} }

// advance returns the view of another tree that shares everything unchanged
// with v, and what changed.
func (v *view) advance(t Tree) (*view, *changes, error) {
	c := &changes{keys: map[string]struct{}{}}
	next := &view{tree: t, root: v.root, mu: v.mu}
	if h := t.Hash(); h == "" || h != v.root.hash {
		root, err := v.compare(c, t, v.root, "", h)
		if err != nil {
			return nil, nil, err
		}
		next.root = root
	}
	return next, c, nil
}

// pair calls f for every name in either of two directories, in order; was or is
// is nil where the name is only in the other.
func pair(old, next []entry, f func(was, is *entry)) {
	i, j := 0, 0
	for i < len(old) || j < len(next) {
		switch {
		case j == len(next) || i < len(old) && old[i].name < next[j].name:
			f(&old[i], nil)
			i++
		case i == len(old) || next[j].name < old[i].name:
			f(nil, &next[j])
			j++
		default:
			f(&old[i], &next[j])
			i++
			j++
		}
	}
}

func (v *view) compare(c *changes, t Tree, old *dir, p, hash string) (*dir, error) {
	next, err := readDir(t, p, hash)
	if err != nil {
		return nil, err
	}
	named := false
	var changed [][2]*entry
	var gone []*entry
	v.mu.Lock()
	pair(old.entries, next.entries, func(was, is *entry) {
		if was != nil && is != nil && was.mode == is.mode {
			if was.hash == is.hash && is.hash != "" {
				is.sub = was.sub
			} else {
				changed = append(changed, [2]*entry{was, is})
			}
			return
		}
		named = true
		if was != nil {
			gone = append(gone, was)
		} else {
			c.hit(path.Join(p, is.name))
		}
	})
	v.mu.Unlock()
	for _, was := range gone {
		v.removed(c, was, path.Join(p, was.name))
	}
	edited := false
	for _, pair := range changed {
		if err := v.compareEntry(c, t, pair[0], pair[1], p); err != nil {
			return nil, err
		}
		if isKustomization(pair[1].name) {
			edited = true
			c.edited = append(c.edited, editedDir{path: p, old: old, new: next})
		}
	}
	switch {
	case named:
		c.structural = true
		c.hit(p + "/")
	case !edited:
		v.mu.Lock()
		next.class = old.class
		v.mu.Unlock()
	}
	return next, nil
}

func (v *view) compareEntry(c *changes, t Tree, was, is *entry, p string) error {
	v.mu.Lock()
	sub := was.sub
	v.mu.Unlock()
	here := path.Join(p, is.name)
	switch {
	case !is.mode.IsDir():
		c.hit(here)
		if is.mode&fs.ModeSymlink != 0 {
			c.structural = true
		}
	case sub != nil:
		d, err := v.compare(c, t, sub, here, is.hash)
		if err != nil {
			return err
		}
		is.sub = d
	}
	return nil
}

// removed marks a path and everything known below it.
func (v *view) removed(c *changes, e *entry, p string) {
	c.hit(p)
	v.mu.Lock()
	sub := e.sub
	v.mu.Unlock()
	if sub == nil {
		return
	}
	c.hit(p + "/")
	for i := range sub.entries {
		v.removed(c, &sub.entries[i], path.Join(p, sub.entries[i].name))
	}
}
