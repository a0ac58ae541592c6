package app

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/rs/zerolog"

	"github.com/belay-dev/belay/manifests"
	"github.com/belay-dev/belay/reconciler"
	"github.com/belay-dev/belay/source"
)

// stepLimit is how many commits of one push become steps of their own; older ones are folded into the first.
const stepLimit = 5000

// repository is a source.Mirror as the sync loop wants it. The mirror is opened with the first poll, so that a
// repository that is out of reach is an error of that source and not of the service.
type repository struct {
	config source.Config
	log    zerolog.Logger

	mu     sync.Mutex // guards all below
	mirror *source.Mirror
	newest *source.Snapshot
	former *source.Snapshot // the render cache still compares with a tree of it
}

// Poll fetches and returns the head of the branch.
func (r *repository) Poll(ctx context.Context) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mirror == nil {
		m, err := source.Open(ctx, r.config, r.log)
		if err != nil {
			return "", withHint(err)
		}
		r.mirror = m
	}
	head, err := r.mirror.Poll(ctx)
	if err != nil {
		return "", withHint(err)
	}
	if r.newest == nil || r.newest.Head() != head.Commit {
		s, err := r.mirror.Snapshot()
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
	}
	return string(head.Commit), nil
}

// snapshot is the newest one; there is none before the first poll that went well.
func (r *repository) snapshot() (*source.Snapshot, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.newest == nil {
		return nil, errors.New("the repository was not read yet")
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
	for _, c := range st.Commits {
		out.Commits = append(out.Commits, string(c.Hash))
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
