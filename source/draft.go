package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/belay-dev/belay/source/merge"
)

// objectSource reads objects, verified against their names.
type objectSource interface {
	bytes(t plumbing.ObjectType, h plumbing.Hash) ([]byte, error)
	size(h plumbing.Hash) (int64, error)
}

// Draft is the tree of a commit with changes, in memory: nothing of it is on a disk or at the remote before it is made a
// Proposal and pushed. A Draft does not change: what changes it returns another. It lives as long as its Snapshot.
type Draft struct {
	snap    *Snapshot
	base    Hash
	from    plumbing.Hash // the tree of base
	tree    plumbing.Hash
	objects *overlay
	undone  []reverted // newest first
}

// reverted is a commit that a draft takes back, and the parent that it goes back to.
type reverted struct {
	raw    rawCommit
	commit Hash
	parent Hash // "" for a first commit
}

// FileEdit is the new content of one file. A file that is there keeps its mode.
type FileEdit struct {
	// Path is relative and slash-separated.
	Path string
	// Content is the whole file.
	Content []byte
	// Delete takes the file away; Content is not used.
	Delete bool
}

// Draft begins with the tree of the commit base.
func (s *Snapshot) Draft(base Hash) (*Draft, error) {
	id, err := toGit(base)
	if err != nil {
		return nil, s.fail("read commit", base, err)
	}
	raw, err := s.raw(id)
	if err != nil {
		return nil, s.fail("read commit", base, err)
	}
	o := &overlay{under: s.objects, limit: s.mirror.cfg.Limits.BlobBytes, fresh: map[plumbing.Hash]freshObject{}}
	return &Draft{snap: s, base: base, from: raw.tree, tree: raw.tree, objects: o}, nil
}

// Base returns the commit the draft began with.
func (d *Draft) Base() Hash { return d.base }

// Tree returns the files of the draft.
func (d *Draft) Tree() (*Tree, error) {
	t := &Tree{snap: d.snap, objects: d.objects, commit: d.base, root: d.tree}
	if _, err := t.load("", d.tree); err != nil {
		return nil, err
	}
	return t, nil
}

// Edit returns the draft with the files changed. Changing or deleting a file that is not there, unless it is new, and
// changing what is no regular file, are errors.
func (d *Draft) Edit(edits []FileEdit) (*Draft, error) {
	tree, err := d.Tree()
	if err != nil {
		return nil, err
	}
	list := make([]merge.Edit, 0, len(edits))
	for _, e := range edits {
		one, err := d.edit(tree, e)
		if err != nil {
			return nil, err
		}
		list = append(list, one)
	}
	id, err := merge.Apply(d.objects, merge.ID(d.tree), list)
	if err != nil {
		return nil, d.fail("edit", err)
	}
	return d.with(id), nil
}

func (d *Draft) edit(tree *Tree, e FileEdit) (merge.Edit, error) {
	out := merge.Edit{Path: e.Path, Entry: merge.Entry{Mode: merge.ModeFile}}
	at, err := tree.lookup("edit", e.Path)
	switch {
	case err == nil && !at.mode.IsRegular():
		return out, &Error{Kind: KindInvalid, Op: "edit", Subject: e.Path, Err: errorText("no regular file")}
	case err == nil && at.mode&0o100 != 0:
		out.Entry.Mode = merge.ModeExec
	case err != nil && (e.Delete || !errors.Is(err, fs.ErrNotExist)):
		return out, &Error{Kind: KindInvalid, Op: "edit", Subject: e.Path, Err: bare(err)}
	}
	if e.Delete {
		return merge.Edit{Path: e.Path}, nil
	}
	if limit := d.snap.mirror.cfg.Limits.BlobBytes; int64(len(e.Content)) > limit {
		return out, d.fail("edit", tooLarge(quote(e.Path), limit, "bytes"))
	}
	out.Entry.ID, err = d.objects.PutBlob(e.Content)
	return out, err
}

