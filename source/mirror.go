package source

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/rs/zerolog"
)

// Keys of the log lines.
const (
	logSource = "source"
	logBranch = "branch"
	logCommit = "commit"
	logFrom   = "from"
	logTook   = "took"
	logPath   = "path"
)

// keepPrefix is where heads that the branch has left stay reachable.
const keepPrefix = "refs/belay/keep/"

// remote is the repository that is mirrored.
type remote interface {
	// look returns where branches are, with one request where the remote can answer that.
	look(ctx context.Context, branches []string) (seen, error)
	// fetch puts what is wanted and everything behind it that is not there into the target, as one pack.
	fetch(ctx context.Context, wants []plumbing.Hash, to *fetchTarget) error
	// address is what people call it.
	address() string
	// close drops what is kept between polls.
	close()
}

// seen is what a look at a remote saw.
type seen struct {
	heads    map[string]plumbing.Hash // of the branches asked for that are there
	branches []string                 // all that are there, sorted; only when one asked for is not
}

// clone is the local copy of one repository: full history, bare, on disk. Mirrors of several branches share it.
type clone struct {
	cfg     Config
	log     zerolog.Logger
	remote  remote
	trees   *treeCache
	graph   *graph
	indexes *indexes

	poll    sync.Mutex // held by the one poll that runs
	mu      sync.Mutex // guards mirrors, and what each knows of its branch
	mirrors []*Mirror
	damaged atomic.Bool
}

// Mirror is the local copy of one branch of one repository. Safe for concurrent use; polls take turns.
type Mirror struct {
	*clone
	branch string
	at     Head
	err    error // of the last look
}

// Open opens or makes the copy in cfg.Dir and verifies what it holds. It does not contact the remote: Poll does. A copy
// found damaged is set aside as Dir.bad, and Poll fetches anew.
func Open(ctx context.Context, cfg Config, log zerolog.Logger) (*Mirror, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	c := &clone{
		cfg: cfg, log: log.With().Str(logSource, cfg.Name).Logger(),
		trees: newTreeCache(treeCacheEntries), graph: newGraph(),
		indexes: &indexes{},
	}
	m := &Mirror{clone: c, branch: cfg.Branch}
	c.mirrors = []*Mirror{m}
	var err error
	if c.remote, err = newRemote(cfg); err != nil {
		return nil, err
	}
	if err := c.openDir(ctx, m); err != nil {
		return nil, wrap("open mirror", cfg.Dir, err)
	}
	return m, nil
}

// Also returns the mirror of another branch, in the same copy. Its head is what was fetched of it before, until a Poll.
func (m *Mirror) Also(ctx context.Context, branch string) (*Mirror, error) {
	if !validBranch(branch) {
		return nil, invalidBranch(m.cfg.Name, branch)
	}
	m.poll.Lock() // nobody exchanges the copy
	defer m.poll.Unlock()
	other := &Mirror{clone: m.clone, branch: branch}
	head, err := m.head(ctx, branch)
	switch KindOf(err) {
	case "":
		other.at.Commit = head
	case KindCorrupt, KindMalformed:
		m.damaged.Store(true)
	default:
		return nil, wrap("open mirror", m.cfg.Dir, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mirrors = append(m.mirrors, other)
	return other, nil
}

// newRemote chooses how the address is read.
func newRemote(cfg Config) (remote, error) {
	path, local, err := localPath(cfg.URL)
	if err != nil {
		return nil, &Error{Kind: KindInvalid, Op: "open source", Subject: cfg.Name, Err: err}
	}
	if local {
		return &localRemote{path: path, indexes: &indexes{}, limits: cfg.Limits}, nil
	}
	w := &wireRemote{
		limits: cfg.Limits, progress: cfg.Progress,
		times: timeouts{step: cfg.Timeout, fetch: cfg.FetchTimeout},
	}
	web, shell, err := parseRemote(cfg.URL)
	switch {
	case err != nil:
		return nil, err
	case shell != nil:
		w.via = &sshCarrier{service: uploadPack, to: *shell, auth: cfg.Auth, keys: keyring{auth: cfg.Auth}, step: cfg.Timeout}
		return w, nil
	}
	w.via, err = newHTTP(uploadPack, web, cfg.Auth, cfg.Timeout, cfg.Now)
	return w, err
}

// Close ends the mirror: with the last one of a copy, the connections kept for the next poll are dropped. Snapshots stay
// usable.
func (m *Mirror) Close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mirrors = slices.DeleteFunc(m.mirrors, func(o *Mirror) bool { return o == m })
	if len(m.mirrors) == 0 {
		m.remote.close()
	}
}

// Head returns the newest commit the mirror holds, without looking at the remote; Commit is "" when there is none.
func (m *Mirror) Head() Head {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.at
}

// Last returns what the newest Poll that looked at the branch, of this mirror or for it, ended with.
func (m *Mirror) Last() (Head, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.at, m.err
}

// Poll looks at the remote once and brings the copy up to date with the branch, and with those of other mirrors of the
// same copy: Last tells them how it went. On an error the Head returned is the last one, and what the mirror serves is
// unchanged: a branch that is gone, or a repository that is empty, takes nothing away. What is wrong with one branch is
// the error of its mirror alone.
func (m *Mirror) Poll(ctx context.Context, others ...*Mirror) (Head, error) {
	m.poll.Lock()
	defer m.poll.Unlock()
	before := m.Head()
	m.look(ctx, append([]*Mirror{m}, others...))
	out, err := m.Last()
	if err != nil {
		return before, err
	}
	out.Changed = out.Commit != before.Commit
	return out, nil
}

// ended notes how a look at the branch went: it is at h now, or err.
func (m *Mirror) ended(h plumbing.Hash, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err = wrap("poll", m.cfg.URL+" "+m.branch, err); err == nil {
		m.at = Head{Commit: fromGit(h), At: m.cfg.Now()}
	}
}

// move is a branch that is not where its mirror is.
type move struct {
	of   *Mirror
	from Hash // empty: there was none
	to   plumbing.Hash
}

// look asks where the branches of some mirrors are, and brings what the copy lacks of them.
func (c *clone) look(ctx context.Context, mirrors []*Mirror) {
	damaged := c.damaged.Load()
	if damaged {
		mirrors = c.all()
	}
	names := make([]string, len(mirrors))
	for i, m := range mirrors {
		names[i] = m.branch
	}
	slices.Sort(names)
	now, err := c.remote.look(ctx, slices.Compact(names))
	if err != nil {
		for _, m := range mirrors {
			m.ended(plumbing.ZeroHash, err)
		}
		return
	}
	var moves []move
	for _, m := range mirrors {
		h, there := now.heads[m.branch]
		switch before := m.Head().Commit; {
		case !there:
			m.ended(h, noBranch(c.remote.address(), m.branch, now.branches))
		case damaged:
			moves = append(moves, move{of: m, to: h})
		case before == fromGit(h):
			m.ended(h, nil)
		default:
			moves = append(moves, move{of: m, from: before, to: h})
		}
	}
	if len(moves) == 0 {
		return
	}
	if damaged {
		c.rebuild(ctx, moves)
		return
	}
	c.take(ctx, moves)
}

func (c *clone) all() []*Mirror {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.mirrors)
}

