package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
)

// Push says how commits are made and sent to a remote.
type Push struct {
	// Auth is what the remote is shown; nil: the same as for reading.
	Auth *Auth
	// Author makes the commits; what is empty is DefaultIdentity's.
	Author Identity
	// SigningKeyFile holds the private SSH key that signs the commits; empty: they are not signed.
	// SigningPassphraseFile holds its passphrase.
	SigningKeyFile, SigningPassphraseFile string
	// Timeout bounds one whole push, with all that the remote does meanwhile; zero takes two minutes.
	Timeout time.Duration
}

func (p Push) identity() Identity {
	who := DefaultIdentity()
	if p.Author.Name != "" {
		who.Name = p.Author.Name
	}
	if p.Author.Email != "" {
		who.Email = p.Author.Email
	}
	return who
}

func (p Push) timeout() time.Duration {
	if p.Timeout <= 0 {
		return 2 * time.Minute
	}
	return p.Timeout
}

// Writer makes commits and sends them to the branch of a mirror. Safe for concurrent use.
type Writer struct {
	mirror *Mirror
	push   Push
}

// Writer returns what writes to the mirror's branch.
func (m *Mirror) Writer(push Push) *Writer { return &Writer{mirror: m, push: push} }

// tries is how often a change is made anew because the branch moved.
const tries = 8

// pusher sends commits to a remote.
type pusher interface {
	// branch returns what a branch is at, zero when there is none.
	branch(ctx context.Context, branch string) (plumbing.Hash, error)
	// push moves a branch from one commit, zero for a new branch, to the proposal, or does nothing.
	push(ctx context.Context, branch string, old plumbing.Hash, p *Proposal) error
	close()
}

// Land polls, lets plan make a proposal of the newest head, and pushes it to the mirror's branch; when the branch has
// moved meanwhile, all that again, at most eight times. plan returns nil when there is nothing to push any more, and then
// Land does too. The proposal returned is at the remote, and is the one of the last plan. An error of kind Timeout or
// Network leaves open whether it is: look for its commit in the history before anything else is made.
func (w *Writer) Land(ctx context.Context, plan func(context.Context, *Snapshot) (*Proposal, error)) (*Proposal, error) {
	var last error
	for range tries {
		if _, err := w.mirror.Poll(ctx); err != nil {
			return nil, err
		}
		p, err := w.try(ctx, plan)
		if KindOf(err) != KindRace {
			return p, err
		}
		last = err
	}
	return nil, last
}

func (w *Writer) try(ctx context.Context, plan func(context.Context, *Snapshot) (*Proposal, error)) (*Proposal, error) {
	s, err := w.mirror.Snapshot()
	if err != nil {
		return nil, err
	}
	defer s.Close()
	p, err := plan(ctx, s)
	if err != nil || p == nil {
		return nil, err
	}
	return p, w.send(ctx, w.mirror.branch, p)
}

// PushBranch makes a new branch of the remote that is at the proposal. One that is there already is an error of kind
// Rejected, unless it is at the proposal.
func (w *Writer) PushBranch(ctx context.Context, branch string, p *Proposal) error {
	if !validBranch(branch) || branch == w.mirror.branch {
		return &Error{Kind: KindInvalid, Op: "push", Subject: w.subject(), Err: errorText("invalid branch name " + quote(branch))}
	}
	return w.send(ctx, branch, p)
}

// RemoteBranch asks the remote what a branch is at; "" when it has none.
func (w *Writer) RemoteBranch(ctx context.Context, branch string) (Hash, error) {
	to, err := w.pusher()
	if err != nil {
		return "", err
	}
	defer to.close()
	ctx, cancel := context.WithTimeoutCause(ctx, w.mirror.cfg.Timeout, errTimeout)
	defer cancel()
	h, err := to.branch(ctx, branch)
	if err != nil {
		return "", w.pushError(cause(ctx, err))
	}
	if h.IsZero() {
		return "", nil
	}
	return fromGit(h), nil
}

