package reconciler

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/belay-dev/belay/reconciler/engine"
	"github.com/belay-dev/belay/state"
)

// failingCommit is how many failed Deployments of one commit stop the rest of it.
const failingCommit = 3

// target is the index of the newest row that waits to be handed over, or to be pruned; -1 when none does.
func target(rows []state.Row) int {
	for i := len(rows) - 1; i >= 0; i-- {
		if rows[i].Open && rows[i].StartedAt.IsZero() {
			return i
		}
	}
	return -1
}

// current is the index of the newest row that was handed to a rollout of this Deployment; -1 when none was.
func current(rows []state.Row, live engine.Live) int {
	d := live.Deployment()
	for i := len(rows) - 1; i >= 0; i-- {
		r := rows[i]
		if !r.StartedAt.IsZero() && r.Template != "" && (r.UID == "" || d == nil || r.UID == d.UID) {
			return i
		}
	}
	return -1
}

// observe moves the row that was handed over last to where its rollout stands. It gives back the rows that
// change: that one, and older ones that learn the Deployment's UID with it.
func observe(rows []state.Row, live engine.Live, now time.Time) []state.Row {
	i := current(rows, live)
	d := live.Deployment()
	if i < 0 || d == nil || rows[i].Template != live.Rollout.Template {
		return nil
	}
	r := rows[i]
	r.UID = d.UID
	if live.Rollout.Revision > 0 {
		r.Revision, r.ReplicaSet = live.Rollout.Revision, live.Rollout.ReplicaSet
	}
	if r.Open || r.Outcome == Failed {
		if next, ok := become(r, outcomeOf(live.Rollout.Phase, r.Outcome)); ok {
			r = next
			if !r.Open {
				r.EndedAt = now
			}
		}
		r.Reason, r.Message = "", ""
		if r.Outcome == Failed || r.Outcome == Paused {
			r.Reason, r.Message = live.Rollout.Reason, live.Rollout.Message
		}
	}
	var out []state.Row
	for _, old := range rows[:i] {
		if old.UID == "" {
			old.UID = d.UID
			out = append(out, old)
		}
	}
	if !equalRows(r, rows[i]) {
		out = append(out, r)
	}
	return out
}

func equalRows(a, b state.Row) bool { return reflect.DeepEqual(a, b) }

func outcomeOf(p engine.Phase, now state.Outcome) state.Outcome {
	switch p {
	case engine.PhaseComplete:
		return Complete
	case engine.PhaseFailed:
		return Failed
	case engine.PhasePaused:
		return Paused
	case engine.PhasePending, engine.PhaseProgressing:
		return Progressing
	case engine.PhaseNone:
	}
	return now
}

// replace returns rows with the changed ones in their places.
func replace(rows, changed []state.Row) []state.Row {
	out := slices.Clone(rows)
	for i := range out {
		for _, c := range changed {
			if c.ID == out[i].ID {
				out[i] = c
			}
		}
	}
	return out
}

// deployment plans a Deployment that Git wants.
func (p *planner) deployment(s Subject) {
	if s.Live.Object != nil {
		if seen := observe(s.Rows, s.Live, p.in.Now); len(seen) > 0 {
			p.act(Action{Kind: ActionRecord, Reason: ReasonObserved, Key: s.Key, Rows: seen})
			s.Rows = replace(s.Rows, seen)
		}
	}
	facts := p.in.Sources[s.Desired.Source]
	if facts.Suspended {
		if target(s.Rows) >= 0 {
			p.hold(Withheld{Key: s.Key, Reason: ReasonSuspended})
		}
		return
	}
	switch i := target(s.Rows); {
	case s.Live.Object == nil && i < 0:
		p.missing(s)
	case i < 0:
		p.settled(s, facts)
	case s.Live.Object == nil:
		p.first(s, i)
	case p.refused(s, i):
	case s.Rows[i].Template == s.Live.Rollout.Template:
		p.noRollout(s, i)
	default:
		p.newTemplate(s, i)
	}
}

