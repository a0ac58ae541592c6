package app

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/rs/zerolog"

	"github.com/belay-dev/belay/manifests"
	"github.com/belay-dev/belay/reconciler"
	"github.com/belay-dev/belay/source"
)

// stepLimit is how many commits of one push become steps of their own; older ones are folded into the first.
const stepLimit = 5000

// mirror is the mirror of one branch of one repository, shared by all its sources. It is opened with the first poll,
// so that a repository that is out of reach is an error of its sources and not of the service.
type mirror struct {
	config source.Config
	log    zerolog.Logger

	begun    atomic.Int64           // polls so far
	activity atomic.Pointer[string] // what is going on, for status

	mu     sync.Mutex // held while polling
	opened *source.Mirror
	last   int64 // number of the last poll that went well
	head   string
}

// poll fetches and returns the head of the branch. A poll that began after the caller asked, for another source, serves
// it as well.
func (m *mirror) poll(ctx context.Context) (string, error) {
	asked := m.begun.Load() // no time: clocks are set back
	m.mu.Lock()
	defer m.mu.Unlock()
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	if m.last > asked {
		return m.head, nil
	}
	number := m.begun.Add(1)
	if m.opened == nil {
		opened, err := source.Open(ctx, m.config, m.log)
		if err != nil {
			return "", withHint(err)
		}
		m.opened = opened
	}
	m.tell("")
	defer m.tell("")
	head, err := m.opened.Poll(ctx)
	if err != nil {
		return "", withHint(err)
	}
	m.last, m.head = number, string(head.Commit)
	return m.head, nil
}

// progress notes how a fetch goes on, and passes it to whoever watches.
func (m *mirror) progress(watch func(name, text string)) func(source.Progress) {
	return func(p source.Progress) {
		text := p.Text
		if p.Objects > 0 {
			text = fmt.Sprintf("fetching %d objects, %.1f MB so far", p.Objects, float64(p.Bytes)/1e6)
		}
		m.tell(text)
		if watch != nil {
			watch(m.config.Name, text)
		}
	}
}

func (m *mirror) tell(text string) { m.activity.Store(&text) }

// doing says what is going on; empty: nothing.
func (m *mirror) doing() string {
	if text := m.activity.Load(); text != nil {
		return *text
	}
	return ""
}

// snapshot opens a snapshot of the newest head.
func (m *mirror) snapshot() (*source.Snapshot, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.opened == nil {
		return nil, errUnread
	}
	return m.opened.Snapshot()
}

func (m *mirror) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.opened != nil {
		m.opened.Close()
	}
}

var errUnread = errors.New("the repository was not read yet")

// repository is a mirror as the sync loop of one source wants it.
type repository struct {
	mirror *mirror

	mu     sync.Mutex // guards all below
	newest *source.Snapshot
	former *source.Snapshot // the render cache still compares with a tree of it
}

// Poll fetches and returns the head of the branch.
func (r *repository) Poll(ctx context.Context) (string, error) {
	head, err := r.mirror.poll(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		if r.newest == nil { // what was fetched before is there without the remote
			r.newest, _ = r.mirror.snapshot() // a mirror without a commit has none
		}
		return "", err
	}
	if r.newest != nil && string(r.newest.Head()) == head {
		return head, nil
	}
	s, err := r.mirror.snapshot()
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
