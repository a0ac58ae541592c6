package merge

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// Reason says why something cannot be merged.
type Reason string

const (
	// Content: both sides changed the same or neighbouring lines.
	Content Reason = "Content"
	// BothAdded: both sides added the file, with different content.
	BothAdded Reason = "BothAdded"
	// ModifyDelete: one side changed the file, the other deleted it.
	ModifyDelete Reason = "ModifyDelete"
	// Modes: both sides changed the file's mode, to different ones.
	Modes Reason = "Modes"
	// Types: the sides made different kinds of things of it: a file, a symbolic link, a submodule.
	Types Reason = "Types"
	// Binary: both sides changed a file that is not text, a symbolic link or a submodule.
	Binary Reason = "Binary"
	// FileAndDirectory: one side has a file where the other has a directory.
	FileAndDirectory Reason = "FileAndDirectory"
	// Renamed: a file or its directory may have been renamed, and git may follow it.
	Renamed Reason = "Renamed"
	// Attributes: the repository says by .gitattributes how the file is merged.
	Attributes Reason = "Attributes"
	// Repetitive: the lines of the file repeat too often to tell them apart.
	Repetitive Reason = "Repetitive"
)

var texts = map[Reason]string{
	Content: "changed on both sides", BothAdded: "added on both sides", ModifyDelete: "changed on one side and deleted on the other",
	Modes: "its mode changed on both sides", Types: "of different kinds on the two sides", Binary: "not text and changed on both sides",
	FileAndDirectory: "a file on one side and a directory on the other", Renamed: "perhaps renamed, together with other changes",
	Attributes: ".gitattributes says how it is merged, which is not supported", Repetitive: "too many lines are alike",
}

// Conflict is a place that cannot be merged.
type Conflict struct {
	Path string
	// Line of our version, from 1; 0 when no line is to blame.
	Line   int
	Reason Reason
}

// String returns the place and the reason: "app/web.yaml:12: changed on both sides".
func (c Conflict) String() string {
	if c.Line > 0 {
		return fmt.Sprintf("%s:%d: %s", c.Path, c.Line, texts[c.Reason])
	}
	return c.Path + ": " + texts[c.Reason]
}

// Conflicts is the error of a merge that git would leave to a person. The list is sorted and not empty.
type Conflicts struct{ List []Conflict }

// maxShown bounds the conflicts that the error spells out.
const maxShown = 3

