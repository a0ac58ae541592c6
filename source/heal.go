package source

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/go-git/go-git/v5/plumbing"
)

// openDir makes the mirror directory sound: a head that can be read, or none.
func (m *Mirror) openDir(ctx context.Context) error {
	dir := m.cfg.Dir
	if err := os.RemoveAll(dir + ".new"); err != nil {
		return err
	}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return m.initDir(dir)
	}
	if err := removeLitter(dir); err != nil {
		return err
	}
	head, err := m.check(ctx)
	switch KindOf(err) {
	case "":
	case KindCorrupt, KindMalformed:
		m.log.Warn().Err(err).Str(logPath, dir+".bad").Msg("mirror is damaged, set aside")
		if err := setAside(dir); err != nil {
			return err
		}
		return m.initDir(dir)
	default:
		return err
	}
	m.at = Head{Commit: head}
	return m.initDir(dir) // HEAD and config are put back as they were
}

// setAside moves a damaged mirror out of the way. An older one is dropped.
func setAside(dir string) error {
	if err := os.RemoveAll(dir + ".bad"); err != nil {
		return err
	}
	return os.Rename(dir, dir+".bad")
}

// origin is what the mirror in a directory is of.
func (m *Mirror) origin() string { return m.cfg.URL + " " + m.cfg.Branch + "\n" }

func (m *Mirror) initDir(dir string) error {
	for _, sub := range []string{"objects/pack", "objects/info", "refs/heads", "refs/belay/keep"} {
		if err := os.MkdirAll(filepath.Join(dir, filepath.FromSlash(sub)), 0o755); err != nil {
			return err
		}
	}
	const config = "[core]\n\trepositoryformatversion = 0\n\tbare = true\n[gc]\n\tauto = 0\n"
	return errors.Join(
		writeFile(filepath.Join(dir, "config"), []byte(config)),
		writeFile(filepath.Join(dir, "HEAD"), []byte("ref: "+branchRef(m.cfg.Branch)+"\n")),
		writeFile(filepath.Join(dir, "description"), []byte(m.origin())),
	)
}

// check verifies every pack of the mirror and the head. It returns "" when the mirror is sound and has no head.
func (m *Mirror) check(ctx context.Context) (Hash, error) {
	if info, err := os.Stat(filepath.Join(m.cfg.Dir, "objects")); err != nil || !info.IsDir() {
		return "", fmt.Errorf("%w: not a mirror", errDamaged)
	}
	r, err := m.reader(m.cfg.Dir)
	if err != nil {
		return "", err
	}
	defer r.Close()
	for _, p := range r.packs {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		if err := p.verify(); err != nil {
			return "", err
		}
	}
	if err := m.leaveOrigin(); err != nil {
		return "", err
	}
	h, err := readRef(m.cfg.Dir, branchRef(m.cfg.Branch))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	if _, err := verifyHead(ctx, r, h, plumbing.ZeroHash, func(plumbing.Hash) bool { return false }, 1); err != nil {
		return "", err
	}
	return fromGit(h), nil
}

