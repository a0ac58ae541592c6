package source

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/go-git/go-git/v5/plumbing"
)

// maxListed bounds the commits listed by one step; the newest stay.
const maxListed = 1000

// StepKind says how a step leads from the commit before it.
type StepKind string

const (
	// StepFirst: nothing came before.
	StepFirst StepKind = "First"
	// StepLinear: the next commit of the first-parent chain.
	StepLinear StepKind = "Linear"
	// StepMerge: the old head is an ancestor, but not on the first-parent chain.
	StepMerge StepKind = "Merge"
	// StepRewritten: the old head is no ancestor of the new one, or is not known any more.
	StepRewritten StepKind = "Rewritten"
	// StepUnrelated: the two have no ancestor in common.
	StepUnrelated StepKind = "Unrelated"
)

// Step is one move of the head.
type Step struct {
	Commit Commit
	// Commits are all commits that the step brings, oldest first and Commit last, when they are more than one;
	// at most the newest 1,000. A step back, or onto unrelated history, has none.
	Commits []Commit
	Kind    StepKind
}

// Steps returns what leads from the head old to the head next, oldest first.
//
// No old head: one step, next. If old is on the first-parent chain of next, every commit of the chain after old is a
// step; when these are more than limit (0 means no limit) the oldest are folded into the first step, which lists
// them. Otherwise there is one step: a merge when old is an ancestor all the same, else rewritten, also when next is
// an ancestor of old, or unrelated. An old head that the mirror does not have counts as rewritten.
func (s *Snapshot) Steps(ctx context.Context, old, next Hash, limit int) ([]Step, error) {
	to, err := toGit(next)
	if err != nil {
		return nil, s.fail("steps", next, err)
	}
	if old == next {
		return nil, nil
	}
	if old == "" {
		return s.one(StepFirst, []plumbing.Hash{to})
	}
	from, err := toGit(old)
	if err != nil {
		return nil, s.fail("steps", old, err)
	}
	if _, err := s.node(from); errors.Is(err, errMissing) {
		if err := s.whole(ctx, to); err != nil {
			return nil, s.fail("steps", next, err)
		}
		return s.one(StepRewritten, []plumbing.Hash{to})
	}
	chain, err := s.chain(ctx, from, to)
	if err != nil {
		return nil, s.fail("steps", next, err)
	}
	if chain == nil {
		kind, ids, err := s.difference(ctx, from, to)
		if err != nil {
			return nil, s.fail("steps", next, err)
		}
		return s.one(kind, ids)
	}
	return s.linear(chain, limit)
}

// linear makes a step of every commit of the chain, oldest first.
func (s *Snapshot) linear(chain []plumbing.Hash, limit int) ([]Step, error) {
	var steps []Step
	if fold := len(chain) - limit + 1; limit > 0 && fold > 1 {
		first, err := s.one(StepLinear, chain[:fold])
		if err != nil {
			return nil, err
		}
		steps, chain = first, chain[fold:]
	}
	for _, id := range chain {
		step, err := s.one(StepLinear, []plumbing.Hash{id})
		if err != nil {
			return nil, err
		}
		steps = append(steps, step...)
	}
	return steps, nil
}

// one returns a single step to the last of ids.
func (s *Snapshot) one(kind StepKind, ids []plumbing.Hash) ([]Step, error) {
	if len(ids) > maxListed {
		ids = ids[len(ids)-maxListed:]
	}
	commits := make([]Commit, len(ids))
	for i, id := range ids {
		raw, err := s.raw(id)
		if err != nil {
			return nil, s.fail("steps", fromGit(id), err)
		}
		commits[i] = raw.clean(id)
	}
	step := Step{Commit: commits[len(commits)-1], Kind: kind}
	if len(commits) > 1 {
		step.Commits = commits
	}
	return []Step{step}, nil
}

