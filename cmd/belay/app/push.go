package app

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/belay-dev/belay/reconciler"
	"github.com/belay-dev/belay/reconciler/change"
	"github.com/belay-dev/belay/source"
	"github.com/belay-dev/belay/source/forge"
)

// PushConfig says how rollbacks are pushed. Without any of the keys of Auth the remote is shown what it is shown to read.
type PushConfig struct {
	User           string `yaml:"user"`
	TokenFile      string `yaml:"tokenFile"`
	CAFile         string `yaml:"caFile"`
	Proxy          string `yaml:"proxy"`
	KeyFile        string `yaml:"keyFile"`
	PassphraseFile string `yaml:"passphraseFile"`
	KnownHostsFile string `yaml:"knownHostsFile"`
	// Name and Email are those of the commits; empty: Belay, belay@localhost.
	Name  string `yaml:"name"`
	Email string `yaml:"email"`
	// SigningKeyFile is the private SSH key that signs the commits; empty: they are not signed.
	SigningKeyFile        string `yaml:"signingKeyFile"`
	SigningPassphraseFile string `yaml:"signingPassphraseFile"`
}

func (p *PushConfig) auth() Auth {
	return Auth{
		User: p.User, TokenFile: p.TokenFile, CAFile: p.CAFile, Proxy: p.Proxy, KeyFile: p.KeyFile,
		PassphraseFile: p.PassphraseFile, KnownHostsFile: p.KnownHostsFile,
	}
}

// files are the paths in it, by key; of nil none.
func (p *PushConfig) files() map[string]*string {
	if p == nil {
		return nil
	}
	return map[string]*string{
		"tokenFile": &p.TokenFile, "caFile": &p.CAFile, "keyFile": &p.KeyFile, "passphraseFile": &p.PassphraseFile,
		"knownHostsFile": &p.KnownHostsFile, "signingKeyFile": &p.SigningKeyFile, "signingPassphraseFile": &p.SigningPassphraseFile,
	}
}

// branchWriter is the branch of a source as the sync loop writes to it. One call at a time.
type branchWriter struct {
	poller   *poller
	branch   string
	push     source.Push
	interval time.Duration
	now      func() time.Time

	made   *source.Proposal // by the last plan
	streak source.Streak
}

var _ reconciler.Writer = (*branchWriter)(nil)

// writer makes what writes to the branch of a source; nil when nothing is to be pushed.
func (p *poller) writer(s SourceConfig) reconciler.Writer {
	if s.Push == nil {
		return nil
	}
	push := source.Push{
		Author:         source.Identity{Name: s.Push.Name, Email: s.Push.Email},
		SigningKeyFile: s.Push.SigningKeyFile, SigningPassphraseFile: s.Push.SigningPassphraseFile,
	}
	if auth := s.Push.auth(); auth != (Auth{}) {
		show := source.Auth(auth)
		push.Auth = &show
	}
	return &branchWriter{poller: p, branch: s.Branch, push: push, interval: s.Interval, now: p.now}
}

// mirror finds the mirror of a branch, once it was looked at.
func (p *poller) mirror(name string) (*source.Mirror, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := p.branches[name]
	if b == nil || b.mirror == nil {
		return nil, errUnread
	}
	return b.mirror, nil
}

func (b *branchWriter) writer() (*source.Writer, error) {
	m, err := b.poller.mirror(b.branch)
	if err != nil {
		return nil, err
	}
	return m.Writer(b.push), nil
}

// Land sends a commit that plan makes on the newest head.
func (b *branchWriter) Land(ctx context.Context, plan func(context.Context, reconciler.Branch) (bool, error)) error {
	w, err := b.writer()
	if err == nil {
		_, err = w.Land(ctx, func(ctx context.Context, s *source.Snapshot) (*source.Proposal, error) {
			head := &branchHead{gitHead: gitHead{s}, writer: w}
			send, err := plan(ctx, head)
			b.made = head.made
			if errors.Is(err, reconciler.ErrBranchMoved) {
				return nil, &source.Error{Kind: source.KindRace, Op: "plan", Subject: b.branch, Err: err}
			}
			if err != nil || !send {
				return nil, err
			}
			return head.made, nil
		})
	}
	return b.explain(err)
}

// Peek gives the newest head that was fetched.
func (b *branchWriter) Peek(look func(reconciler.Branch) error) error {
	m, err := b.poller.mirror(b.branch)
	if err != nil {
		return err
	}
	s, err := m.Snapshot()
	if err != nil {
		return withHint(err)
	}
	return errors.Join(look(&branchHead{gitHead: gitHead{s}, writer: m.Writer(b.push)}), s.Close())
}

// Divert sends the commit made last to a branch of its own.
func (b *branchWriter) Divert(ctx context.Context, branch string, ours []string) (string, error) {
	w, err := b.writer()
	if err != nil {
		return "", b.explain(err)
	}
	if b.made == nil {
		return "", b.explain(errUnmade)
	}
	err = w.PushBranch(ctx, branch, b.made)
	if source.KindOf(err) == source.KindRejected {
		if at, branchErr := w.RemoteBranch(ctx, branch); branchErr == nil && slices.Contains(ours, string(at)) {
			return string(at), b.explain(nil)
		}
	}
	return string(b.made.Commit), b.explain(err)
}

var errUnmade = errors.New("no commit was made for the branch")

// Compare is where a person can merge a branch.
func (b *branchWriter) Compare(branch string) string {
	return forge.Compare(b.poller.id.url, b.branch, branch)
}

// explain says by the kind of an error what may help.
func (b *branchWriter) explain(err error) error {
	if err == nil {
		b.streak = source.Streak{}
		return nil
	}
	e, known := errors.AsType[*source.Error](err)
	if !known {
		return err
	}
	b.streak, _ = b.streak.Next(err, b.now())
	wait, stall := source.Backoff(e.Kind, b.streak.Count, b.interval, e.RetryAfter, rand.Float64())
	if stall {
		wait = -1
	}
	return &reconciler.WriteError{Err: withHint(err), Refused: e.Kind == source.KindRejected, Wait: wait}
}

// branchHead is the newest head of a branch while a change is planned for it.
type branchHead struct {
	gitHead
	writer *source.Writer
	made   *source.Proposal
}

var _ reconciler.Branch = (*branchHead)(nil)

// Contains tells whether a commit is in the history.
func (b *branchHead) Contains(ctx context.Context, commit string) (bool, error) {
	return b.snap.Contains(ctx, source.Hash(commit))
}

// Commit makes the commit of a plan.
func (b *branchHead) Commit(ctx context.Context, p change.Plan, w change.Wish, n reconciler.CommitNote) (string, error) {
	made, err := proposal(ctx, b.writer, b.snap, p, w, n)
	if err != nil {
		return "", err
	}
	b.made = made
	return string(made.Commit), nil
}