func (c *Conflicts) Error() string {
	var b strings.Builder
	b.WriteString("conflict in ")
	for i, one := range c.List {
		if i == maxShown {
			fmt.Fprintf(&b, " and %d more", len(c.List)-i)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(one.String())
	}
	return b.String()
}

// merger merges one pair of trees.
type merger struct {
	treeReader
	base, ours, theirs ID
	their              []change // base → theirs
	our                []change // base → ours, once asked for
	ourRead            bool
	edits              []Edit
	conflicts          []Conflict
}

// Trees merges what leads from base to theirs into ours and returns the resulting tree, with the edits of ours that make
// it. What git would not merge cleanly, and what git might merge in another way because it follows renames, is a
// *Conflicts error. The zero ID is the empty tree.
func Trees(s Store, base, ours, theirs ID) (ID, []Edit, error) {
	m := &merger{treeReader: treeReader{store: s, read: map[ID][]Named{}}, base: base, ours: ours, theirs: theirs}
	var err error
	if m.their, err = m.changes(base, theirs, ""); err != nil {
		return ID{}, nil, err
	}
	for _, c := range m.their {
		if err := m.path(c); err != nil {
			return ID{}, nil, err
		}
	}
	if err := m.renames(); err != nil {
		return ID{}, nil, err
	}
	if len(m.conflicts) > 0 {
		slices.SortStableFunc(m.conflicts, func(a, b Conflict) int { return strings.Compare(a.Path, b.Path) })
		return ID{}, nil, &Conflicts{List: m.conflicts}
	}
	tree, err := Apply(s, ours, m.edits)
	if err != nil {
		return ID{}, nil, err
	}
	return tree, m.edits, nil
}

func (m *merger) conflict(path string, line int, why Reason) {
	m.conflicts = append(m.conflicts, Conflict{Path: path, Line: line, Reason: why})
}

// path merges one file that theirs changed.
func (m *merger) path(c change) error {
	e, err := m.at(m.ours, c.path)
	if err != nil {
		return err
	}
	ours := e.file()
	switch {
	case ours == c.to: // both did the same
	case ours == c.from:
		m.edits = append(m.edits, Edit{Path: c.path, Entry: c.to})
	case ours.absent() || c.to.absent():
		m.conflict(c.path, 0, ModifyDelete)
	case ours.Mode&typeBits != c.to.Mode&typeBits:
		m.conflict(c.path, 0, Types)
	default:
		return m.file(c, ours)
	}
	return nil
}

// file merges a file that both sides changed, or added.
func (m *merger) file(c change, ours Entry) error {
	out := Entry{Mode: c.to.Mode}
	switch {
	case ours.Mode == c.to.Mode, ours.Mode == c.from.Mode:
	case c.to.Mode == c.from.Mode:
		out.Mode = ours.Mode
	default:
		m.conflict(c.path, 0, Modes)
		return nil
	}
	var err error
	switch {
	case ours.ID == c.to.ID, ours.ID == c.from.ID:
		out.ID = c.to.ID
	case c.to.ID == c.from.ID:
		out.ID = ours.ID
	case !out.regular():
		m.conflict(c.path, 0, Binary)
		return nil
	default:
		from := c.from
		if !from.regular() {
			from = Entry{} // of another kind: nothing in common
		}
		if out.ID, err = m.content(c, from, ours); err != nil || out.ID == (ID{}) {
			return err
		}
	}
	if out != ours {
		m.edits = append(m.edits, Edit{Path: c.path, Entry: out})
	}
	return nil
}

// content merges the lines of a file; the zero ID when there is a conflict, which it notes.
func (m *merger) content(c change, from, ours Entry) (ID, error) {
	custom, err := m.customMerge(c.path)
	if err != nil {
		return ID{}, err
	}
	if custom {
		m.conflict(c.path, 0, Attributes)
		return ID{}, nil
	}
	var versions [3][]byte
	for i, id := range []ID{from.ID, ours.ID, c.to.ID} {
		if id == (ID{}) {
			continue
		}
		if versions[i], err = m.store.Blob(id); err != nil {
			return ID{}, err
		}
		if isBinary(versions[i]) {
			m.conflict(c.path, 0, Binary)
			return ID{}, nil
		}
	}
	got := Lines(versions[0], versions[1], versions[2])
	why := Content
	if c.added() {
		why = BothAdded
	}
	switch {
	case got.Repetitive:
		m.conflict(c.path, 0, Repetitive)
	case len(got.Conflicts) > 0:
		m.conflict(c.path, got.Conflicts[0], why)
	default:
		return m.store.PutBlob(got.Merged)
	}
	return ID{}, nil
}

// isBinary tells what Git takes for no text: a null byte near the beginning.
func isBinary(content []byte) bool {
	return bytes.IndexByte(content[:min(len(content), 8000)], 0) >= 0
}

// customMerge tells whether a .gitattributes file that holds for path speaks of merging. Its patterns are not read.
func (m *merger) customMerge(path string) (bool, error) {
	for dir, ok := parent(path); ok; dir, ok = parent(dir) {
		e, err := m.at(m.ours, join(dir, ".gitattributes"))
		if err != nil {
			return false, err
		}
		if !e.regular() {
			continue
		}
		text, err := m.store.Blob(e.ID)
		if err != nil {
			return false, err
		}
		if bytes.Contains(text, []byte("merge")) || bytes.Contains(text, []byte("binary")) {
			return true, nil
		}
	}
	return false, nil
}
