package change

import (
	"context"
	"errors"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/belay-dev/belay/manifests"
	"github.com/belay-dev/belay/reconciler/rollback"
)

// Verdict tells what the revert of one commit does for one Deployment.
type Verdict struct {
	ID  manifests.ID
	Why []Refusal // empty: Git says again what the Deployment goes back to
}

// MakeRevert plans the revert of one commit that several Deployments go back behind, each to the pod template it had
// before: one revert for all. A person asked for it, so it may change whatever the commit changed, Secrets only when
// secrets says so. The verdicts are in the order of the Deployments: one that the revert does not set right stays as it is
// held.
func MakeRevert(ctx context.Context, base *manifests.Cache, repo Repository, commit string, wishes []Wish, secrets bool) (Plan, []Verdict, error) {
	m, err := at(ctx, base, repo, Task{Mode: rollback.ModeRevert, Commits: []string{commit}, Secrets: secrets})
	if err != nil {
		return Plan{}, nil, err
	}
	verdicts := make([]Verdict, len(wishes))
	all := func(r Refusal) (Plan, []Verdict, error) {
		for i, w := range wishes {
			verdicts[i] = Verdict{ID: w.ID, Why: []Refusal{r}}
		}
		m.fail(rollback.ModeRevert, r)
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
	for _, c := range update.Changes() {
		if c.ID.Kind == "Secret" && !secrets {
			return all(Refusal{Reason: SecretChanges, File: c.File, Object: c.ID, Message: "would change too", Hint: "take it back yourself with: git revert " + rollback.Short(commit)})
		}
	}
	after, err := m.head.Fork(ctx, tree, "revert")
	if err != nil {
		return Plan{}, nil, fmt.Errorf("render the revert: %w", err)
	}
	for i, w := range wishes {
		verdicts[i] = Verdict{ID: w.ID, Why: verdictOf(after, w)}
	}
	m.plan.Mode, m.plan.Commits = rollback.ModeRevert, []string{commit}
	m.plan.Touched, m.plan.Objects = slices.Sorted(slices.Values(files)), update.Changes()
	return m.plan, verdicts, nil
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
