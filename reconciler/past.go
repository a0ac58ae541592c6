package reconciler

import (
	"maps"
	"slices"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/belay-dev/belay/manifests"
	"github.com/belay-dev/belay/reconciler/engine"
	"github.com/belay-dev/belay/reconciler/ledger"
	"github.com/belay-dev/belay/state"
)

// PastCommit is a commit that was the head before the first sync, as it renders now.
type PastCommit struct {
	Step    Step
	Nth     int64                   // 0: the commit of the first sync, 1: the one before, and so on
	Wanted  map[engine.Key]*Desired // what it declares
	Unknown func(engine.Key) bool   // whether the commit says nothing of a Deployment, because it does not render
}

// Introduced is the oldest commit known to declare the same pod template of a Deployment as all newer ones that were
// looked at. Desired is nil when the commit has no such Deployment.
type Introduced struct {
	Desired *Desired
	Configs Configs // what its template names there
	Step    Step
	Nth     int64
}

// PastInput is everything that taking in a commit before the first sync needs.
type PastInput struct {
	Source string
	First  []state.Row               // of the first sync: only their Deployments have a past
	Seen   map[engine.Key]Introduced // by the commits after it
	Commit PastCommit
	Last   bool // there is no commit before it
	Now    time.Time
}

// Recalled is what a commit before the first sync tells.
type Recalled struct {
	Seen      map[engine.Key]Introduced
	Rows      []state.Row
	Templates []state.Template
	Configs   []Configs // of each row
}

// Recall takes in the commit before those seen so far. Where it declares another pod template than they do, the oldest
// of them introduced theirs: that one gets a row, unless it is the commit of the first sync, which has one. A commit
// that changes no template gets none. Pure; IDs follow from source, commit and Deployment, so that recalling again
// gives the same rows.
func Recall(in PastInput) Recalled {
	out := Recalled{Seen: maps.Clone(in.Seen)}
	if out.Seen == nil {
		out.Seen = map[engine.Key]Introduced{}
	}
	for _, r := range in.First {
		key := rowKey(r)
		if !in.Commit.Unknown(key) {
			d := in.Commit.Wanted[key]
			if was, ok := out.Seen[key]; ok && !sameTemplate(was.Desired, d) {
				out.row(in, r, was)
			}
			out.Seen[key] = Introduced{Desired: d, Configs: in.Commit.configs(d), Step: in.Commit.Step, Nth: in.Commit.Nth}
		}
		if was, ok := out.Seen[key]; ok && in.Last {
			out.row(in, r, was)
		}
	}
	return out
}

// configs is what the template of one of the commit's Deployments names.
func (c PastCommit) configs(d *Desired) Configs {
	if d == nil {
		return Configs{}
	}
	dep := d.Manifest.Object.(*appsv1.Deployment)
	return configsOf(dep.Namespace, &dep.Spec.Template.Spec, func(k engine.Key) (state.Object, bool) {
		if c.Wanted[k] == nil {
			return nil, false
		}
		return c.Wanted[k].Object(), true
	})
}

func sameTemplate(a, b *Desired) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Template == b.Template
}

// row adds the row of the commit that introduced a template, where there is one to make.
func (out *Recalled) row(in PastInput, first state.Row, by Introduced) {
	if by.Desired == nil || by.Nth == 0 {
		return
	}
	m := by.Desired.Manifest
	d := m.Object.(*appsv1.Deployment)
	out.Rows = append(out.Rows, pastRow(state.Row{
		Namespace: first.Namespace, Name: first.Name, UID: first.UID, Source: in.Source, App: m.App, Root: m.Root,
		Template: by.Desired.Template, Bare: bareOf(by.Desired), Images: Images(d), Configs: by.Configs.Refs, RecordedAt: in.Now,
	}, by.Step, by.Nth))
	out.Templates = append(out.Templates, state.Template{Hash: by.Desired.Template, Template: *d.Spec.Template.DeepCopy()})
	out.Configs = append(out.Configs, by.Configs)
}

// pastRow makes a row that of the nth commit before the first sync. Its ID follows from source, commit and Deployment.
func pastRow(r state.Row, st Step, nth int64) state.Row {
	r.ID = ledger.ID(r.Source, "past", strconv.FormatInt(nth, 10), st.Hash, r.Namespace, r.Name)
	r.Commit, r.Author, r.CommittedAt, r.Subject, r.ChangeCause = st.Hash, st.Author, st.CommittedAt, st.Subject, st.Cause
	r.Outcome, r.Past = ledger.Imported, nth
	return r
}

// writes are the ledger writes of what was recalled and is not there yet.
func (out Recalled) writes(known func(id string) (state.Row, bool)) []state.Write {
	var ws []state.Write
	for i, r := range out.Rows {
		if _, ok := known(r.ID); !ok {
			ws = append(append(ws, configWrites(out.Configs[i].Contents)...), state.PutTemplate(out.Templates[i]), state.PutRow(r))
		}
	}
	return ws
}

// pastKinds are what is of interest in a commit before the first sync: Deployments, and what their templates name.
var pastKinds = map[state.Kind]bool{state.KindDeployment: true, state.KindConfigMap: true, state.KindSecret: true}

// pastCommit says what a commit declares, by what changed between it and the cache's commit.
func (f *follower) pastCommit(st Step, nth int64, up manifests.Update) PastCommit {
	c := PastCommit{Step: st, Nth: nth, Wanted: map[engine.Key]*Desired{}}
	for k, d := range f.desired {
		if pastKinds[k.Kind] {
			c.Wanted[k] = d
		}
	}
	broken := maps.Clone(f.stale)
	for _, r := range up.Roots {
		delete(broken, rootID(r.App, r.Path))
		if r.Stale {
			broken[rootID(r.App, r.Path)] = true
		}
		for _, o := range r.Before {
			delete(c.Wanted, keyOf(o.ID))
		}
	}
	for _, r := range up.Roots {
		for _, o := range r.Objects {
			if k := keyOf(o.ID); pastKinds[k.Kind] {
				c.Wanted[k] = f.want(o, st.Hash)
			}
		}
	}
	c.Unknown = func(k engine.Key) bool {
		d := c.Wanted[k]
		if d == nil {
			return len(broken) > 0 // it may be in one of those
		}
		return broken[rootID(d.Manifest.App, d.Manifest.Root)]
	}
	return c
}

// moving reports whether a row will go on by itself, and soon.
func moving(r state.Row) bool {
	return r.Outcome == ledger.Pending && r.Reason == "" || r.Outcome == ledger.Progressing ||
		r.Outcome == ledger.Waiting && r.Reason == string(ReasonSlot)
}

// withTemplate leaves the rows of a first sync that have a past: those of what is declared.
func withTemplate(rows []state.Row) []state.Row {
	return slices.DeleteFunc(rows, func(r state.Row) bool { return r.Template == "" })
}