// missing brings back a Deployment that Git wants, that ran, and that is gone: the newest template that was
// handed over, under a row of its own.
func (p *planner) missing(s Subject) {
	i := current(s.Rows, s.Live)
	if i < 0 {
		return // nothing was recorded yet; the commit's row comes first
	}
	r := s.Rows[i]
	again := state.Row{
		ID: RowID(r.ID, "missing", string(r.UID)), Namespace: r.Namespace, Name: r.Name,
		Source: r.Source, App: r.App, Root: r.Root, Commit: r.Commit, Author: r.Author, CommittedAt: r.CommittedAt,
		Subject: r.Subject, ChangeCause: r.ChangeCause, Template: s.Desired.Template, Images: Images(s.Desired.Object()),
		Outcome: Pending, Open: true, Reason: string(ReasonMissing), RecordedAt: p.in.Now,
	}
	s.Rows = append(slices.Clone(s.Rows), again)
	p.rollout(s, len(s.Rows)-1, ReasonMissing)
}

// settled applies the fields beside the template of a Deployment that no row waits for.
func (p *planner) settled(s Subject, facts SourceFacts) {
	i := current(s.Rows, s.Live)
	if i >= 0 && s.Desired.Template != s.Live.Rollout.Template && s.Rows[i].Template == s.Live.Rollout.Template {
		opening, closed := facts.closed(s.Desired.Manifest.App)
		switch {
		case !facts.AcceptRender:
			p.hold(Withheld{Key: s.Key, Row: s.Rows[i].ID, Reason: ReasonRenderChanged,
				Message: "the same commit renders another pod template than the one that ran; belay sync --accept-render rolls it out"})
		case closed:
			p.hold(Withheld{Key: s.Key, Row: s.Rows[i].ID, Reason: ReasonRenderChanged, Message: opening.message()})
		default:
			r := s.Rows[i]
			r.ID = RowID(r.ID, "render", s.Desired.Template)
			r.Number, r.Revision, r.ReplicaSet, r.StartedAt, r.EndedAt = 0, 0, "", time.Time{}, time.Time{}
			r.SupersededBy, r.RolledBackBy, r.Template, r.Images = "", "", s.Desired.Template, Images(s.Desired.Object())
			r.Outcome, r.Open, r.RecordedAt, r.Override = Pending, true, p.in.Now, ""
			if opening.Closed {
				r.Override = facts.Override
			}
			s.Rows = append(slices.Clone(s.Rows), r)
			p.rollout(s, len(s.Rows)-1, ReasonRenderAccepted)
			return
		}
	}
	p.applyRest(s, ReasonSpecChanged, nil)
}

// applyRest applies what is not the template, with the rows given; a change of nothing but rows or inventory is
// recorded alone.
func (p *planner) applyRest(s Subject, reason Reason, rows []state.Row) {
	c := engine.Change{Key: s.Key, Desired: s.Desired.Object(), KeepReplicas: s.Desired.KeepReplicas}
	m := managed(s)
	switch {
	case !engine.Same(s.Live.Object, c):
		if w := refusal(s, c); w != nil {
			p.hold(*w)
			return
		}
		p.act(Action{Kind: ActionApply, Reason: reason, Key: s.Key, Change: c, Rows: rows, Managed: m})
	case len(rows) > 0 || s.Managed == nil || *s.Managed != *m:
		p.act(Action{Kind: ActionRecord, Reason: reason, Key: s.Key, Rows: rows, Managed: m})
	}
}

// noRollout closes the row of a commit whose template runs already.
func (p *planner) noRollout(s Subject, i int) {
	r, _ := become(s.Rows[i], Applied)
	r.UID, r.EndedAt, r.Reason, r.Message = s.Live.Object.GetUID(), p.in.Now, "", ""
	reason := ReasonTemplateRunning
	if !engine.Same(s.Live.Object, engine.Change{Desired: s.Desired.Object(), KeepReplicas: s.Desired.KeepReplicas}) {
		reason = ReasonSpecChanged
	}
	p.applyRest(s, reason, []state.Row{r})
}

