package reconciler_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/belay-dev/belay/manifests"
	"github.com/belay-dev/belay/reconciler"
)

// fakeRepository is a branch whose commits are given by the scenario.
type fakeRepository struct {
	steps []reconciler.Step
	trees map[string]manifests.Tree
	err   error // of the next poll
}

func (r *fakeRepository) Poll(context.Context) (string, error) {
	if err := r.err; err != nil {
		r.err = nil
		return "", err
	}
	if len(r.steps) == 0 {
		return "", errors.New("empty repository")
	}
	return r.steps[len(r.steps)-1].Hash, nil
}

func (r *fakeRepository) Polled() (string, error) { return r.Poll(context.Background()) }

// Steps are those after the last time that the branch was at from. The first sync is one step.
func (r *fakeRepository) Steps(_ context.Context, from, _ string) ([]reconciler.Step, error) {
	if from == "" {
		s := r.steps[len(r.steps)-1]
		s.Kind = reconciler.StepFirst
		return []reconciler.Step{s}, nil
	}
	for i, s := range slices.Backward(r.steps[:len(r.steps)-1]) {
		if s.Hash == from {
			return r.steps[i+1:], nil
		}
	}
	return nil, fmt.Errorf("no commit %s", from)
}

// Before goes back through everything that was ever pushed.
func (r *fakeRepository) Before(_ context.Context, commit string, n int) ([]reconciler.Step, error) {
	i := slices.IndexFunc(r.steps, func(s reconciler.Step) bool { return s.Hash == commit })
	if i < 0 {
		return nil, fmt.Errorf("no commit %s", commit)
	}
	out := slices.Clone(r.steps[max(0, i-n) : i+1])
	slices.Reverse(out)
	return out, nil
}

func (r *fakeRepository) Tree(commit string) (manifests.Tree, error) {
	t, ok := r.trees[commit]
	if !ok {
		return nil, fmt.Errorf("no commit %s", commit)
	}
	return t, nil
}

// repeat pushes commits that change no file.
func (w *world) repeat(rest string) string {
	var prefix, commit string
	var n int
	if _, err := fmt.Sscanf(rest, "%s %d %s", &prefix, &n, &commit); err != nil {
		w.t.Fatal(err)
	}
	for i := range n {
		hash := fmt.Sprintf("%s%d", prefix, i)
		w.repo.trees[hash] = w.repo.trees[commit]
		w.push(hash + " again")
	}
	return ""
}

// never is a trigger that stays silent: scenarios look when they say so.
type never struct{}

func (never) C() <-chan struct{} { return nil }
func (never) NextAt() time.Time  { return time.Time{} }

// configs prints what the templates of a Deployment's rows name, and what that held.
func (w *world) configs(name string) string {
	var b strings.Builder
	for _, r := range w.store.Rows("default", name) {
		fmt.Fprintf(&b, "%s %s", r.Commit, r.Outcome)
		for _, ref := range r.Configs {
			held := "unknown"
			if c, ok := w.store.Config(ref.Hash); ok {
				held = fmt.Sprintf("%v %d", c.Text, len(c.Data))
			}
			fmt.Fprintf(&b, " | %s %s: %s", ref.Kind, ref.Name, held)
		}
		b.WriteString("\n")
	}
	return b.String()
}