func (w *Writer) send(ctx context.Context, branch string, p *Proposal) error {
	to, err := w.pusher()
	if err != nil {
		return err
	}
	defer to.close()
	var old plumbing.Hash
	if branch == w.mirror.branch {
		if old, err = toGit(p.Base); err != nil {
			return wrap("push", w.subject(), err)
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, w.push.timeout(), errTimeout)
	defer cancel()
	err = to.push(ctx, branch, old, p)
	if err == nil {
		w.mirror.log.Info().Str(logCommit, string(p.Commit)).Str(logBranch, branch).Msg("pushed")
		return nil
	}
	return w.pushError(cause(ctx, err))
}

// pusher returns the way to the remote for one push.
func (w *Writer) pusher() (pusher, error) {
	cfg := w.mirror.cfg
	auth := cfg.Auth
	if w.push.Auth != nil {
		auth = *w.push.Auth
	}
	path, local, err := localPath(cfg.URL)
	if err != nil {
		return nil, &Error{Kind: KindInvalid, Op: "push", Subject: cfg.Name, Err: err}
	}
	if local {
		return &localPusher{path: path, points: cfg.Points}, nil
	}
	web, shell, err := parseRemote(cfg.URL)
	if err != nil {
		return nil, err
	}
	out := &wirePusher{step: cfg.Timeout, points: cfg.Points}
	if shell != nil {
		out.via = &sshCarrier{service: receivePack, to: *shell, auth: auth, keys: keyring{auth: auth}, step: cfg.Timeout}
		return out, nil
	}
	out.via, err = newHTTP(receivePack, web, auth, cfg.Timeout, cfg.Now)
	return out, err
}

// pushError gives what a remote or a disk did to a push its operation, its subject and what to do about it.
func (w *Writer) pushError(err error) error {
	out := wrapRemote("push", w.subject(), err)
	var e *Error
	if !errors.As(out, &e) {
		return out
	}
	next := *e
	if next.Op != "push" {
		next.Err = fmt.Errorf("%s: %w", next.Op, next.Err)
	}
	next.Op, next.Subject = "push", w.subject()
	switch {
	case next.Kind == KindAuth || next.Kind == KindForbidden:
		next.Hint = "check the credentials of push: they need write access to the repository"
	case next.Kind == KindNotFound:
		next.Hint = "check the credentials of push: without write access a repository may read as missing"
	}
	return &next
}

func (w *Writer) subject() string { return w.mirror.cfg.URL + " " + w.mirror.branch }

// raced is the error for a branch that is elsewhere than where a proposal begins.
func raced(branch string, want, is plumbing.Hash) error {
	text := fmt.Sprintf("branch %s is at %s and no more at %s", branch, fromGit(is).Short(), fromGit(want).Short())
	if is.IsZero() {
		text = "branch " + branch + " is gone"
	}
	return &Error{Kind: KindRace, Op: "push", Err: errorText(text)}
}

// occupied is the error for a new branch that is there already.
func occupied(branch string, is plumbing.Hash) error {
	return &Error{Kind: KindRejected, Op: "push", Err: fmt.Errorf("branch %s exists and is at %s", branch, fromGit(is).Short()), Hint: "delete the branch if it is not needed"}
}

// refused is the error for a branch that the remote does not move, with its reason and its words.
func refused(reason string, said []string) error {
	low := strings.ToLower(reason)
	e := &Error{Kind: KindRejected, Op: "push"}
	for _, row := range []struct {
		words string
		kind  Kind
	}{
		{"declined", KindRejected}, // by a hook, or by what a host calls one
		{"failed to update ref", KindServer},
		{"failed to lock", KindServer},
		{"cannot lock", KindServer},
		{"unable to create", KindServer},
		{"unpacker error", KindServer},
		{"missing necessary objects", KindServer},
		{"internal", KindServer},
		{"permission denied", KindForbidden},
	} {
		if strings.Contains(low, row.words) {
			e.Kind = row.kind
			break
		}
	}
	text := "refused: " + tidy(reason, 200)
	if len(said) > 0 {
		text += " (" + strings.Join(said, "; ") + ")"
	}
	e.Err = errorText(truncate(text, 700))
	return e
}

// tidy makes one bounded line of what a remote wrote.
func tidy(text string, limit int) string {
	return rawCommit{}.text([]byte(text), limit)
}

// listener keeps the first lines of what a remote says to people.
type listener struct {
	rest  strings.Builder
	lines []string
}

const (
	saidLines = 6
	saidBytes = 160
)

func (l *listener) hear(data []byte) {
	if len(l.lines) >= saidLines || l.rest.Len() > 4096 {
		return
	}
	l.rest.Write(data)
	text := l.rest.String()
	end := strings.LastIndexAny(text, "\r\n")
	if end < 0 {
		return
	}
	l.rest.Reset()
	l.rest.WriteString(text[end+1:])
	l.take(text[:end])
}

func (l *listener) take(text string) {
	for line := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == '\r' || r == '\n' }) {
		if line = tidy(line, saidBytes); line != "" && len(l.lines) < saidLines {
			l.lines = append(l.lines, line)
		}
	}
}

// said returns what was heard.
func (l *listener) said() []string {
	l.take(l.rest.String())
	l.rest.Reset()
	return l.lines
}

// pack writes the new objects of a proposal as one pack, each whole.
func (p *Proposal) pack(out io.Writer) error {
	return writePack(p.objects, p.parts(), out)
}