// Revert returns the draft without what the commit h did, as git revert computes it: of a merge, against its first
// parent. What git would not revert cleanly is an error of kind Conflict that names file and line; so is what git might
// revert by following a renamed file. The draft's tree may be unchanged then: see Changed.
func (d *Draft) Revert(ctx context.Context, h Hash) (*Draft, error) {
	id, err := toGit(h)
	if err != nil {
		return nil, d.snap.fail("revert", h, err)
	}
	raw, err := d.snap.raw(id)
	if err != nil {
		return nil, d.snap.fail("revert", h, err)
	}
	if err := d.inHistory(ctx, id); err != nil {
		return nil, err
	}
	back := reverted{raw: raw, commit: h}
	var before merge.ID // of a first commit: nothing
	if len(raw.parents) > 0 {
		parent, err := d.snap.raw(raw.parents[0])
		if err != nil {
			return nil, d.snap.fail("revert", h, err)
		}
		before, back.parent = merge.ID(parent.tree), fromGit(raw.parents[0])
	}
	tree, _, err := merge.Trees(d.objects, merge.ID(raw.tree), merge.ID(d.tree), before)
	if err != nil {
		return nil, d.fail("revert "+h.Short(), err)
	}
	next := d.with(tree)
	next.undone = append(slices.Clone(d.undone), back)
	return next, nil
}

// inHistory refuses a commit that the branch has left: the remote may not have its files any more.
func (d *Draft) inHistory(ctx context.Context, h plumbing.Hash) error {
	base, err := toGit(d.base)
	if err != nil {
		return err
	}
	all, err := d.snap.ancestors(ctx, base)
	if err != nil {
		return d.snap.fail("revert", fromGit(h), err)
	}
	if !all[h] {
		return &Error{Kind: KindNotFound, Op: "revert", Subject: fromGit(h).Short(), Err: errorText("the commit is not in the history of the branch")}
	}
	return nil
}

func (d *Draft) with(tree merge.ID) *Draft {
	next := *d
	next.tree = plumbing.Hash(tree)
	return &next
}

func (d *Draft) fail(op string, err error) error {
	var c *merge.Conflicts
	switch {
	case errors.As(err, &c):
		return &Error{Kind: KindConflict, Op: op, Err: err, Hint: "undo it by hand, or restore the fields alone"}
	case errors.Is(err, merge.ErrPath):
		return &Error{Kind: KindInvalid, Op: op, Err: err}
	case errors.Is(err, merge.ErrTooMany):
		return &Error{Kind: KindTooLarge, Op: op, Err: err}
	}
	d.snap.mirror.suspect(err)
	return wrap(op, "", err)
}

// Changed lists the files that differ from the draft's base, sorted.
func (d *Draft) Changed() ([]string, error) {
	paths, err := merge.Changed(d.objects, merge.ID(d.from), merge.ID(d.tree))
	if err != nil {
		return nil, d.fail("compare", err)
	}
	return paths, nil
}

// freshObject is an object that nobody else has yet.
type freshObject struct {
	kind    plumbing.ObjectType
	content []byte
}

// overlay holds new objects over those of a snapshot. It is a merge.Store. Safe for concurrent use.
type overlay struct {
	under objectSource
	limit int64 // of one file

	mu    sync.RWMutex
	fresh map[plumbing.Hash]freshObject
}

func (o *overlay) get(h plumbing.Hash) (freshObject, bool) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	f, ok := o.fresh[h]
	return f, ok
}

func (o *overlay) put(kind plumbing.ObjectType, content []byte) plumbing.Hash {
	h := plumbing.ComputeHash(kind, content)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.fresh[h] = freshObject{kind, content}
	return h
}

func (o *overlay) bytes(kind plumbing.ObjectType, h plumbing.Hash) ([]byte, error) {
	if f, ok := o.get(h); ok && f.kind == kind {
		return f.content, nil
	}
	return o.under.bytes(kind, h)
}

func (o *overlay) size(h plumbing.Hash) (int64, error) {
	if f, ok := o.get(h); ok {
		return int64(len(f.content)), nil
	}
	return o.under.size(h)
}

