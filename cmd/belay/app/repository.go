package app

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/belay-dev/belay/manifests"
	"github.com/belay-dev/belay/reconciler"
	"github.com/belay-dev/belay/source"
	"github.com/belay-dev/belay/source/trigger"
)

// stepLimit is how many commits of one push become steps of their own; older ones are folded into the first.
const stepLimit = 5000

// repository is one branch of a repository as the sync loop follows it for one source.
type repository struct {
	poller   *poller
	branch   string
	interval time.Duration
	schedule *trigger.Schedule // instead of interval
	looked   chan struct{}     // full when a look has ended

	mu     sync.Mutex // guards all below
	newest *source.Snapshot
	former *source.Snapshot // the render cache still compares with a tree of it
}

// newRepository makes the repository of a source, whose schedule is valid. Its poller must be told.
func newRepository(p *poller, s SourceConfig) *repository {
	r := &repository{poller: p, branch: s.Branch, interval: s.Interval, looked: make(chan struct{}, 1)}
	if at, err := trigger.ParseSchedule(s.Schedule); err == nil {
		r.schedule = &at
	}
	return r
}

var (
	_ reconciler.Repository = (*repository)(nil)
	_ reconciler.Trigger    = (*repository)(nil)
)

// C receives a value when a look has ended.
func (r *repository) C() <-chan struct{} { return r.looked }

func (r *repository) signal() {
	select {
	case r.looked <- struct{}{}:
	default:
	}
}

// NextAt is when the next look is due.
func (r *repository) NextAt() time.Time { return r.poller.nextAt(r.branch) }

// ask makes it time to look. It does not block.
func (r *repository) ask() { r.poller.ask(r.branch) }

// has reports whether a commit was fetched.
func (r *repository) has(commit string) bool {
	s, err := r.poller.snapshot(r.branch)
	if err != nil {
		return false
	}
	_, err = s.Commit(source.Hash(commit))
	return err == nil && s.Close() == nil
}

// Poll looks now and returns the head of the branch.
func (r *repository) Poll(ctx context.Context) (string, error) {
	return r.take(r.poller.poll(ctx, r.branch))
}

// Polled is what the newest look found.
func (r *repository) Polled() (string, error) {
	return r.take(r.poller.polled(r.branch))
}

// take opens a snapshot of a head that is new.
func (r *repository) take(head string, err error) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		if r.newest == nil { // what was fetched before is there without the remote
			r.newest, _ = r.poller.snapshot(r.branch) // a mirror without a commit has none
		}
		return "", err
	}
	if r.newest != nil && string(r.newest.Head()) == head {
		return head, nil
	}
	s, err := r.poller.snapshot(r.branch)
	if err != nil {
		return "", withHint(err)
	}
	if r.former != nil {
		err = r.former.Close()
	}
	r.former, r.newest = r.newest, s
	if err != nil {
		return "", fmt.Errorf("close snapshot: %w", err)
	}
	return string(s.Head()), nil
}

// snapshot is the newest one; there is none before the first poll that went well.
func (r *repository) snapshot() (*source.Snapshot, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.newest == nil {
		return nil, errUnread
	}
	return r.newest, nil
}

// Steps lists what leads from one head to another.
func (r *repository) Steps(ctx context.Context, from, to string) ([]reconciler.Step, error) {
	s, err := r.snapshot()
	if err != nil {
		return nil, err
	}
	steps, err := s.Steps(ctx, source.Hash(from), source.Hash(to), stepLimit)
	if err != nil {
		return nil, withHint(err)
	}
	out := make([]reconciler.Step, 0, len(steps))
	for _, st := range steps {
		out = append(out, stepOf(st))
	}
	return out, nil
}

// Before lists a commit and at most n before it, along first parents.
func (r *repository) Before(ctx context.Context, commit string, n int) ([]reconciler.Step, error) {
	s, err := r.snapshot()
	if err != nil {
		return nil, err
	}
	var out []reconciler.Step
	for next := source.Hash(commit); len(out) <= n && ctx.Err() == nil; {
		c, err := s.Commit(next)
		if err != nil {
			return nil, withHint(err)
		}
		out = append(out, stepOf(source.Step{Commit: c, Kind: source.StepLinear}))
		if len(c.Parents) == 0 {
			break
		}
		next = c.Parents[0]
	}
	return out, ctx.Err()
}

var stepKinds = map[source.StepKind]reconciler.StepKind{
	source.StepFirst: reconciler.StepFirst, source.StepLinear: reconciler.StepLinear, source.StepMerge: reconciler.StepMerge,
	source.StepRewritten: reconciler.StepRewritten, source.StepUnrelated: reconciler.StepUnrelated,
}

func stepOf(st source.Step) reconciler.Step {
	c := st.Commit
	out := reconciler.Step{
		Kind: stepKinds[st.Kind], Hash: string(c.Hash), Author: c.Author, CommittedAt: c.CommittedAt, Subject: c.Subject, Cause: c.Cause,
	}
	if c.Email != "" {
		out.Author = fmt.Sprintf("%s <%s>", c.Author, c.Email)
	}
	says := func(c source.Commit) {
		for _, h := range c.Reverts {
			out.Reverts = append(out.Reverts, string(h))
		}
		out.Releases = append(out.Releases, c.Releases...)
	}
	says(c)
	for _, c := range st.Commits {
		out.Commits = append(out.Commits, string(c.Hash))
		if c.Hash != st.Commit.Hash {
			says(c)
		}
	}
	return out
}

// Tree gives the files of a commit.
func (r *repository) Tree(commit string) (manifests.Tree, error) {
	s, err := r.snapshot()
	if err != nil {
		return nil, err
	}
	t, err := s.Tree(source.Hash(commit))
	if err != nil {
		return nil, withHint(err)
	}
	return t, nil
}

// close ends the snapshots; nothing reads any more.
func (r *repository) close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var err error
	for _, s := range []*source.Snapshot{r.newest, r.former} {
		if s != nil {
			err = errors.Join(err, s.Close())
		}
	}
	r.newest, r.former = nil, nil
	return err
}

// withHint gives an error of source the Hint method that the verbs look for.
func withHint(err error) error {
	if e, ok := errors.AsType[*source.Error](err); ok && e.Hint != "" {
		return &hinted{err, e.Hint}
	}
	return err
}
