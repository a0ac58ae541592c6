package manifests

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// Limits of one run of kustomize, which has none of its own.
const (
	maxRunReads          = 20_000
	maxRunBytes          = 256 << 20
	maxRunKustomizations = 2_000
)

// treeFS shows a tree to kustomize as a read-only file system whose root is
// "/", and records everything that was read or looked for. It looks at every
// file before kustomize does; the first that is refused ends the run, and is
// kept because kustomize hides such errors behind others.
type treeFS struct {
	mu sync.Mutex // a run that was given up goes on beside the caller
	*reader
	inspected *inspections
	refusal   *Problem
	unwell    *Problem // YAML mistakes kustomize reports without saying where
	sources   []source // documents read, in the order of reading

	reads, kustomizations int
	bytes                 int64
	seen                  map[string]bool
	last                  string // the file read last, for the report of a stalled run
	stopped               atomic.Bool
}

// source is a document that may be where an object comes from.
type source struct {
	declared
	file string
}

var _ filesys.FileSystem = (*treeFS)(nil)

var errReadOnly = errors.New("the tree of a commit is read-only")

func newTreeFS(r *reader, in *inspections) *treeFS {
	return &treeFS{reader: r, inspected: in, seen: map[string]bool{}}
}

// refuse keeps the first refusal and returns it as an error.
func (f *treeFS) refuse(p Problem) error {
	if f.refusal == nil {
		f.refusal = &p
	}
	return fmt.Errorf("refused: %s", p.Message)
}

// inTree turns kustomize's path into one of the tree.
func inTree(p string) string { return path.Clean("/" + filepath.ToSlash(p))[1:] }

// stop makes every further read fail, which is the only way to end a run early.
func (f *treeFS) stop() { f.stopped.Store(true) }

// takeDeps returns what was read or looked for; a run that was given up adds to
// it no more.
func (f *treeFS) takeDeps() map[string]string {
	deps := f.deps
	f.reader = &reader{view: f.view, deps: map[string]string{}}
	return deps
}

func (f *treeFS) ReadFile(name string) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stopped.Load() {
		return nil, errors.New("the run was given up")
	}
	if f.refusal != nil {
		return nil, fmt.Errorf("refused: %s", f.refusal.Message)
	}
	p := inTree(name)
	data, found, err := f.read(p)
	if err != nil {
		return nil, f.lookupError(p, err)
	}
	f.last = p
	f.reads++
	f.bytes += int64(len(data))
	if f.reads > maxRunReads || f.bytes > maxRunBytes {
		return nil, f.refuse(Problem{Reason: TooComplex, File: p, Message: "the kustomization reads too many files"})
	}
	in := f.inspected.of(found.entry.hash, data)
	if in.refusal != nil {
		return nil, f.refuse(Problem{Reason: in.refusal.reason, File: p, Line: in.line, Message: in.refusal.text})
	}
	if isKustomization(path.Base(p)) {
		if f.kustomizations++; f.kustomizations > maxRunKustomizations {
			return nil, f.refuse(Problem{Reason: TooComplex, File: p, Message: fmt.Sprintf("more than %d kustomizations in one root", maxRunKustomizations)})
		}
		if bad := f.screen(p, data); bad != nil {
			return nil, f.refuse(*bad)
		}
	} else if in.builtin {
		if bad := f.screenConfig(p, data, false); bad != nil {
			return nil, f.refuse(*bad)
		}
	}
	f.note(p, in)
	return data, nil
}

// note remembers what is worth knowing when the run fails, or to say where an
// object comes from.
func (f *treeFS) note(p string, in *inspection) {
	if f.seen[p] {
		return
	}
	f.seen[p] = true
	for _, d := range in.documents {
		f.sources = append(f.sources, source{declared: d, file: p})
	}
	if f.unwell != nil || !yamlName(p) {
		return
	}
	switch {
	case in.syntax != "":
		f.unwell = &Problem{Reason: Syntax, File: p, Line: in.syntaxAt, Message: in.syntax}
	case in.duplicate != nil:
		f.unwell = &Problem{Reason: DuplicateKey, File: p, Line: in.duplicate.line, Field: in.duplicate.path,
			Message: fmt.Sprintf("key %q already set in map", in.duplicate.key)}
	}
}

// lookupError refuses what is there but must not be read; what is not there is
// for kustomize to judge.
func (f *treeFS) lookupError(p string, err error) error {
	var bad *pathError
	if errors.As(err, &bad) && bad.reason != LinkBroken {
		if bad.reason == Unreadable && strings.HasSuffix(bad.text, "is a directory") {
			return &fs.PathError{Op: "read", Path: "/" + p, Err: errors.New("is a directory")}
		}
		return f.refuse(Problem{Reason: bad.reason, File: p, Message: strings.TrimPrefix(bad.text, bad.path+": ")})
	}
	if errors.Is(err, fs.ErrNotExist) {
		return &fs.PathError{Op: "open", Path: "/" + p, Err: fs.ErrNotExist}
	}
	return f.refuse(Problem{Reason: Unreadable, File: p, Message: err.Error()})
}

func (f *treeFS) CleanedAbs(name string) (filesys.ConfirmedDir, string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := inTree(name)
	to, err := f.resolve(p)
	if err != nil {
		return "", "", f.lookupError(p, err)
	}
	if to.dir != nil {
		return filesys.ConfirmedDir("/" + to.real), "", nil
	}
	return filesys.ConfirmedDir("/" + parentOf(to.real)), path.Base(to.real), nil
}

func (f *treeFS) IsDir(name string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	to, err := f.resolve(inTree(name))
	return err == nil && to.dir != nil
}

func (f *treeFS) Exists(name string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, err := f.resolve(inTree(name))
	return err == nil
}

func (f *treeFS) ReadDir(name string) ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := inTree(name)
	to, err := f.resolve(p)
	if err != nil {
		return nil, f.lookupError(p, err)
	}
	if to.dir == nil {
		return nil, &fs.PathError{Op: "readdir", Path: "/" + p, Err: errors.New("not a directory")}
	}
	var names []string
	for _, e := range f.list(to) {
		names = append(names, e.name)
	}
	return names, nil
}

func (f *treeFS) Create(string) (filesys.File, error) { return nil, errReadOnly }
func (f *treeFS) Mkdir(string) error                  { return errReadOnly }
func (f *treeFS) MkdirAll(string) error               { return errReadOnly }
func (f *treeFS) RemoveAll(string) error              { return errReadOnly }
func (f *treeFS) WriteFile(string, []byte) error      { return errReadOnly }
func (f *treeFS) Open(string) (filesys.File, error) {
	return nil, errors.New("files are only read whole")
}
func (f *treeFS) Glob(string) ([]string, error) { return nil, errors.New("patterns are not supported") }
func (f *treeFS) Walk(string, filepath.WalkFunc) error {
	return errors.New("walking the tree is not supported")
}
