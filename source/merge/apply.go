package merge

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrPath is returned for an edit that cannot be meant.
var ErrPath = errors.New("invalid path")

// dirEdit is what becomes of one directory.
type dirEdit struct {
	below map[string]*dirEdit // directories with edits in them
	set   map[string]Entry    // files; the zero Entry deletes
}

// Apply returns the tree that the edits make of root. A directory that becomes empty goes; the root stays. A file where
// other files of the result need a directory is a *Conflicts error. Two edits of one path, and paths that no file can have, are ErrPath.
func Apply(s Store, root ID, edits []Edit) (ID, error) {
	top := &dirEdit{}
	for _, e := range edits {
		if err := top.add(e); err != nil {
			return ID{}, err
		}
	}
	a := applier{store: s}
	list, err := a.dir(top, root, "")
	if err != nil {
		return ID{}, err
	}
	if len(a.clashes) > 0 {
		return ID{}, &Conflicts{List: a.clashes}
	}
	return s.PutTree(list)
}

func (d *dirEdit) add(e Edit) error {
	names := strings.Split(e.Path, "/")
	for _, name := range names {
		if !validName(name) {
			return fmt.Errorf("%w: %q has a name that no file can have", ErrPath, e.Path)
		}
	}
	if e.Entry.isDir() {
		return fmt.Errorf("%w: %q: a directory cannot be put as a whole", ErrPath, e.Path)
	}
	last := len(names) - 1
	for _, name := range names[:last] {
		if d.below == nil {
			d.below = map[string]*dirEdit{}
		}
		if d.below[name] == nil {
			d.below[name] = &dirEdit{}
		}
		d = d.below[name]
	}
	if d.set == nil {
		d.set = map[string]Entry{}
	}
	if _, twice := d.set[names[last]]; twice {
		return fmt.Errorf("%w: %q is edited twice", ErrPath, e.Path)
	}
	d.set[names[last]] = e.Entry
	return nil
}

// validName tells whether a name can be one component of a path in a commit.
func validName(name string) bool {
	return name != "" && name != "." && name != ".." && !strings.EqualFold(name, ".git") && !strings.ContainsAny(name, "/\x00")
}

type applier struct {
	store   Store
	clashes []Conflict
}

// dir returns the entries of a directory after its edits, in Git's order. id is the zero ID for one that is new.
func (a *applier) dir(d *dirEdit, id ID, path string) ([]Named, error) {
	byName := map[string]Entry{}
	if id != (ID{}) {
		list, err := a.store.Tree(id)
		if err != nil {
			return nil, err
		}
		for _, n := range list {
			byName[n.Name] = n.Entry
		}
	}
	for name, e := range d.set { // first what goes, which makes room for what comes
		if e.absent() && !byName[name].isDir() {
			delete(byName, name)
		}
	}
	if err := a.below(d, byName, path); err != nil {
		return nil, err
	}
	for name, e := range d.set {
		switch {
		case e.absent():
		case byName[name].isDir():
			a.clash(join(path, name))
		default:
			byName[name] = e
		}
	}
	out := make([]Named, 0, len(byName))
	for name, e := range byName {
		out = append(out, Named{name, e})
	}
	slices.SortFunc(out, func(a, b Named) int { return cmp.Compare(sortName(a), sortName(b)) })
	return out, nil
}

// below puts the edited subdirectories of a directory in their places.
func (a *applier) below(d *dirEdit, byName map[string]Entry, path string) error {
	for name, below := range d.below {
		old := byName[name]
		list, err := a.dir(below, dirID(old), join(path, name))
		if err != nil {
			return err
		}
		switch {
		case old.isFile() && len(list) > 0:
			a.clash(join(path, name))
			continue
		case old.isFile():
			continue
		case len(list) == 0:
			delete(byName, name)
			continue
		}
		id, err := a.store.PutTree(list)
		if err != nil {
			return err
		}
		byName[name] = Entry{Mode: ModeDir, ID: id}
	}
	return nil
}

func (a *applier) clash(path string) {
	a.clashes = append(a.clashes, Conflict{Path: path, Reason: FileAndDirectory})
}

// sortName is what Git orders entries by: a directory as if its name ended in a slash.
func sortName(n Named) string {
	if n.isDir() {
		return n.Name + "/"
	}
	return n.Name
}