// take brings moves into the copy.
func (c *clone) take(ctx context.Context, moves []move) {
	start := c.cfg.Now()
	done := c.bringEach(ctx, c.cfg.Dir, moves)
	if len(done) == 0 {
		return
	}
	if err := c.compact(ctx); err != nil {
		c.log.Warn().Err(err).Msg("packs are not merged") // the next fetch tries again
	}
	took := c.cfg.Now().Sub(start)
	for _, mv := range done {
		mv.of.ended(mv.to, nil)
		c.log.Info().Str(logBranch, mv.of.branch).Str(logCommit, mv.to.String()).Str(logFrom, string(mv.from)).Dur(logTook, took).Msg("fetched")
	}
}

// bringEach brings moves at once; one by one, when something is wrong with what one of them brings. It returns those that
// came; of the others it notes the error.
func (c *clone) bringEach(ctx context.Context, dir string, moves []move) []move {
	err := c.bring(ctx, dir, moves)
	if err == nil {
		return moves
	}
	if len(moves) > 1 && slices.Contains([]Kind{KindTooLarge, KindMalformed, KindCorrupt, KindServer}, KindOf(err)) {
		var done []move
		for _, mv := range moves {
			done = append(done, c.bringEach(ctx, dir, []move{mv})...)
		}
		return done
	}
	for _, mv := range moves {
		mv.of.ended(mv.to, err)
	}
	return nil
}

// bring fetches the heads that branches moved to into the copy in dir, verifies what came, and moves the refs. A crash at
// any point leaves each old ref or the new one, and every object behind either. A head that a branch leaves is kept under
// a private ref.
func (c *clone) bring(ctx context.Context, dir string, moves []move) error {
	was, err := c.reader(dir)
	if err != nil {
		c.suspect(err)
		return err
	}
	defer was.Close()
	target := &fetchTarget{dir: dir, limits: c.cfg.Limits, points: c.cfg.Points, has: was.has}
	if dir == c.cfg.Dir {
		target.haves = func() []plumbing.Hash { return c.haves(was, dir) }
	}
	var wants []plumbing.Hash
	for _, mv := range moves {
		if !was.has(mv.to) && !slices.Contains(wants, mv.to) {
			wants = append(wants, mv.to)
		}
	}
	if len(wants) > 0 {
		if err := c.remote.fetch(ctx, wants, target); err != nil {
			return err
		}
	}
	now, err := c.reader(dir)
	if err != nil {
		c.suspect(err)
		return err
	}
	defer now.Close()
	for _, mv := range moves {
		if err := c.settle(ctx, dir, mv, was, now, target.whole); err != nil {
			return err
		}
	}
	return nil
}

// settle verifies what came for a branch and moves its ref; whole: what came was collected object by object.
func (c *clone) settle(ctx context.Context, dir string, mv move, was, now *reader, whole bool) error {
	var left plumbing.Hash
	var err error
	if mv.from != "" {
		if left, err = toGit(mv.from); err != nil {
			return err
		}
	}
	linear, err := verifyHead(ctx, now, mv.to, left, was.has, 0)
	if err == nil && !whole {
		err = verifyClosure(ctx, now, mv.to, was.has)
	}
	if err != nil {
		c.suspect(err)
		return fmt.Errorf("verify %s: %w", mv.to, err)
	}
	if mv.from != "" && !linear {
		if err := c.cfg.points().keepRef(dir, left); err != nil {
			return err
		}
	}
	return c.cfg.points().writeHead(dir, mv.of.branch, mv.to)
}

// suspect notes an error that only a damaged mirror can cause, so that the next Poll sets it aside.
func (c *clone) suspect(err error) {
	if errors.Is(err, errDamaged) || errors.Is(err, errMissing) {
		c.damaged.Store(true)
	}
}