const selectorMessage = "spec.selector is immutable; delete the Deployment's manifest in one commit and add it again in the next, or give it another name"

// refused closes the row of a commit that Kubernetes would not accept over what runs: a changed selector above all.
func (p *planner) refused(s Subject, i int) bool {
	w := refusal(s, engine.Change{Key: s.Key, Desired: s.Desired.Object(), Template: true, KeepReplicas: s.Desired.KeepReplicas})
	if w == nil {
		return false
	}
	r, _ := become(s.Rows[i], Invalid)
	r.EndedAt, r.Reason, r.Message = p.in.Now, string(w.Reason), w.Message
	p.act(Action{Kind: ActionRecord, Reason: w.Reason, Key: s.Key, Row: r.ID, Rows: []state.Row{r}})
	w.Row = r.ID
	p.hold(*w)
	return true
}

// newTemplate hands a template over when nothing stops it: an open window, a commit that is not failing, and a free slot.
// A template that completed before waits for none of them.
func (p *planner) newTemplate(s Subject, i int) {
	reason := ReasonNewTemplate
	if ranBefore(s.Rows, i) >= 0 {
		reason = ReasonBackToTemplate
	}
	if Stable(s.Rows, s.Rows[i].Template) {
		p.rollout(s, i, reason)
		return
	}
	was := s.Rows[i]
	if s = p.admit(s, i); s.Rows == nil {
		return
	}
	if !s.Rolling && p.in.MaxRollouts > 0 && p.rolling >= p.in.MaxRollouts {
		p.wait(s, i, was, ReasonSlot, "as many rollouts as maxRollouts allows are under way")
		return
	}
	if !s.Rolling { // one that overtakes its own keeps the slot
		p.rolling++
	}
	p.rollout(s, i, reason)
}

// first hands the first template of a Deployment over.
func (p *planner) first(s Subject, i int) {
	if !Stable(s.Rows, s.Rows[i].Template) {
		if s = p.admit(s, i); s.Rows == nil {
			return
		}
	}
	p.rollout(s, i, ReasonFirstRollout)
}

// admit lets a row through when a window and its commit do, or a person did: then the row says why. Otherwise the row
// waits, and the subject that comes back has no rows.
func (p *planner) admit(s Subject, i int) Subject {
	r := s.Rows[i]
	facts := p.in.Sources[s.Desired.Source]
	opening := facts.Windows[s.Desired.Manifest.App]
	failing := s.Live.Object != nil && p.in.Failed[r.Commit] >= failingCommit
	if !opening.Closed && !failing {
		return s
	}
	why := cmp.Or(r.Override, facts.Override)
	switch {
	case why != "":
		s.Rows = slices.Clone(s.Rows)
		s.Rows[i].Override = why
		return s
	case opening.Closed:
		n := len(p.out.Held)
		p.wait(s, i, r, ReasonWindow, opening.message())
		p.out.Held[n].Until = opening.Until
	default:
		p.wait(s, i, r, ReasonCommitFailing,
			"three Deployments of this commit failed; a newer commit for this Deployment goes on, or belay sync --override-window")
	}
	return Subject{}
}

// wait keeps a row back, and applies the rest of the spec meanwhile; was is the row as it is recorded.
func (p *planner) wait(s Subject, i int, was state.Row, reason Reason, message string) {
	p.hold(Withheld{Key: s.Key, Row: s.Rows[i].ID, Reason: reason, Message: message})
	r, _ := become(s.Rows[i], Waiting)
	r.Reason, r.Message = string(reason), message
	var rows []state.Row
	if !equalRows(was, r) {
		rows = append(rows, r)
	}
	switch {
	case s.Live.Object != nil:
		p.applyRest(s, ReasonSpecChanged, rows)
	case len(rows) > 0:
		p.act(Action{Kind: ActionRecord, Reason: reason, Key: s.Key, Rows: rows})
	}
}

