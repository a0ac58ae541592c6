package reconciler

import (
	"slices"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/belay-dev/belay/manifests"
	"github.com/belay-dev/belay/reconciler/engine"
	"github.com/belay-dev/belay/reconciler/ledger"
	"github.com/belay-dev/belay/state"
)

// StepKind says how a step follows the one before.
type StepKind string

const (
	StepFirst     StepKind = "first"     // the source's first sync
	StepLinear    StepKind = "linear"    // a commit of the first-parent chain
	StepMerge     StepKind = "merge"     // old..new as one: the old head is off the first-parent chain
	StepRewritten StepKind = "rewritten" // the old head is no ancestor of the new one
	StepUnrelated StepKind = "unrelated" // no common ancestor
)

// Step is one commit of a source, or several taken as one.
type Step struct {
	Kind        StepKind
	Hash        string
	Commits     []string // all it covers, oldest first, when more than Hash
	Author      string   // name <address>
	CommittedAt time.Time
	Subject     string
	Cause       string   // subject; of a merge, with the first line of its body
	Reverts     []string // hashes of the commits that it says it reverts
	Releases    []string // IDs of the marks and holds that it says it releases
}

// Delta is what one step changed of one object. Before and After are nil where there was, or is, no manifest.
type Delta struct {
	Key     engine.Key
	Before  *Desired
	After   *Desired
	Configs Configs // what the template of After names, at this step
}

// Rendered is a step with what it changed.
type Rendered struct {
	Step        Step
	Deltas      []Delta             // by key
	Invalid     bool                // something it changed did not render
	KindChanged bool                // a root changed its kind
	Unrendered  []manifests.Problem // what kept something of it from being rendered, and is news
}

// Recorded is what steps leave in the ledger, in the order of writing.
type Recorded struct {
	Commits   []state.Commit
	Rows      []state.Row
	Templates []state.Template
	Configs   []state.Config
	Managed   []state.Managed // entries of the inventory whose manifest is gone
	Unmarked  []state.Mark    // that a commit ends
	Unheld    []state.Hold    // that a commit ends
	Cursor    state.Cursor
}

// RecordInput is what recording needs besides the steps.
type RecordInput struct {
	Source  string
	Cursor  state.Cursor
	Steps   []Rendered
	Waiting func(engine.Key) (state.Row, bool)     // the row that waits to be handed over, from the ledger
	Managed func(engine.Key) (state.Managed, bool) // the inventory
	Marks   []state.Mark                           // of the source's Deployments
	Holds   []state.Hold                           // of the source's Deployments
	Now     time.Time
}

// Record turns steps into ledger values: one row for each Deployment that a step changed, a commit for each step,
// and the cursor at the last. A row that a later step overtakes before it ran is superseded here. Pure; row IDs
// follow from the source, the step's number and the object, so recording again after a crash gives the same ones.
func Record(in RecordInput) Recorded {
	rec := Recorded{Cursor: in.Cursor}
	rec.Cursor.Source = in.Source
	at := map[engine.Key]int{} // index in rec.Rows of the row that waits
	for _, st := range in.Steps {
		rec.Cursor.Step++
		c := state.Commit{
			Source: in.Source, Step: rec.Cursor.Step, Hash: st.Step.Hash, Commits: st.Step.Commits, Author: st.Step.Author,
			CommittedAt: st.Step.CommittedAt, Subject: st.Step.Subject, Invalid: st.Invalid, RecordedAt: in.Now,
		}
		for _, d := range st.Deltas {
			rec.removal(in, d, st.Step.Hash)
			if d.Key.Kind != state.KindDeployment {
				c.Objects++
				continue
			}
			r, ok := newRow(in, rec.Cursor.Step, st.Step, d)
			if !ok {
				continue
			}
			rec.overtake(in, at, r)
			rec.Rows = append(rec.Rows, r)
			at[d.Key] = len(rec.Rows) - 1
			c.Rows = append(c.Rows, r.ID)
			if d.After != nil {
				dep := d.After.Object().(*appsv1.Deployment)
				rec.Templates = append(rec.Templates, state.Template{Hash: d.After.Template, Template: *dep.Spec.Template.DeepCopy()})
				rec.Configs = append(rec.Configs, d.Configs.Contents...)
			}
		}
		rec.release(in, st.Step)
		slices.Sort(c.Rows)
		rec.Commits = append(rec.Commits, c)
		rec.Cursor.Commit = st.Step.Hash
		switch {
		case st.Step.Kind == StepRewritten || st.Step.Kind == StepUnrelated:
			rec.Cursor.PruneWaits = string(DetailHistoryRewritten)
		case st.KindChanged:
			rec.Cursor.PruneWaits = string(DetailRootKindChanged)
		}
	}
	return rec
}

