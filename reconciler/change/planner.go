package change

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/belay-dev/belay/manifests"
	"github.com/belay-dev/belay/manifests/edit"
	"github.com/belay-dev/belay/reconciler/rollback"
)

// Repository is a branch of a Git repository as it is at one commit, its head.
type Repository interface {
	Head() string
	// Tree is the file tree of a commit of the branch's history.
	Tree(ctx context.Context, commit string) (manifests.Tree, error)
	// Reverted is the head's tree without what some commits did, newest first, and the files that differ. What git would
	// not revert cleanly is a *ConflictError.
	Reverted(ctx context.Context, commits []string) (tree manifests.Tree, files []string, err error)
}

// ConflictError says that git would leave a revert to a person.
type ConflictError struct{ Err error }

func (e *ConflictError) Error() string { return e.Err.Error() }
func (e *ConflictError) Unwrap() error { return e.Err }

// Task is one wish and the ways to fulfil it.
type Task struct {
	Wish
	Mode rollback.Mode // empty: ModeAuto
	// Commits changed the Deployment after the wished template, newest first: what a revert takes back.
	Commits []string
	// Then is a commit whose tree renders the Deployment as wished; empty: none is known.
	Then string
	// Secrets lets a revert that was asked for change Secrets.
	Secrets bool
}

// Plan is what to write. ModeHold means nothing.
type Plan struct {
	Mode    rollback.Mode
	Agrees  bool              // the head says already what is wished: there is nothing to do, and will not be
	Head    string            // the commit that it was made for
	Commits []string          // to revert, newest first
	Files   map[string][]byte // the new contents of files; of a revert none
	Touched []string          // the files that differ, sorted
	// Objects are those that differ once it is in Git.
	Objects []manifests.ObjectChange
	Failed  []Failure
}

// Failure is one way that was tried before the one that was taken.
type Failure struct {
	Mode rollback.Mode
	Why  []Refusal
}

// Make plans the change for a task at the head of a repository: the first way that passes the check, and why the others
// did not. base is what was rendered last of the source's apps. An error means that nothing could be found out.
func Make(ctx context.Context, base *manifests.Cache, repo Repository, t Task) (Plan, error) {
	m, err := at(ctx, base, repo, t)
	if err != nil {
		return Plan{}, err
	}
	if err := m.remember(ctx); err != nil {
		return Plan{}, err
	}
	mode := cmp.Or(t.Mode, rollback.ModeAuto)
	if why := m.unseen(); why != nil {
		m.fail(mode, *why)
		return m.plan, nil
	}
	if m.agrees() {
		m.plan.Agrees = true
		return m.plan, nil
	}
	for _, way := range ways[mode] {
		done, err := way.try(m, ctx)
		if err != nil {
			return Plan{}, err
		}
		if done {
			m.plan.Mode = way.mode
			return m.plan, nil
		}
	}
	return m.plan, nil
}

type way struct {
	mode rollback.Mode
	try  func(*maker, context.Context) (bool, error)
}

var ways = map[rollback.Mode][]way{
	rollback.ModeAuto:    {{rollback.ModeRevert, (*maker).revert}, {rollback.ModeRestore, (*maker).restore}},
	rollback.ModeRevert:  {{rollback.ModeRevert, (*maker).revert}},
	rollback.ModeRestore: {{rollback.ModeRestore, (*maker).restore}},
	rollback.ModeHold:    nil,
}

// maker makes one plan.
type maker struct {
	Task
	repo Repository
	head *manifests.Cache // what the head renders as
	tree manifests.Tree
	past past
	plan Plan
}

// past is the Deployment as a tree rendered it that is as wished. The tree is nil when none is known.
type past struct {
	tree   manifests.Tree
	object manifests.Object
	kind   manifests.RootKind
}

func at(ctx context.Context, base *manifests.Cache, repo Repository, t Task) (*maker, error) {
	m := &maker{Task: t, repo: repo, plan: Plan{Mode: rollback.ModeHold, Head: repo.Head()}}
	var err error
	if m.tree, err = repo.Tree(ctx, repo.Head()); err != nil {
		return nil, fmt.Errorf("tree of the head: %w", err)
	}
	if m.head, err = base.Fork(ctx, m.tree, repo.Head()); err != nil {
		return nil, fmt.Errorf("render the head: %w", err)
	}
	return m, nil
}