// rollout hands row i's template over: its annotations go with it, and what it overtakes or undoes is recorded.
func (p *planner) rollout(s Subject, i int, reason Reason) {
	r, ok := become(s.Rows[i], Progressing)
	if !ok {
		return
	}
	r.StartedAt, r.Reason, r.Message = p.in.Now, "", ""
	r.Template, r.Images = s.Desired.Template, Images(s.Desired.Object()) // an upgrade may render it anew meanwhile
	r.UID = ""
	if s.Live.Object != nil {
		r.UID = s.Live.Object.GetUID()
	}
	rows := append(undone(s, i, p.in.Now), r)
	p.act(Action{
		Kind: ActionRollout, Reason: reason, Key: s.Key, Row: r.ID, Rows: rows, Managed: managed(s),
		Change: engine.Change{
			Key: s.Key, Desired: annotate(s.Desired.Object().(*appsv1.Deployment), r), Template: true,
			KeepReplicas: s.Desired.KeepReplicas,
		},
	})
}

// annotate returns the Deployment with the annotations that name a row's commit.
func annotate(d *appsv1.Deployment, r state.Row) *appsv1.Deployment {
	d = d.DeepCopy()
	a := maps.Clone(d.Annotations)
	if a == nil {
		a = map[string]string{}
	}
	set := func(key, value string) {
		if value == "" {
			delete(a, key)
			return
		}
		a[key] = value
	}
	set(engine.ChangeCause, r.ChangeCause)
	set(engine.AnnotationCommit, r.Commit)
	set(engine.AnnotationAuthor, r.Author)
	if !r.CommittedAt.IsZero() {
		set(engine.AnnotationCommittedAt, r.CommittedAt.UTC().Format(time.RFC3339))
	}
	d.Annotations = a
	return d
}

// ranBefore is the index of the newest row before the running one that was handed over with row i's template; -1
// when it never ran.
func ranBefore(rows []state.Row, i int) int {
	for j := i - 1; j >= 0; j-- {
		if !rows[j].StartedAt.IsZero() && rows[j].Template == rows[i].Template {
			return j
		}
	}
	return -1
}

// undone moves on the rows that handing row i over overtakes. Going back to a template that ran before rolls back
// everything that ran after it; otherwise what is still open is superseded.
func undone(s Subject, i int, now time.Time) []state.Row {
	back := ranBefore(s.Rows, i)
	var out []state.Row
	for j, r := range s.Rows[:i] {
		to := Superseded
		if back >= 0 && j > back && !r.StartedAt.IsZero() {
			to = RolledBack
		} else if !r.Open {
			continue
		}
		next, ok := become(r, to)
		if !ok {
			continue
		}
		if to == RolledBack {
			next.RolledBackBy = s.Rows[i].ID
		} else {
			next.SupersededBy = s.Rows[i].ID
		}
		if next.EndedAt.IsZero() {
			next.EndedAt = now
		}
		next.Reason, next.Message = "", ""
		out = append(out, next)
	}
	return out
}

// Stable reports whether a template completed once; while nothing has completed here, whether it was the head's before
// the first sync.
func Stable(rows []state.Row, template string) bool {
	completed, imported := false, false
	for _, r := range rows {
		if r.Outcome == Complete && r.Template == template {
			return true
		}
		completed = completed || r.Outcome == Complete
		imported = imported || r.Outcome == Imported && r.Template == template
	}
	return imported && !completed
}

// Images lists the images of a Deployment's containers, in their order; nil for anything else.
func Images(o state.Object) []string {
	d, ok := o.(*appsv1.Deployment)
	if !ok || d == nil {
		return nil
	}
	var out []string
	for _, c := range d.Spec.Template.Spec.Containers {
		out = append(out, c.Image)
	}
	return out
}
