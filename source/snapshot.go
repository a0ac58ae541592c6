package source

import (
	"context"
	"errors"
	"strings"
)

// Snapshot is a read handle on the mirror, with open files of its own: what happens to the mirror later does not
// reach it. Safe for concurrent use.
type Snapshot struct {
	mirror  *clone
	objects *reader
	head    Hash
}

// Snapshot returns a handle at the newest head. The caller closes it.
func (m *Mirror) Snapshot() (*Snapshot, error) {
	// Held so that the mirror is not exchanged in between.
	m.mu.Lock()
	defer m.mu.Unlock()
	head := m.at
	if head.Commit == "" {
		return nil, &Error{Kind: KindEmpty, Op: "open snapshot", Subject: m.cfg.Name, Err: errorText("no commit fetched yet")}
	}
	r, err := m.reader(m.cfg.Dir)
	if err != nil {
		m.suspect(err)
		return nil, wrap("open snapshot", m.cfg.Name, err)
	}
	return &Snapshot{mirror: m.clone, objects: r, head: head.Commit}, nil
}

// Close releases the handle's files. Trees of the snapshot cannot be read after.
func (s *Snapshot) Close() error { return s.objects.Close() }

// Head returns the head the snapshot was taken at.
func (s *Snapshot) Head() Hash { return s.head }

// Commit returns one commit by its full hash.
func (s *Snapshot) Commit(h Hash) (Commit, error) {
	id, err := toGit(h)
	if err != nil {
		return Commit{}, s.fail("read commit", h, err)
	}
	raw, err := s.raw(id)
	if err != nil {
		return Commit{}, s.fail("read commit", h, err)
	}
	return raw.clean(id), nil
}

// Contains tells whether the commit h is the head or an ancestor of it.
func (s *Snapshot) Contains(ctx context.Context, h Hash) (bool, error) {
	id, err := toGit(h)
	if err != nil {
		return false, s.fail("read commit", h, err)
	}
	if !s.objects.has(id) {
		return false, nil
	}
	head, err := toGit(s.head)
	if err != nil {
		return false, s.fail("read commit", s.head, err)
	}
	all, err := s.ancestors(ctx, head)
	if err != nil {
		return false, s.fail("read history", s.head, err)
	}
	return all[id], nil
}

// Tree returns the file tree of the commit h.
func (s *Snapshot) Tree(h Hash) (*Tree, error) {
	id, err := toGit(h)
	if err != nil {
		return nil, s.fail("read tree", h, err)
	}
	raw, err := s.raw(id)
	if err != nil {
		return nil, s.fail("read tree", h, err)
	}
	t := &Tree{snap: s, objects: s.objects, commit: h, root: raw.tree}
	if _, err := t.load("", raw.tree); err != nil {
		return nil, err
	}
	return t, nil
}

// fail wraps an error of reading. A commit that was asked for by name and is not there is no damage,
// unless it is the head.
func (s *Snapshot) fail(op string, h Hash, err error) error {
	var e *Error
	if errors.As(err, &e) {
		return err
	}
	if h != s.head && errors.Is(err, errMissing) && strings.Contains(err.Error(), string(h)) {
		return &Error{Kind: KindNotFound, Op: op, Subject: h.Short(), Err: err}
	}
	s.mirror.suspect(err)
	return wrap(op, h.Short(), err)
}
