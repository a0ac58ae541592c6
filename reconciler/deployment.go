package reconciler

import (
	"cmp"
	"reflect"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/belay-dev/belay/reconciler/engine"
	"github.com/belay-dev/belay/reconciler/ledger"
	"github.com/belay-dev/belay/reconciler/rollback"
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

// current is the index of the row that was handed to a rollout of this Deployment last; -1 when none was. Of several
// at one instant it is the newest that has the live template.
func current(rows []state.Row, live engine.Live) int {
	d := live.Deployment()
	found := -1
	for i, r := range rows {
		switch {
		case r.StartedAt.IsZero() || r.Template == "" || r.UID != "" && d != nil && r.UID != d.UID:
		case found < 0 || r.StartedAt.After(rows[found].StartedAt):
			found = i
		case r.StartedAt.Equal(rows[found].StartedAt) && (r.Template == live.Rollout.Template || rows[found].Template != live.Rollout.Template):
			found = i
		}
	}
	return found
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
	if n := live.Rollout.Revision; n > 0 {
		r.ReplicaSet = live.Rollout.ReplicaSet
		if n != r.Revision && !numbered(rows, n, d.UID) {
			r.Revision = n
		}
	}
	if len(r.Digests) == 0 && len(live.Digests) > 0 {
		r.Digests = live.Digests
	}
	if r.Open || r.Outcome == ledger.Failed {
		r = movedOn(r, live.Rollout, now)
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

// numbered reports whether a row of a Deployment has a revision's number. Where a template comes back before the controller
// saw the one that was handed over in between, it runs on under the number that it has, and that stays the first row's.
func numbered(rows []state.Row, revision int64, uid types.UID) bool {
	return slices.ContainsFunc(rows, func(r state.Row) bool { return r.Revision == revision && (r.UID == uid || r.UID == "") })
}

// movedOn is the row of a rollout that stands so.
func movedOn(r state.Row, at engine.Rollout, now time.Time) state.Row {
	if next, ok := ledger.Become(r, outcomeOf(at.Phase, r.Outcome)); ok {
		r = next
		if !r.Open {
			r.EndedAt = now
		}
	}
	r.Reason, r.Message = "", ""
	if r.Outcome == ledger.Failed || r.Outcome == ledger.Paused {
		r.Reason, r.Message = at.Reason, at.Message
	}
	if r.Outcome == ledger.Failed && r.Reason == deadlineExceeded && r.MissedAt.IsZero() {
		r.MissedAt = r.EndedAt
	}
	return r
}

func equalRows(a, b state.Row) bool { return reflect.DeepEqual(a, b) }

func outcomeOf(p engine.Phase, now state.Outcome) state.Outcome {
	switch p {
	case engine.PhaseComplete:
		return ledger.Complete
	case engine.PhaseFailed:
		return ledger.Failed
	case engine.PhasePaused:
		return ledger.Paused
	case engine.PhasePending, engine.PhaseProgressing:
		return ledger.Progressing
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

// deployment plans a Deployment that Git wants, or that is held.
func (p *planner) deployment(s Subject) {
	start := len(p.out.Actions)
	p.subject = subject{}
	if s.Live.Object != nil {
		if seen := observe(s.Rows, s.Live, p.in.Now); len(seen) > 0 {
			p.act(Action{Kind: ActionRecord, Reason: ReasonObserved, Key: s.Key, Rows: seen})
			s.Rows = replace(s.Rows, seen)
		}
	}
	facts := p.in.Sources[sourceOf(s)]
	s = p.resolve(s, facts)
	switch i := target(s.Rows); {
	case i >= 0 && s.Rows[i].Operation != "" && s.Desired != nil:
		p.operation(s, i)
	case s.Hold != nil || facts.Suspended || s.Desired == nil:
		p.keep(s, i)
	default:
		p.free(s, i, facts)
	}
	p.attach(s.Key, start)
}

// sourceOf is the source that has a say about a Deployment.
func sourceOf(s Subject) string {
	switch {
	case s.Desired != nil:
		return s.Desired.Source
	case s.Managed != nil:
		return s.Managed.Source
	case s.Departed != nil:
		return s.Departed.Managed.Source
	}
	return ""
}

// free plans a Deployment that nothing holds.
func (p *planner) free(s Subject, i int, facts SourceFacts) {
	switch {
	case s.Live.Object == nil && i < 0:
		p.missing(s)
	case i < 0:
		p.suppressed(s)
		p.settled(s, facts)
	case s.Live.Object == nil:
		p.first(s, i)
	case p.refused(s, i):
	case s.Desired.Template == s.Live.Rollout.Template:
		p.noRollout(s, i)
	default:
		p.newTemplate(s, i)
	}
}

// missing brings back a Deployment that Git wants, that ran, and that is gone: the newest template that was
// handed over, under a row of its own.
func (p *planner) missing(s Subject) {
	if current(s.Rows, s.Live) < 0 {
		return // nothing was recorded yet; the commit's row comes first
	}
	s.Rows = append(slices.Clone(s.Rows), p.again(s, ReasonMissing))
	p.rollout(s, len(s.Rows)-1, ReasonMissing)
}

// again is another row for what was handed over last.
func (p *planner) again(s Subject, reason Reason) state.Row {
	r := s.Rows[max(0, current(s.Rows, s.Live))]
	return state.Row{
		ID: ledger.ID(r.ID, strings.ToLower(string(reason)), string(r.UID)), Namespace: r.Namespace, Name: r.Name,
		Source: r.Source, App: r.App, Root: r.Root, Commit: r.Commit, Author: r.Author, CommittedAt: r.CommittedAt,
		Subject: r.Subject, ChangeCause: r.ChangeCause, Template: s.Desired.Template, Bare: bareOf(s.Desired), Images: Images(s.Desired.Object()),
		Operation: r.Operation, Door: r.Door, By: r.By, Why: r.Why,
		Outcome: ledger.Pending, Open: true, Reason: string(reason), RecordedAt: p.in.Now,
	}
}

// suppressed says that a rollout that failed is not rolled back by itself.
func (p *planner) suppressed(s Subject) {
	i := current(s.Rows, s.Live)
	if i < 0 || s.Rows[i].Suppressed == "" || s.Rows[i].Outcome != ledger.Failed {
		return
	}
	why := rollback.Suppression(s.Rows[i].Suppressed)
	p.hold(Withheld{
		Key: s.Key, Row: s.Rows[i].ID, Reason: ReasonAutoRollbackSuppressed, Detail: Reason(why), Message: "not rolled back by itself: " + why.Describe(),
	})
}

// settled applies the fields beside the template of a Deployment that no row waits for.
func (p *planner) settled(s Subject, facts SourceFacts) {
	i := current(s.Rows, s.Live)
	if i >= 0 && s.Desired.Template != s.Live.Rollout.Template && s.Rows[i].Template == s.Live.Rollout.Template {
		opening, closed := facts.closed(s.Desired.Manifest.App)
		switch {
		case s.Rows[i].Operation != "":
			p.backToGit(s, s.Rows[i])
			return
		case !facts.AcceptRender:
			p.hold(Withheld{Key: s.Key, Row: s.Rows[i].ID, Reason: ReasonRenderChanged,
				Message: "the same commit renders another pod template than the one that ran; belay sync --accept-render rolls it out"})
		case closed:
			p.hold(Withheld{Key: s.Key, Row: s.Rows[i].ID, Reason: ReasonRenderChanged, Message: opening.message()})
		default:
			r := s.Rows[i]
			r.ID = ledger.ID(r.ID, "render", s.Desired.Template)
			r.MissedAt, r.Suppressed = time.Time{}, ""
			r.Number, r.Revision, r.ReplicaSet, r.Digests, r.StartedAt, r.EndedAt = 0, 0, "", nil, time.Time{}, time.Time{}
			r.SupersededBy, r.RolledBackBy, r.Template, r.Images = "", "", s.Desired.Template, Images(s.Desired.Object())
			r.Bare = bareOf(s.Desired)
			r.Outcome, r.Open, r.RecordedAt, r.Override = ledger.Pending, true, p.in.Now, ""
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
	c := engine.Change{Key: s.Key, Desired: s.Desired.Object(), KeepReplicas: s.Desired.KeepReplicas, Held: condition(s)}
	if len(p.filled) > 0 { // the annotations that name the commit go with it
		c.Desired, c.Template = annotate(s.Desired.Object().(*appsv1.Deployment), p.filled[0]), true
	}
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
	if s.Hold == nil && s.Rows[i].Operation == "" {
		p.fill(s, s.Rows[i])
	}
	r, _ := ledger.Become(s.Rows[i], ledger.Applied)
	if len(p.filled) > 0 {
		r.Fills = p.filled[0].ID
	}
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
	r, _ := ledger.Become(s.Rows[i], ledger.Invalid)
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
	if ledger.Stable(s.Rows, s.Rows[i].Template) {
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
	if !ledger.Stable(s.Rows, s.Rows[i].Template) {
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
	r, _ := ledger.Become(s.Rows[i], ledger.Waiting)
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

// handOver is when a template is handed over: now, or just after the last one was where somebody set the clock back
// since. What ran last is told by these times.
func handOver(rows []state.Row, now time.Time) time.Time {
	for _, r := range rows {
		if now.Before(r.StartedAt) {
			now = r.StartedAt.Add(time.Nanosecond)
		}
	}
	return now
}

// rollout hands row i's template over: its annotations go with it, and what it overtakes or undoes is recorded.
func (p *planner) rollout(s Subject, i int, reason Reason) {
	r, ok := ledger.Become(s.Rows[i], ledger.Progressing)
	if !ok {
		return
	}
	r.StartedAt, r.Reason, r.Message = handOver(s.Rows, p.in.Now), "", ""
	r.Template, r.Bare, r.Images = s.Desired.Template, bareOf(s.Desired), Images(s.Desired.Object()) // an upgrade may render it anew meanwhile
	r.UID = ""
	if s.Live.Object != nil {
		r.UID = s.Live.Object.GetUID()
	}
	if p.restarted != "" {
		p.holds.Unset = append(p.holds.Unset, p.restarted)
	}
	rows := append(undone(s, i, p.in.Now), r)
	p.act(Action{
		Kind: ActionRollout, Reason: reason, Key: s.Key, Row: r.ID, Rows: rows, Managed: managed(s),
		Change: engine.Change{
			Key: s.Key, Desired: annotate(s.Desired.Object().(*appsv1.Deployment), named(s, r)), Template: true,
			KeepReplicas: s.Desired.KeepReplicas, Held: condition(s),
		},
	})
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
