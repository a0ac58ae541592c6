package source

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/go-git/go-git/v5/plumbing"
)

// openDir makes the mirror directory sound: a head that can be read, or none.
func (c *clone) openDir(ctx context.Context, m *Mirror) error {
	dir := c.cfg.Dir
	if err := c.clear(dir + ".new"); err != nil {
		return err
	}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return c.initDir(dir)
	}
	if err := c.cfg.points().removeLitter(dir); err != nil {
		return err
	}
	head, err := c.check(ctx, m.branch)
	switch KindOf(err) {
	case "":
	case KindCorrupt, KindMalformed:
		c.log.Warn().Err(err).Str(logPath, dir+".bad").Msg("mirror is damaged, set aside")
		if err := c.setAside(dir); err != nil {
			return err
		}
		return c.initDir(dir)
	default:
		return err
	}
	m.at = Head{Commit: head}
	return c.initDir(dir) // HEAD and config are put back as they were
}

// setAside moves a damaged mirror out of the way. An older one is dropped.
func (c *clone) setAside(dir string) error {
	if err := c.clear(dir + ".bad"); err != nil {
		return err
	}
	return c.cfg.points().do(PointAside, func() error { return os.Rename(dir, dir+".bad") })
}

// clear drops a directory that is of no use any more, if it is there.
func (c *clone) clear(dir string) error {
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return c.cfg.points().do(PointCleared, func() error { return os.RemoveAll(dir) })
}

// origin is what the copy in a directory is of.
func (c *clone) origin() string { return c.cfg.URL + "\n" }

func (c *clone) initDir(dir string) error {
	for _, sub := range []string{"objects/pack", "objects/info", "refs/heads", "refs/belay/keep"} {
		if err := c.cfg.points().mkdir(filepath.Join(dir, filepath.FromSlash(sub))); err != nil {
			return err
		}
	}
	const config = "[core]\n\trepositoryformatversion = 0\n\tbare = true\n[gc]\n\tauto = 0\n"
	for _, file := range []struct{ name, text string }{
		{"config", config}, {"HEAD", "ref: " + branchRef(c.cfg.Branch) + "\n"}, {"description", c.origin()},
	} {
		path := filepath.Join(dir, file.name)
		if is, err := os.ReadFile(path); err == nil && string(is) == file.text {
			continue
		}
		if err := c.cfg.points().write(PointFile, path, []byte(file.text)); err != nil {
			return err
		}
	}
	return nil
}

// check verifies every pack of the copy and the head of a branch. It returns "" when the copy is sound and has no head of it.
func (c *clone) check(ctx context.Context, branch string) (Hash, error) {
	if info, err := os.Stat(filepath.Join(c.cfg.Dir, "objects")); err != nil || !info.IsDir() {
		return "", fmt.Errorf("%w: not a mirror", errDamaged)
	}
	r, err := c.reader(c.cfg.Dir)
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
	if err := c.leaveOrigin(); err != nil {
		return "", err
	}
	return c.head(ctx, branch)
}

// head reads what the copy has of a branch and verifies its newest commit; "" when it has none.
func (c *clone) head(ctx context.Context, branch string) (Hash, error) {
	h, err := readRef(c.cfg.Dir, branchRef(branch))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	r, err := c.reader(c.cfg.Dir)
	if err != nil {
		return "", err
	}
	defer r.Close()
	if _, err := verifyHead(ctx, r, h, plumbing.ZeroHash, func(plumbing.Hash) bool { return false }, 1); err != nil {
		return "", err
	}
	return fromGit(h), nil
}