// unseen tells why nothing is known of what the head says of the Deployment: its root cannot be rendered, so that what is
// rendered is of another commit.
func (m *maker) unseen() *Refusal {
	o, there := m.head.Object(m.ID)
	app := m.App
	if there {
		app = o.App
	}
	for _, r := range m.head.Roots() {
		if !r.Stale || r.App != app || there && r.Path != o.Root {
			continue
		}
		return &Refusal{Reason: Unrendered, File: r.Path, Object: m.ID, Message: unrendered(r.Problems)}
	}
	return nil
}

func (m *maker) fail(mode rollback.Mode, why ...Refusal) {
	for i, r := range why {
		if len(m.Commits) > 0 {
			why[i].Hint = strings.Replace(r.Hint, "SHA", rollback.Short(m.Commits[0]), 1)
		}
	}
	m.plan.Failed = append(m.plan.Failed, Failure{Mode: mode, Why: why})
}

// agrees tells whether the head is as wished already.
func (m *maker) agrees() bool {
	o, there := m.head.Object(m.ID)
	d, ok := o.Object.(*appsv1.Deployment)
	if !there || !ok {
		return false
	}
	if m.Asked != nil {
		return len(manifests.Diff(d, m.asked(d))) == 0
	}
	_, differs := (&check{wish: m.Wish}).missing(d, d)
	return !differs
}

// revert takes the commits back.
func (m *maker) revert(ctx context.Context) (bool, error) {
	if m.Template == nil {
		return false, nil // an edit is no rollback
	}
	if len(m.Commits) == 0 {
		m.fail(rollback.ModeRevert, Refusal{Reason: NothingToRevert, Object: m.ID, Message: "no commit of the branch is known that brought what runs"})
		return false, nil
	}
	tree, files, err := m.repo.Reverted(ctx, m.Commits)
	var conflict *ConflictError
	if errors.As(err, &conflict) {
		m.fail(rollback.ModeRevert, Refusal{Reason: Conflict, Message: conflict.Error()})
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("revert: %w", err)
	}
	update, err := m.head.Preview(ctx, tree, "revert")
	if err != nil {
		return false, fmt.Errorf("render the revert: %w", err)
	}
	refusals := Accept(m.head, update, files, m.Wish)
	if m.Mode == rollback.ModeRevert {
		refusals = forced(refusals, m.Secrets)
	}
	if len(refusals) > 0 {
		m.fail(rollback.ModeRevert, refusals...)
		return false, nil
	}
	m.plan.Commits, m.plan.Touched, m.plan.Objects = m.Commits, slices.Sorted(slices.Values(files)), update.Changes()
	return true, nil
}

// forced are the refusals that count when a person has asked for whole commits to be reverted.
func forced(list []Refusal, secrets bool) []Refusal {
	var out []Refusal
	for _, r := range list {
		if r.Reason == SecretChanges && !secrets {
			r.Hint = secretsHint
			out = append(out, r)
		}
	}
	return out
}

// restore sets the fields in the files.
func (m *maker) restore(ctx context.Context) (bool, error) {
	proposals, err := m.proposals()
	if err != nil || len(proposals) == 0 {
		return false, err
	}
	var why []Refusal
	for _, p := range proposals {
		update, err := m.head.Preview(ctx, manifests.Overlay(m.tree, p.Files), "edit")
		if err != nil {
			return false, fmt.Errorf("render the edit: %w", err)
		}
		files := slices.Sorted(maps.Keys(p.Files))
		refusals := Accept(m.head, update, files, m.Wish)
		if len(refusals) == 0 {
			m.plan.Files, m.plan.Touched, m.plan.Objects = p.Files, files, update.Changes()
			return true, nil
		}
		if why == nil {
			why = refusals
		}
	}
	m.fail(rollback.ModeRestore, why...)
	return false, nil
}

// proposals asks for edits of the files. None, without an error, means that the failure is recorded.
func (m *maker) proposals() ([]edit.Proposal, error) {
	o, there := m.head.Object(m.ID)
	refuse := func(reason Reason, file, message string) ([]edit.Proposal, error) {
		m.fail(rollback.ModeRestore, Refusal{Reason: reason, File: file, Object: m.ID, Message: message})
		return nil, nil
	}
	switch {
	case m.Removed && there:
		return refuse(NotThere, o.File, "is in Git again")
	case m.Removed && m.past.tree == nil:
		return refuse(NotThere, "", "no commit is known that still had it")
	case m.Removed:
		p, err := edit.PutBack(m.tree, m.past.tree, m.past.object, m.past.kind)
		return m.editable([]edit.Proposal{p}, err), nil
	case !there:
		return refuse(NotThere, "", "is not in Git")
	case m.Replicas != nil && o.NoReplicas:
		return refuse(NotWritten, o.File, "spec.replicas is not in the manifest: the scale is not Git's")
	}
	have, want, err := m.values(o)
	if err != nil {
		return nil, err
	}
	list, err := edit.Propose(edit.Wish{Tree: m.tree, Object: o, Kind: kindOf(m.head, o), Have: have, Want: want, Then: m.past.tree})
	return m.editable(list, err), nil
}

