package merge

import "bytes"

// Git follows renames when it merges: of files, and from most files of a directory moving elsewhere, of directories. The
// merge here goes by path. The two differ only in the situations that renames looks for; everywhere else a rename
// changes nothing, or is a conflict by path as well.

const (
	// alike is how much of the larger of two files must come from the other, in percent, for one to be taken for
	// the other renamed. Git's own bound is 50; being more careful only refuses more.
	alike = 45
	// maxPairs bounds how many pairs of files are compared.
	maxPairs = 4000
)

// renames notes a conflict wherever git might follow a rename to another result.
func (m *merger) renames() error {
	for _, c := range m.their {
		var moved bool
		var err error
		switch {
		case c.deleted():
			moved, err = m.deletedTwice(c)
		case c.added():
			if moved, err = m.addedTwice(c); err == nil && !moved {
				moved, err = m.addedToMoved(c)
			}
		}
		if err != nil {
			return err
		}
		if moved {
			m.conflict(c.path, 0, Renamed)
			return nil
		}
	}
	return m.movedFromAdded()
}

// ourChanges returns what leads from base to ours.
func (m *merger) ourChanges() ([]change, error) {
	if m.ourRead {
		return m.our, nil
	}
	var err error
	m.our, err = m.changes(m.base, m.ours, "")
	m.ourRead = err == nil
	return m.our, err
}

// deletedTwice: a file is gone on both sides. If one renamed it, git says that the other deleted or renamed it too.
func (m *merger) deletedTwice(c change) (bool, error) {
	e, err := m.at(m.ours, c.path)
	if err != nil || e.isFile() {
		return false, err
	}
	our, err := m.ourChanges()
	if err != nil {
		return false, err
	}
	gone := []change{c}
	if moved, err := m.anyAlike(gone, our); moved || err != nil {
		return moved, err
	}
	return m.anyAlike(gone, m.their)
}

// addedTwice: a file is there on both sides and was not before. If one of them was renamed, git merges it with what it
// was.
func (m *merger) addedTwice(c change) (bool, error) {
	e, err := m.at(m.ours, c.path)
	if err != nil || !e.isFile() {
		return false, err
	}
	our, err := m.ourChanges()
	if err != nil {
		return false, err
	}
	if moved, err := m.anyAlike(m.their, []change{c}); moved || err != nil {
		return moved, err
	}
	return m.anyAlike(our, []change{{path: c.path, to: e}})
}

// addedToMoved: theirs adds a file below a directory that ours has no more. If ours renamed it, git asks whether the
// file should follow.
func (m *merger) addedToMoved(c change) (bool, error) {
	for dir, ok := parent(c.path); ok; dir, ok = parent(dir) {
		before, err := m.at(m.base, dir)
		if err != nil {
			return false, err
		}
		after, err := m.at(m.ours, dir)
		if err != nil {
			return false, err
		}
		if !before.isDir() || after.isDir() {
			continue
		}
		gone, err := m.changes(before.ID, ID{}, dir)
		if err != nil {
			return false, err
		}
		our, err := m.ourChanges()
		if err != nil {
			return false, err
		}
		if moved, err := m.anyAlike(gone, our); moved || err != nil {
			return moved, err
		}
	}
	return false, nil
}

// movedFromAdded: ours adds files below a directory that theirs has no more.
func (m *merger) movedFromAdded() error {
	seen := map[string]bool{}
	for _, c := range m.their {
		if !c.deleted() {
			continue
		}
		for dir, ok := parent(c.path); ok && !seen[dir]; dir, ok = parent(dir) {
			seen[dir] = true
			moved, err := m.addedBelow(dir)
			if err != nil {
				return err
			}
			if moved {
				m.conflict(c.path, 0, Renamed)
				return nil
			}
		}
	}
	return nil
}

func (m *merger) addedBelow(dir string) (bool, error) {
	after, err := m.at(m.theirs, dir)
	if err != nil || after.isDir() {
		return false, err
	}
	before, err := m.at(m.base, dir)
	if err != nil {
		return false, err
	}
	here, err := m.at(m.ours, dir)
	if err != nil || !here.isDir() {
		return false, err
	}
	ours, err := m.changes(dirID(before), here.ID, dir)
	if err != nil {
		return false, err
	}
	for _, c := range ours {
		if c.added() {
			gone, err := m.changes(dirID(before), ID{}, dir)
			if err != nil {
				return false, err
			}
			return m.anyAlike(gone, m.their)
		}
	}
	return false, nil
}

// anyAlike tells whether an added file of the one list may be a deleted file of the other, renamed.
func (m *merger) anyAlike(from, to []change) (bool, error) {
	pairs := 0
	for _, gone := range from {
		if !gone.deleted() || gone.from.Mode&typeBits == ModeSubmodule {
			continue
		}
		for _, come := range to {
			if !come.added() || come.to.Mode&typeBits != gone.from.Mode&typeBits {
				continue
			}
			if pairs++; pairs > maxPairs {
				return true, nil // too much to look at
			}
			ok, err := m.alike(gone.from, come.to)
			if ok || err != nil {
				return ok, err
			}
		}
	}
	return false, nil
}

func (m *merger) alike(a, b Entry) (bool, error) {
	if !a.regular() {
		return a.ID == b.ID, nil
	}
	from, err := m.store.Blob(a.ID)
	if err != nil {
		return false, err
	}
	to, err := m.store.Blob(b.ID)
	if err != nil {
		return false, err
	}
	size, small := max(len(from), len(to)), min(len(from), len(to))
	if small == 0 || small*100 < size*alike {
		return false, nil
	}
	return a.ID == b.ID || shared(from, to)*100 >= size*alike, nil
}

// shared counts the bytes of one file whose chunks the other has too, wherever they are: lines, and of lines longer than
// 64 bytes the pieces of that length.
func shared(a, b []byte) int {
	const most = 64
	count := map[string]int{}
	each := func(content []byte, f func(chunk string)) {
		content = bytes.ReplaceAll(content, []byte("\r\n"), []byte("\n"))
		for len(content) > 0 {
			n := bytes.IndexByte(content[:min(most, len(content))], '\n') + 1
			if n == 0 {
				n = min(most, len(content))
			}
			f(string(content[:n]))
			content = content[n:]
		}
	}
	each(a, func(chunk string) { count[chunk]++ })
	sum := 0
	each(b, func(chunk string) {
		if count[chunk] > 0 {
			count[chunk]--
			sum += len(chunk)
		}
	})
	return sum
}