// leaveOrigin forgets the branches of a copy that was of another repository; their heads are kept.
func (c *clone) leaveOrigin() error {
	data, err := os.ReadFile(filepath.Join(c.cfg.Dir, "description"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if string(data) == c.origin() {
		return nil
	}
	names, err := listRefs(c.cfg.Dir, "refs/heads/")
	if err != nil {
		return err
	}
	for _, name := range names {
		if h, err := readRef(c.cfg.Dir, branchRef(name)); err == nil {
			if err := c.cfg.points().keepRef(c.cfg.Dir, h); err != nil {
				return err
			}
		}
	}
	for _, name := range []string{"packed-refs", filepath.Join("refs", "heads")} {
		err := c.cfg.points().do(PointForgotten, func() error { return os.RemoveAll(filepath.Join(c.cfg.Dir, name)) })
		if err != nil {
			return err
		}
	}
	return c.cfg.points().mkdir(filepath.Join(c.cfg.Dir, "refs", "heads"))
}

func (c *clone) reader(dir string) (*reader, error) {
	return newReader(c.indexes, true, filepath.Join(dir, "objects"))
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
		c.out, err = collect(ctx, r, known, h)
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

// haves lists commits of the copy for the server to find one that it has as well: the heads, their ancestors at growing
// distances, so that a rewritten branch costs no whole clone, and heads that were left before.
func (c *clone) haves(r *reader, dir string) []plumbing.Hash {
	s := &Snapshot{mirror: c, objects: r}
	var out []plumbing.Hash
	for _, m := range c.all() {
		at, err := toGit(m.Head().Commit)
		if err != nil || slices.Contains(out, at) {
			continue
		}
		out = append(out, at)
		for i, mark := 1, 1; i <= 1024; i++ {
			n, err := s.node(at)
			if err != nil || len(n.parents) == 0 {
				break
			}
			if at = n.parents[0]; i == mark {
				out, mark = append(out, at), mark*2
			}
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

// rebuild fetches everything anew into a directory beside a damaged copy and puts it in its place. Heads that were kept,
// or that no move is about, and are still readable are carried over.
func (c *clone) rebuild(ctx context.Context, moves []move) {
	fresh := c.cfg.Dir + ".new"
	err := c.clear(fresh)
	if err == nil {
		err = c.initDir(fresh)
	}
	if err == nil {
		if moves = c.bringEach(ctx, fresh, moves); len(moves) == 0 {
			return
		}
		c.carryKept(ctx, fresh)
		c.log.Warn().Str(logPath, c.cfg.Dir+".bad").Msg("mirror is damaged, set aside")
		err = c.exchange(fresh, moves)
	}
	c.damaged.Store(err != nil)
	for _, mv := range moves {
		mv.of.ended(mv.to, err)
	}
}

// exchange puts a rebuilt copy in its place. A mirror whose branch it has nothing of has no head any more.
func (c *clone) exchange(fresh string, moves []move) error {
	r, err := c.reader(fresh)
	if err != nil {
		return err
	}
	defer r.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.mirrors {
		h, err := toGit(m.at.Commit)
		if err != nil || slices.ContainsFunc(moves, func(mv move) bool { return mv.of == m }) {
			continue
		}
		if !r.has(h) {
			m.at.Commit = ""
			continue
		}
		if err := c.cfg.points().writeHead(fresh, m.branch, h); err != nil {
			return err
		}
	}
	if err := c.setAside(c.cfg.Dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := c.cfg.points().do(PointExchanged, func() error { return os.Rename(fresh, c.cfg.Dir) }); err != nil {
		return err
	}
	for _, mv := range moves {
		mv.of.at.Commit = fromGit(mv.to)
	}
	return nil
}

// carryKept copies what it can of the kept heads, and of the head that is left, into the new mirror.
func (c *clone) carryKept(ctx context.Context, fresh string) {
	from, err := newReader(&indexes{}, false, filepath.Join(c.cfg.Dir, "objects"))
	if err != nil {
		return
	}
	defer from.Close()
	names, err := listRefs(c.cfg.Dir, keepPrefix)
	if err != nil {
		c.log.Warn().Err(err).Msg("kept commits cannot be listed")
	}
	for _, m := range c.all() {
		if old := m.Head().Commit; old != "" {
			names = append(names, string(old))
		}
	}
	for _, name := range names {
		if err := c.carry(ctx, from, fresh, Hash(name)); err != nil {
			c.log.Warn().Err(err).Str(logCommit, name).Msg("kept commit is lost with the damaged mirror")
		}
	}
}

func (c *clone) carry(ctx context.Context, from *reader, fresh string, h Hash) error {
	id, err := toGit(h)
	if err != nil {
		return err
	}
	to, err := c.reader(fresh)
	if err != nil {
		return err
	}
	defer to.Close()
	list, err := collect(ctx, from, to.has, id)
	if err != nil || len(list) == 0 {
		return err
	}
	target := &fetchTarget{dir: fresh, limits: c.cfg.Limits, points: c.cfg.Points, has: to.has}
	if err := target.writeObjects(ctx, from, list); err != nil {
		return err
	}
	return c.cfg.points().keepRef(fresh, id)
}
