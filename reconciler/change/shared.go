package change

import (
	"context"
	"errors"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/belay-dev/belay/manifests"
	"github.com/belay-dev/belay/reconciler/rollback"
	"github.com/belay-dev/belay/state"
)

// Verdict tells what the revert of one commit does for one Deployment.
type Verdict struct {
	ID  manifests.ID
	Why []Refusal // empty: Git says again what the Deployment goes back to
}

// Undo is the wish to take one commit back for several Deployments, each to the pod template it had before.
type Undo struct {
	Commit  string
	Wishes  []Wish
	Secrets bool // Secrets may change
	Only    bool // no other Deployment may change
}

// MakeRevert plans the revert of one commit that several Deployments go back behind: one revert for all. A person asked
// for it, so it may change whatever the commit changed. The verdicts are in the order of the wishes: a Deployment that
// the revert does not set right stays as it is held. Where it sets none right, nothing is to be written.
func MakeRevert(ctx context.Context, base *manifests.Cache, repo Repository, u Undo) (Plan, []Verdict, error) {
	commit := u.Commit
	m, err := at(ctx, base, repo, Task{Mode: rollback.ModeRevert, Commits: []string{commit}, Secrets: u.Secrets})
	if err != nil {
		return Plan{}, nil, err
	}
	verdicts := make([]Verdict, len(u.Wishes))
	m.plan.Agrees = true
	for i, w := range u.Wishes {
		verdicts[i].ID = w.ID
		m.plan.Agrees = m.plan.Agrees && len(verdictOf(m.head, w)) == 0
	}
	if m.plan.Agrees {
		return m.plan, verdicts, nil
	}
	all := func(r Refusal) (Plan, []Verdict, error) {
		m.fail(rollback.ModeRevert, r)
		for i := range verdicts {
			verdicts[i].Why = m.plan.Failed[0].Why
		}
		return m.plan, verdicts, nil
	}
	tree, files, err := repo.Reverted(ctx, []string{commit})
	var conflict *ConflictError
	if errors.As(err, &conflict) {
		return all(Refusal{Reason: Conflict, Message: conflict.Error()})
	}
	if err != nil {
		return Plan{}, nil, fmt.Errorf("revert %s: %w", rollback.Short(commit), err)
	}
	update, err := m.head.Preview(ctx, tree, "revert")
	if err != nil {
		return Plan{}, nil, fmt.Errorf("render the revert: %w", err)
	}
	if r := u.forbidden(update); r != nil {
		return all(*r)
	}
	after, err := m.head.Fork(ctx, tree, "revert")
	if err != nil {
		return Plan{}, nil, fmt.Errorf("render the revert: %w", err)
	}
	right := 0
	for i, w := range u.Wishes {
		if verdicts[i].Why = verdictOf(after, w); len(verdicts[i].Why) == 0 {
			right++
		}
	}
	if right == 0 {
		m.fail(rollback.ModeRevert, verdicts[0].Why...)
		return m.plan, verdicts, nil
	}
	m.plan.Mode, m.plan.Commits = rollback.ModeRevert, []string{commit}
	m.plan.Touched, m.plan.Objects = slices.Sorted(slices.Values(files)), update.Changes()
	return m.plan, verdicts, nil
}

// secretsHint is what helps where a revert would change Secrets.
const secretsHint = "ask again with --secrets, or take it back yourself with: git revert SHA"

// forbidden is what no revert may do unless that was asked for too.
func (u Undo) forbidden(update manifests.Update) *Refusal {
	if len(update.Stale) > 0 {
		return &Refusal{Reason: Unrendered, File: update.Stale[0].Path, Message: unrendered(update.Stale[0].Problems)}
	}
	for _, c := range update.Changes() {
		named := slices.ContainsFunc(u.Wishes, func(w Wish) bool { return w.ID == c.ID })
		switch {
		case c.ID.Kind == string(state.KindSecret) && !u.Secrets:
			return &Refusal{
				Reason: SecretChanges, File: c.File, Object: c.ID, Message: "would change too",
				Hint: secretsHint,
			}
		case c.ID.Kind == string(state.KindDeployment) && !named && u.Only:
			return &Refusal{
				Reason: OtherDeployment, File: c.File, Object: c.ID, Message: "would change too", Hint: "ask again without --only",
			}
		}
	}
	return nil
}

func verdictOf(after *manifests.Cache, w Wish) []Refusal {
	o, there := after.Object(w.ID)
	d, ok := o.Object.(*appsv1.Deployment)
	if !there || !ok {
		return []Refusal{{Reason: NotThere, Object: w.ID, Message: "would not be in Git"}}
	}
	if f, differs := (&check{wish: w}).missing(d, d); differs {
		return []Refusal{{Reason: NotAsked, File: o.File, Object: w.ID, Message: "would not be as it was: " + f}}
	}
	return nil
}

// Message is what the commit of a plan says, and "" for a revert: that is in git's own words. To describes what is gone
// back to, such as "revision 4 (3f2a91c)"; why may be empty.
func (p Plan) Message(w Wish, to, why string) string {
	name := w.ID.Name
	subject := ""
	switch {
	case p.Mode != rollback.ModeRestore:
		return ""
	case w.Removed:
		subject = fmt.Sprintf("Put %s back as of %s", name, to)
	case w.Template != nil:
		subject = fmt.Sprintf("Roll %s back to %s", name, to)
	case w.Replicas != nil:
		subject = fmt.Sprintf("Scale %s to %d", name, *w.Replicas)
	case w.Paused != nil && *w.Paused:
		subject = "Pause " + name
	case w.Paused != nil:
		subject = "Resume " + name
	case w.Asked != nil:
		subject = "Set the image of " + name
		if f := manifests.Diff(w.Live, w.Asked); len(f) == 1 {
			subject = fmt.Sprintf("Set the image of %s to %v", name, f[0].After)
		}
	}
	if why != "" {
		subject += "\n\n" + why
	}
	return subject
}