// release ends the marks that a step names, or whose rollback it reverts, and the rollback holds that it names. A pin ends
// by a person's release only.
func (rec *Recorded) release(in RecordInput, st Step) {
	for _, m := range in.Marks {
		reverted := m.Commit != "" && slices.Contains(st.Reverts, m.Commit)
		known := slices.ContainsFunc(rec.Unmarked, func(o state.Mark) bool { return o.ID == m.ID && o.Name == m.Name && o.Namespace == m.Namespace })
		if (reverted || slices.Contains(st.Releases, m.ID)) && !known {
			rec.Unmarked = append(rec.Unmarked, m)
		}
	}
	for _, h := range in.Holds {
		if !h.Manual && slices.Contains(st.Releases, h.ID) && !slices.Contains(rec.Unheld, h) {
			rec.Unheld = append(rec.Unheld, h)
		}
	}
}

// removal marks an inventory entry whose manifest a step removed, or brought back.
func (rec *Recorded) removal(in RecordInput, d Delta, hash string) {
	m, ok := in.Managed(d.Key)
	if !ok {
		return
	}
	if d.After != nil {
		hash = ""
	}
	rec.Managed = slices.DeleteFunc(rec.Managed, func(o state.Managed) bool { return o.Key == d.Key })
	if m.RemovedBy != hash {
		m.RemovedBy = hash
		rec.Managed = append(rec.Managed, m)
	}
}

// overtake supersedes the row that waited for the same Deployment.
func (rec *Recorded) overtake(in RecordInput, at map[engine.Key]int, by state.Row) {
	key := engine.Key{Kind: state.KindDeployment, Namespace: by.Namespace, Name: by.Name}
	i, here := at[key]
	var old state.Row
	if here {
		old = rec.Rows[i]
	} else {
		var ok bool
		if old, ok = in.Waiting(key); !ok || old.ID == by.ID {
			return
		}
	}
	old, ok := ledger.Become(old, ledger.Superseded)
	if !ok {
		return
	}
	old.SupersededBy, old.EndedAt, old.Reason, old.Message = by.ID, in.Now, "", ""
	for j := range rec.Rows { // of several overtaken in one go, all name the one that is handed over
		if rec.Rows[j].SupersededBy == old.ID {
			rec.Rows[j].SupersededBy = by.ID
		}
	}
	if here {
		rec.Rows[i] = old
		return
	}
	rec.Rows = append(rec.Rows, old)
}

// newRow is the row that a step gives a Deployment; none when nothing of the object itself changed.
func newRow(in RecordInput, number int64, st Step, d Delta) (state.Row, bool) {
	if d.Before != nil && d.After != nil && d.Before.Manifest.Digest == d.After.Manifest.Digest {
		return state.Row{}, false
	}
	where := d.After
	if where == nil {
		where = d.Before
	}
	if where == nil {
		return state.Row{}, false
	}
	r := state.Row{
		ID:        ledger.ID(in.Source, strconv.FormatInt(number, 10), st.Hash, d.Key.Namespace, d.Key.Name),
		Namespace: d.Key.Namespace, Name: d.Key.Name, Source: in.Source, App: where.Manifest.App, Root: where.Manifest.Root,
		Commit: st.Hash, Author: st.Author, CommittedAt: st.CommittedAt, Subject: st.Subject, ChangeCause: cause(st, d),
		Outcome: ledger.Pending, Open: true, RecordedAt: in.Now,
	}
	if d.After != nil {
		r.Template, r.Bare, r.Images, r.Configs = d.After.Template, bareOf(d.After), Images(d.After.Object()), d.Configs.Refs
	}
	return r, true
}

// cause is the change-cause of a step for a Deployment: the manifest's when the same commit changed it, else the
// commit's.
func cause(st Step, d Delta) string {
	if d.After == nil {
		return st.Cause
	}
	written := d.After.Object().GetAnnotations()[engine.ChangeCause]
	before := ""
	if d.Before != nil {
		before = d.Before.Object().GetAnnotations()[engine.ChangeCause]
	}
	if written != "" && written != before {
		return written
	}
	return st.Cause
}

// Writes are the ledger writes of what was recorded.
func (rec Recorded) Writes() []state.Write {
	ws := configWrites(rec.Configs)
	for _, t := range rec.Templates {
		ws = append(ws, state.PutTemplate(t))
	}
	for _, r := range rec.Rows {
		ws = append(ws, state.PutRow(r))
	}
	for _, c := range rec.Commits {
		ws = append(ws, state.PutCommit(c))
	}
	for _, m := range rec.Managed {
		ws = append(ws, state.PutManaged(m))
	}
	for _, m := range rec.Unmarked {
		ws = append(ws, state.RemoveMark(m.Namespace, m.Name, m.ID))
	}
	for _, h := range rec.Unheld {
		ws = append(ws, state.RemoveHold(h.Namespace, h.Name), state.RemoveGitChange(h.Namespace, h.Name, FieldTemplate))
	}
	return append(ws, state.PutCursor(rec.Cursor))
}