func (m *maker) editable(list []edit.Proposal, err error) []edit.Proposal {
	if err == nil {
		return list
	}
	refusal := Refusal{Reason: Uneditable, Object: m.ID, Message: err.Error()}
	var r *edit.Refusal
	if errors.As(err, &r) {
		refusal.Hint = r.Hint()
		if r.Reason == edit.Unknown || r.Reason == edit.Nothing {
			refusal.Reason = NoProposal
		}
	}
	m.fail(rollback.ModeRestore, refusal)
	return nil
}

// remember looks for the tree that renders as wished. A removed Deployment belongs to the app that had it there.
func (m *maker) remember(ctx context.Context) error {
	if m.Then == "" || m.Template == nil {
		return nil
	}
	tree, err := m.repo.Tree(ctx, m.Then)
	if err != nil {
		return nil //nolint:nilerr // the branch may have left that commit: its values are known still
	}
	c, err := m.head.Fork(ctx, tree, m.Then)
	if err != nil {
		return fmt.Errorf("render %s: %w", rollback.Short(m.Then), err)
	}
	o, there := c.Object(m.ID)
	d, ok := o.Object.(*appsv1.Deployment)
	if !there || !ok || rollback.Bare(&d.Spec.Template) != rollback.Bare(m.Template) {
		return nil
	}
	m.past = past{tree: tree, object: o, kind: kindOf(c, o)}
	if m.Removed && m.App == "" {
		m.App = o.App
	}
	return nil
}

func kindOf(c *manifests.Cache, o manifests.Object) manifests.RootKind {
	for _, r := range c.Roots() {
		if r.App == o.App && r.Path == o.Root {
			return r.Kind
		}
	}
	return manifests.Plain
}

// values are the part of the Deployment that the wish is about, as it is and as it should be.
func (m *maker) values(o manifests.Object) (have, want any, err error) {
	d, ok := o.Object.(*appsv1.Deployment)
	if !ok {
		return nil, nil, fmt.Errorf("%s is no Deployment", m.ID)
	}
	is, to := d.DeepCopy(), d.DeepCopy()
	switch {
	case m.Template != nil:
		kept, has := is.Spec.Template.Annotations[rollback.Restarted]
		to.Spec.Template = *Plain(m.Template)
		if has { // what Git says of a restart stays
			if to.Spec.Template.Annotations == nil {
				to.Spec.Template.Annotations = map[string]string{}
			}
			to.Spec.Template.Annotations[rollback.Restarted] = kept
		}
	case m.Replicas != nil:
		to.Spec.Replicas = m.Replicas
	case m.Paused != nil:
		to.Spec.Paused = *m.Paused
	case m.Asked != nil:
		to = m.asked(d)
	}
	if have, err = spec(is); err != nil {
		return nil, nil, err
	}
	want, err = spec(to)
	return have, want, err
}

// asked is a Deployment with the images that were asked for.
func (m *maker) asked(d *appsv1.Deployment) *appsv1.Deployment {
	d = d.DeepCopy()
	live, asked := images(m.Live), images(m.Asked)
	for _, list := range [][]corev1.Container{d.Spec.Template.Spec.InitContainers, d.Spec.Template.Spec.Containers} {
		for i := range list {
			if to := asked[list[i].Name]; to != "" && to != live[list[i].Name] {
				list[i].Image = to
			}
		}
	}
	return d
}

func images(d *appsv1.Deployment) map[string]string {
	out := map[string]string{}
	for _, c := range slices.Concat(d.Spec.Template.Spec.InitContainers, d.Spec.Template.Spec.Containers) {
		out[c.Name] = c.Image
	}
	return out
}

// spec is the spec of a Deployment as the part of a manifest.
func spec(d *appsv1.Deployment) (any, error) {
	data, err := json.Marshal(struct {
		Spec appsv1.DeploymentSpec `json:"spec"`
	}{d.Spec})
	if err != nil {
		return nil, fmt.Errorf("spec of %s: %w", d.Name, err)
	}
	return json.RawMessage(data), nil
}