// leaveOrigin forgets the branches of a mirror that was of another repository or branch; their heads are kept.
func (m *Mirror) leaveOrigin() error {
	data, err := os.ReadFile(filepath.Join(m.cfg.Dir, "description"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if string(data) == m.origin() {
		return nil
	}
	names, err := listRefs(m.cfg.Dir, "refs/heads/")
	if err != nil {
		return err
	}
	for _, name := range names {
		if h, err := readRef(m.cfg.Dir, branchRef(name)); err == nil {
			if err := writeRef(m.cfg.Dir, keepPrefix+h.String(), h); err != nil {
				return err
			}
		}
	}
	return errors.Join(
		os.RemoveAll(filepath.Join(m.cfg.Dir, "refs", "heads")),
		os.RemoveAll(filepath.Join(m.cfg.Dir, "packed-refs")),
		os.MkdirAll(filepath.Join(m.cfg.Dir, "refs", "heads"), 0o755),
	)
}

func (m *Mirror) reader(dir string) (*reader, error) {
	return newReader(m.indexes, true, filepath.Join(dir, "objects"))
}

// verifyHead reads the commit h, its root tree, and the first-parent chain down to a commit that known says is sound,
// or count commits. It tells whether the chain came to old.
func verifyHead(ctx context.Context, r *reader, h, old plumbing.Hash, known func(plumbing.Hash) bool, count int) (bool, error) {
	for i := 0; count <= 0 || i < count; i++ {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		data, err := r.bytes(plumbing.CommitObject, h)
		if err != nil {
			return false, fmt.Errorf("commit: %w", err)
		}
		raw, err := parseCommit(h, data)
		if err != nil {
			return false, err
		}
		if i == 0 {
			if _, err := r.bytes(plumbing.TreeObject, raw.tree); err != nil {
				return false, fmt.Errorf("root tree: %w", err)
			}
		}
		if len(raw.parents) == 0 {
			return false, nil
		}
		if h = raw.parents[0]; known(h) {
			return h == old, nil
		}
	}
	return false, nil
}

// verifyClosure checks that what came is whole. Of a first clone it reads the files of the head alone; what is older is
// verified when it is read.
func verifyClosure(ctx context.Context, r *reader, h plumbing.Hash, known func(plumbing.Hash) bool) error {
	data, err := r.bytes(plumbing.CommitObject, h)
	if err != nil {
		return err
	}
	raw, err := parseCommit(h, data)
	if err != nil {
		return err
	}
	c := &collector{ctx: ctx, from: r, has: known, seen: map[plumbing.Hash]bool{}}
	if first := len(raw.parents) == 0 || !known(raw.parents[0]); first {
		err = c.tree(raw.tree, plumbing.ZeroHash, 0)
	} else {
		c.out, err = collect(ctx, r, h, known)
	}
	if err != nil {
		return err
	}
	for _, f := range c.out {
		if !r.has(f.id) {
			return fmt.Errorf("%w: %s %s", errMissing, f.kind, f.id)
		}
	}
	return nil
}

// haves lists commits of the mirror for the server to find one that it has as well: the head, its ancestors at growing
// distances, so that a rewritten branch costs no whole clone, and heads that were left before.
func (m *Mirror) haves(r *reader, dir string, head plumbing.Hash) []plumbing.Hash {
	s := &Snapshot{mirror: m, objects: r}
	out := []plumbing.Hash{head}
	at := head
	for i, mark := 1, 1; i <= 1024; i++ {
		n, err := s.node(at)
		if err != nil || len(n.parents) == 0 {
			break
		}
		if at = n.parents[0]; i == mark {
			out, mark = append(out, at), mark*2
		}
	}
	kept, err := listRefs(dir, keepPrefix)
	if err != nil {
		return out // they only save work
	}
	for _, name := range kept[max(0, len(kept)-16):] {
		if h, err := toGit(Hash(name)); err == nil && r.has(h) {
			out = append(out, h)
		}
	}
	return out
}

// rebuild fetches everything anew into a directory beside a damaged mirror and puts it in its place. Heads that were
// kept and are still readable are carried over.
func (m *Mirror) rebuild(ctx context.Context, h plumbing.Hash) error {
	dir, fresh := m.cfg.Dir, m.cfg.Dir+".new"
	if err := os.RemoveAll(fresh); err != nil {
		return err
	}
	if err := m.initDir(fresh); err != nil {
		return err
	}
	if err := m.bring(ctx, fresh, h, ""); err != nil {
		return errors.Join(err, os.RemoveAll(fresh))
	}
	m.carryKept(ctx, fresh)
	m.log.Warn().Str(logPath, dir+".bad").Msg("mirror is damaged, set aside")
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := setAside(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Rename(fresh, dir); err != nil {
		return err
	}
	m.at.Commit = fromGit(h)
	return nil
}

// carryKept copies what it can of the kept heads, and of the head that is left, into the new mirror.
func (m *Mirror) carryKept(ctx context.Context, fresh string) {
	from, err := newReader(&indexes{}, false, filepath.Join(m.cfg.Dir, "objects"))
	if err != nil {
		return
	}
	defer from.Close()
	names, err := listRefs(m.cfg.Dir, keepPrefix)
	if err != nil {
		m.log.Warn().Err(err).Msg("kept commits cannot be listed")
	}
	if old := m.Head().Commit; old != "" {
		names = append(names, string(old))
	}
	for _, name := range names {
		if err := m.carry(ctx, from, fresh, Hash(name)); err != nil {
			m.log.Warn().Err(err).Str(logCommit, name).Msg("kept commit is lost with the damaged mirror")
		}
	}
}

func (m *Mirror) carry(ctx context.Context, from *reader, fresh string, h Hash) error {
	id, err := toGit(h)
	if err != nil {
		return err
	}
	to, err := m.reader(fresh)
	if err != nil {
		return err
	}
	defer to.Close()
	list, err := collect(ctx, from, id, to.has)
	if err != nil || len(list) == 0 {
		return err
	}
	target := &fetchTarget{dir: fresh, limits: m.cfg.Limits, has: to.has}
	if err := target.writeObjects(ctx, from, list); err != nil {
		return err
	}
	return writeRef(fresh, keepPrefix+string(h), id)
}
