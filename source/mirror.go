package source

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/rs/zerolog"
)

// Keys of the log lines.
const (
	logSource = "source"
	logCommit = "commit"
	logFrom   = "from"
	logTook   = "took"
	logPath   = "path"
)

// keepPrefix is where heads that the branch has left stay reachable.
const keepPrefix = "refs/belay/keep/"

// remote is the repository that is mirrored.
type remote interface {
	// head returns the commit the branch is at.
	head(ctx context.Context) (plumbing.Hash, error)
	// fetch puts want and everything behind it that is not there into the target.
	fetch(ctx context.Context, want plumbing.Hash, to *fetchTarget) error
	// close drops what is kept between polls.
	close()
}

// Mirror is the local copy of one branch of one repository: full history, bare, on disk. Safe for concurrent use;
// polls take turns.
type Mirror struct {
	cfg     Config
	log     zerolog.Logger
	remote  remote
	trees   *treeCache
	graph   *graph
	indexes *indexes

	poll    sync.Mutex // held by the one poll that runs
	mu      sync.Mutex
	at      Head
	damaged atomic.Bool
}

// Open opens or makes the mirror in cfg.Dir and verifies what it holds. It does not contact the remote: Poll does. A
// mirror found damaged is set aside as Dir.bad, and Poll fetches anew.
func Open(ctx context.Context, cfg Config, log zerolog.Logger) (*Mirror, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	m := &Mirror{
		cfg: cfg, log: log.With().Str(logSource, cfg.Name).Logger(),
		trees: newTreeCache(treeCacheEntries), graph: newGraph(),
		indexes: &indexes{},
	}
	var err error
	if m.remote, err = newRemote(cfg); err != nil {
		return nil, err
	}
	if err := m.openDir(ctx); err != nil {
		return nil, wrap("open mirror", cfg.Dir, err)
	}
	return m, nil
}

// newRemote chooses how the address is read.
func newRemote(cfg Config) (remote, error) {
	path, local, err := localPath(cfg.URL)
	if err != nil {
		return nil, &Error{Kind: KindInvalid, Op: "open source", Subject: cfg.Name, Err: err}
	}
	if local {
		return &localRemote{path: path, branch: cfg.Branch, indexes: &indexes{}, limits: cfg.Limits}, nil
	}
	w := &wireRemote{
		branch: cfg.Branch, limits: cfg.Limits, progress: cfg.Progress,
		times: timeouts{step: cfg.Timeout, fetch: cfg.FetchTimeout},
	}
	web, shell, err := parseRemote(cfg.URL)
	switch {
	case err != nil:
		return nil, err
	case shell != nil:
		w.via = &sshCarrier{to: *shell, auth: cfg.Auth, keys: keyring{auth: cfg.Auth}, step: cfg.Timeout}
		return w, nil
	}
	w.via, err = newHTTP(web, cfg.Auth, cfg.Timeout, cfg.Now)
	return w, err
}

// Close drops the connections kept for the next poll. Snapshots stay usable.
func (m *Mirror) Close() { m.remote.close() }

// Head returns the newest commit the mirror holds, without looking at the remote; Commit is "" when there is none.
func (m *Mirror) Head() Head {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.at
}

// Poll looks at the remote once and brings the mirror up to date. On an error the Head returned is the last one, and
// what the mirror serves is unchanged: a branch that is gone, or a repository that is empty, takes nothing away.
func (m *Mirror) Poll(ctx context.Context) (Head, error) {
	m.poll.Lock()
	defer m.poll.Unlock()
	before := m.Head()
	after, err := m.look(ctx, before)
	if err != nil {
		return before, wrap("poll", m.subject(), err)
	}
	m.mu.Lock()
	m.at = Head{Commit: after, At: m.cfg.Now()}
	out := m.at
	m.mu.Unlock()
	out.Changed = after != before.Commit
	return out, nil
}

func (m *Mirror) subject() string { return m.cfg.URL + " " + m.cfg.Branch }

// look returns the remote's head after making sure that the mirror has it.
func (m *Mirror) look(ctx context.Context, before Head) (Hash, error) {
	h, err := m.remote.head(ctx)
	if err != nil {
		return "", err
	}
	start := m.cfg.Now()
	if m.damaged.Load() {
		if err := m.rebuild(ctx, h); err != nil {
			return "", err
		}
		m.damaged.Store(false)
		return fromGit(h), nil
	}
	if fromGit(h) == before.Commit {
		return before.Commit, nil
	}
	if err := m.bring(ctx, m.cfg.Dir, h, before.Commit); err != nil {
		return "", err
	}
	if err := m.compact(ctx); err != nil {
		m.log.Warn().Err(err).Msg("packs are not merged") // the next fetch tries again
	}
	m.log.Info().Str(logCommit, h.String()).Str(logFrom, string(before.Commit)).Dur(logTook, m.cfg.Now().Sub(start)).Msg("fetched")
	return fromGit(h), nil
}

// bring fetches h into the mirror in dir, verifies what came, and moves the ref. A crash at any point leaves the old
// ref or the new one, and every object behind either. A head that the branch leaves is kept under a private ref.
func (m *Mirror) bring(ctx context.Context, dir string, h plumbing.Hash, old Hash) error {
	was, err := m.reader(dir)
	if err != nil {
		m.suspect(err)
		return err
	}
	defer was.Close()
	target := &fetchTarget{dir: dir, limits: m.cfg.Limits, has: was.has}
	var left plumbing.Hash
	if old != "" {
		if left, err = toGit(old); err != nil {
			return err
		}
		target.haves = func() []plumbing.Hash { return m.haves(was, dir, left) }
	}
	if !was.has(h) {
		if err := m.remote.fetch(ctx, h, target); err != nil {
			return err
		}
	}
	now, err := m.reader(dir)
	if err != nil {
		m.suspect(err)
		return err
	}
	defer now.Close()
	linear, err := verifyHead(ctx, now, h, left, was.has, 0)
	if err == nil && !target.whole {
		err = verifyClosure(ctx, now, h, was.has)
	}
	if err != nil {
		m.suspect(err)
		return fmt.Errorf("verify %s: %w", h, err)
	}
	if old != "" && !linear {
		if err := writeRef(dir, keepPrefix+string(old), left); err != nil {
			return err
		}
	}
	return writeRef(dir, branchRef(m.cfg.Branch), h)
}

// suspect notes an error that only a damaged mirror can cause, so that the next Poll sets it aside.
func (m *Mirror) suspect(err error) {
	if errors.Is(err, errDamaged) || errors.Is(err, errMissing) {
		m.damaged.Store(true)
	}
}