// emptyTree is the tree without entries, which need not be stored.
var emptyTree = plumbing.ComputeHash(plumbing.TreeObject, nil)

// Tree returns the entries of a directory, their modes as Git writes them today.
func (o *overlay) Tree(id merge.ID) ([]merge.Named, error) {
	h := plumbing.Hash(id)
	if h == emptyTree {
		return nil, nil
	}
	data, err := o.bytes(plumbing.TreeObject, h)
	if err != nil {
		return nil, err
	}
	if _, err := parseTree(h, data); err != nil { // refuses what no tree may hold
		return nil, err
	}
	var out []merge.Named
	err = eachEntry(h, data, func(e rawEntry) error {
		mode, err := strconv.ParseUint(string(e.mode), 8, 32)
		if err != nil {
			return fmt.Errorf("%w: tree %s: mode %s", errMalformed, h, quote(string(e.mode)))
		}
		out = append(out, merge.Named{Name: string(e.name), Entry: merge.Entry{Mode: canonicalMode(uint32(mode)), ID: merge.ID(e.id)}})
		return nil
	})
	return out, err
}

// canonicalMode maps the modes of old or foreign tools to those that Git writes.
func canonicalMode(mode uint32) uint32 {
	const kind = 0o170000
	switch {
	case mode&kind == merge.ModeDir&kind:
		return merge.ModeDir
	case mode&kind == merge.ModeLink&kind:
		return merge.ModeLink
	case mode&kind == merge.ModeFile&kind && mode&0o100 != 0:
		return merge.ModeExec
	case mode&kind == merge.ModeFile&kind:
		return merge.ModeFile
	}
	return merge.ModeSubmodule
}

// Blob returns the content of a file within the limit.
func (o *overlay) Blob(id merge.ID) ([]byte, error) {
	h := plumbing.Hash(id)
	size, err := o.size(h)
	if err != nil {
		return nil, err
	}
	if size > o.limit {
		return nil, tooLarge("a file that changed on both sides", o.limit, "bytes")
	}
	return o.bytes(plumbing.BlobObject, h)
}

// PutTree keeps a directory.
func (o *overlay) PutTree(list []merge.Named) (merge.ID, error) {
	var b bytes.Buffer
	for _, n := range list {
		fmt.Fprintf(&b, "%o %s\x00", n.Mode, n.Name)
		b.Write(n.ID[:])
	}
	return merge.ID(o.put(plumbing.TreeObject, b.Bytes())), nil
}

// PutBlob keeps a file.
func (o *overlay) PutBlob(content []byte) (merge.ID, error) {
	return merge.ID(o.put(plumbing.BlobObject, bytes.Clone(content))), nil
}

// Message returns the message that git revert writes for what the draft reverts: of a revert, that it is applied again,
// as Git does since 2.43. Several commits are listed newest first below the first one's subject. It is "" when nothing
// was reverted.
func (d *Draft) Message() string {
	if len(d.undone) == 0 {
		return ""
	}
	var b strings.Builder
	line, _, _ := bytes.Cut(bytes.TrimLeft(d.undone[0].raw.message, "\r\n"), []byte{'\n'})
	subject := d.undone[0].raw.text(line, causeBytes)
	const revert = `Revert "`
	again, is := strings.CutPrefix(subject, revert)
	if is && !strings.HasPrefix(again, revert) {
		b.WriteString(`Reapply "` + again)
	} else {
		b.WriteString(revert + subject + `"`)
	}
	if more := len(d.undone) - 1; more == 1 {
		b.WriteString(" and one commit before it")
	} else if more > 1 {
		fmt.Fprintf(&b, " and %d commits before it", more)
	}
	b.WriteString("\n\n")
	for _, r := range d.undone {
		fmt.Fprintf(&b, "This reverts commit %s", r.commit)
		if len(r.raw.parents) > 1 {
			fmt.Fprintf(&b, ", reversing\nchanges made to %s", r.parent)
		}
		b.WriteString(".\n")
	}
	return b.String()
}
