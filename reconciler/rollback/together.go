package rollback

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/belay-dev/belay/reconciler/ledger"
	"github.com/belay-dev/belay/state"
)

// CommitRequest is the wish to go back behind one commit with all Deployments that it broke: one rollback with one ID, and
// one revert in Git.
type CommitRequest struct {
	Commit string // hash, or the beginning of one
	// Only are the Deployments that go back, as namespace/name; empty: all that run the commit's pod template, or wait for
	// it. Where it is given the revert may change no other Deployment.
	Only []string
	// Expect are the revisions that ran when the wish was made, by namespace/name: of a Deployment that is missing, it is
	// not checked.
	Expect  map[string]int64
	Mode    Mode // ModeHold, or ModeRevert, or ModeAuto for it; empty: ModeAuto
	Secrets bool // the revert may change Secrets
	Why, By string
	// StableOnly is as Request's.
	StableOnly bool
	// Reaches tells whether the person may reach a namespace; nil: every one. One who may not reach all that the commit
	// changed changes nothing in Git.
	Reaches func(namespace string) bool
}

// CommitResult says what became, or would become, of each Deployment of a commit.
type CommitResult struct {
	ID, Commit  string
	Deployments []CommitOutcome // by namespace and name
	Git         []CommitChange  // one for each source that follows the commit
}

// CommitOutcome is what became of one Deployment.
type CommitOutcome struct {
	Namespace, Name string
	Result          Result
	Err             error // why it is not held: nothing was done
	// Left says why the revert does not set it right in Git, of a preview; empty: it does, or nothing is to be reverted.
	Left string
}

// CommitChange is the revert of a commit in the repository of one source.
type CommitChange struct {
	Source string
	GitChange
}

// Broken reports whether a Deployment runs what a commit brought, or waits for it. Pure.
func Broken(f Facts, commit string) (broken, runs bool) {
	_, runs, ok := f.brought(commit)
	return ok && (runs || f.Hold == nil), runs
}

// brought finds the row with which a commit brought what runs, or what waits to run: Git wants it, and it has not been
// handed over.
func (f Facts) brought(commit string) (row state.Row, runs, ok bool) {
	if commit == "" || f.Running.UID == "" {
		return state.Row{}, false, false
	}
	rows := f.present()
	for _, r := range slices.Backward(rows) {
		switch {
		case r.Commit == commit && r.Open && r.StartedAt.IsZero() && bare(r) == f.Git && bare(r) != f.Running.Bare && r.Template != "":
			return r, false, true
		case r.StartedAt.IsZero() || r.Template == "":
		case bare(r) != f.Running.Bare: // what ran before
			return state.Row{}, false, false
		case r.Commit == commit:
			return r, true, true
		}
	}
	return state.Row{}, false, false
}

// DecideCommit grants the wish to go back behind a commit with one Deployment, to what it ran before, or refuses it with a
// *Refusal. A Deployment that still waits for what the commit brought is held at what it runs, without a rollout. id is
// the ID of the rollback of all of them. Pure.
func DecideCommit(f Facts, r Request, id string) (Decision, error) {
	row, runs, ok := f.brought(r.ToCommit)
	switch {
	case !ok:
		return Decision{}, refuse(UnknownCommit, "it neither runs what commit "+Short(r.ToCommit)+" brought nor waits for it", "")
	case runs:
		return f.decideBehind(r, row, id)
	case f.Hold != nil:
		return Decision{}, refuse(AlreadyRolledBack, "it is held already", "belay holds says where")
	case r.Expect != 0 && f.Running.Revision != r.Expect:
		return Decision{}, moved(f.Running.Revision, r.Expect)
	}
	to := f.running()
	t, bad := f.Template(to.Template), f.Template(row.Template)
	if t == nil || bad == nil {
		return Decision{}, refuse(NoTemplate, "the pod template of "+f.nameOf(to)+" is not in the ledger", "")
	}
	d := Decision{ID: id, To: to, From: to, Template: t, Mark: f.markWaiting(id, row, to, t, bad, r)}
	d.Marks = append(slices.Clone(f.Marks), *d.Mark)
	d.Hold = f.hold(id, to)
	d.Hold.Reason, d.Hold.By, d.Hold.Since, d.Hold.Door = r.Why, r.By, r.Now, string(r.Door)
	return d, nil
}

// decideBehind goes back to what ran before a row's template did.
func (f Facts) decideBehind(r Request, row state.Row, id string) (Decision, error) {
	r.ToCommit = ""
	if f.Hold != nil && !f.Hold.Manual { // it is named: the commit says where it goes
		f.Hold = nil
	}
	if err := f.check(r); err != nil {
		return Decision{}, err
	}
	rows := f.present()
	to := state.Row{}
	past := false
	for _, o := range slices.Backward(rows) {
		past = past || o.ID == row.ID
		if past && ran(o) && bare(o) != f.Running.Bare && len(f.bad(o)) == 0 {
			to = o
			break
		}
	}
	if to.ID == "" {
		return Decision{}, refuse(NothingToGoBackTo, "nothing ran before commit "+Short(row.Commit)+" that is not bad", "push a fix")
	}
	d, err := f.grant(r, to, id)
	d.Row.ID = ledger.RowID(id, f.Namespace, f.Name)
	for i := range d.Undone {
		if d.Undone[i].RolledBackBy == id {
			d.Undone[i].RolledBackBy = d.Row.ID
		}
	}
	return d, err
}

// markWaiting is what a rollback leaves as bad of a template that was never handed over: its images that do not run, or,
// where none differs, the fields that do.
func (f Facts) markWaiting(id string, row, to state.Row, good, bad *corev1.PodTemplateSpec, r Request) *state.Mark {
	m := &state.Mark{
		ID: id, Namespace: f.Namespace, Name: f.Name, By: r.By, Reason: r.Why, Door: string(r.Door), Since: r.Now, From: row.ID, To: to.ID,
		Templates: []string{bare(row)},
	}
	for _, c := range containers(bad) {
		if !slices.ContainsFunc(containers(good), func(o corev1.Container) bool { return o.Name == c.Name && o.Image == c.Image }) {
			m.Images = append(m.Images, state.BadImage{Container: c.Name, Image: c.Image, Commit: row.Commit})
		}
	}
	if len(m.Images) == 0 {
		m.Leaves = f.differing(bad, good, 0, -1)
		for i := range m.Leaves {
			m.Leaves[i].Commit = row.Commit
		}
	}
	return m
}

// Named reports whether a Deployment is one of those that are meant.
func (r CommitRequest) Named(namespace, name string) bool {
	return len(r.Only) == 0 || slices.Contains(r.Only, namespace+"/"+name)
}