// chain returns the first-parent chain after from up to to, oldest first, or nil when from is not on it.
func (s *Snapshot) chain(ctx context.Context, from, to plumbing.Hash) ([]plumbing.Hash, error) {
	var out []plumbing.Hash
	for at := to; at != from; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		out = append(out, at)
		n, err := s.node(at)
		if err != nil {
			return nil, err
		}
		if len(n.parents) == 0 {
			return nil, nil
		}
		at = n.parents[0]
	}
	slices.Reverse(out)
	return out, nil
}

// difference compares two heads of which from is not on the first-parent chain of to. It returns the commits that
// are ancestors of to (or to itself) and not of from, oldest first and to last.
func (s *Snapshot) difference(ctx context.Context, from, to plumbing.Hash) (StepKind, []plumbing.Hash, error) {
	before, err := s.ancestors(ctx, from)
	if err != nil {
		return "", nil, err
	}
	if before[to] {
		return StepRewritten, []plumbing.Hash{to}, nil
	}
	common := false
	ids, err := s.postorder(ctx, to, func(h plumbing.Hash) bool {
		common = common || before[h]
		return before[h]
	})
	switch {
	case err != nil:
		return "", nil, err
	case !common:
		return StepUnrelated, []plumbing.Hash{to}, nil
	case s.touches(ids, from):
		return StepMerge, ids, nil
	}
	return StepRewritten, ids, nil
}

// whole checks that every commit behind to is there, so that one that is not there was never behind it.
func (s *Snapshot) whole(ctx context.Context, to plumbing.Hash) error {
	all, err := s.ancestors(ctx, to)
	if err != nil {
		return err
	}
	for id := range all {
		if !s.objects.has(id) {
			return fmt.Errorf("%w: commit %s", errDamaged, id)
		}
	}
	return nil
}

// touches tells whether one of ids has the parent h.
func (s *Snapshot) touches(ids []plumbing.Hash, h plumbing.Hash) bool {
	for _, id := range ids {
		if n, err := s.node(id); err == nil && slices.Contains(n.parents, h) {
			return true
		}
	}
	return false
}

// ancestors returns h and everything before it.
func (s *Snapshot) ancestors(ctx context.Context, h plumbing.Hash) (map[plumbing.Hash]bool, error) {
	seen := map[plumbing.Hash]bool{h: true}
	for stack := []plumbing.Hash{h}; len(stack) > 0; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		at := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		n, err := s.node(at)
		if err != nil {
			return nil, err
		}
		for _, p := range n.parents {
			if !seen[p] {
				seen[p] = true
				stack = append(stack, p)
			}
		}
	}
	return seen, nil
}

// postorder returns to and its ancestors up to where stop says so, every commit after its parents.
func (s *Snapshot) postorder(ctx context.Context, to plumbing.Hash, stop func(plumbing.Hash) bool) ([]plumbing.Hash, error) {
	type frame struct {
		id   plumbing.Hash
		next int
	}
	var out []plumbing.Hash
	seen := map[plumbing.Hash]bool{to: true}
	for stack := []frame{{id: to}}; len(stack) > 0; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		top := &stack[len(stack)-1]
		n, err := s.node(top.id)
		if err != nil {
			return nil, err
		}
		if top.next == len(n.parents) {
			out = append(out, top.id)
			stack = stack[:len(stack)-1]
			continue
		}
		p := n.parents[top.next]
		top.next++
		if !seen[p] && !stop(p) {
			seen[p] = true
			stack = append(stack, frame{id: p})
		}
	}
	return out, nil
}

// node returns the parents of a commit, from the mirror's memory where it can.
func (s *Snapshot) node(h plumbing.Hash) (node, error) {
	if n, ok := s.mirror.graph.get(h); ok {
		return n, nil
	}
	raw, err := s.raw(h)
	if err != nil {
		return node{}, err
	}
	n := node{parents: raw.parents}
	s.mirror.graph.put(h, n)
	return n, nil
}

func (s *Snapshot) raw(h plumbing.Hash) (rawCommit, error) {
	data, err := s.objects.bytes(plumbing.CommitObject, h)
	if err != nil {
		return rawCommit{}, fmt.Errorf("commit: %w", err)
	}
	return parseCommit(h, data)
}
