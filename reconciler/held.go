package reconciler

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/belay-dev/belay/manifests"
	"github.com/belay-dev/belay/reconciler/engine"
	"github.com/belay-dev/belay/reconciler/ledger"
	"github.com/belay-dev/belay/reconciler/rollback"
	"github.com/belay-dev/belay/state"
)

// resolve gives holds and overrides their say: in the subject that comes back Hold is the one in force, and Desired is
// what the Deployment should be now. What that changes of the ledger goes with the subject's action.
func (p *planner) resolve(s Subject, facts SourceFacts) Subject {
	if s.Hold != nil {
		s.Hold = p.numbered(s)
	}
	if !facts.Suspended {
		s = p.judge(s)
	}
	base := p.base(s, facts)
	if base == nil {
		return s
	}
	t := templateOf(base.Object(), base.Template, base.Bare)
	i := target(s.Rows)
	switch {
	case s.Hold != nil && s.Held != nil:
		t = podTemplate{s.Held, s.Hold.Template, rollback.Bare(s.Held)}
	case i >= 0 && s.Rows[i].Operation == rollback.OperationRestart && s.Live.Object != nil:
		t = liveTemplate(s)
	}
	s.Desired = p.override(s, base, t)
	return s
}

// numbered is the hold with the revision number that its rollout gave what is held.
func (p *planner) numbered(s Subject) *state.Hold {
	for _, r := range s.Rows {
		if ledger.RowOf(r, s.Hold.ID) && r.Revision > 0 && r.Revision != s.Hold.Revision {
			h := *s.Hold
			h.Revision = r.Revision
			p.holds.Hold = &h
			return &h
		}
	}
	return s.Hold
}

// podTemplate is a pod template with its digests: the whole one's, and without restartedAt.
type podTemplate struct {
	spec        *corev1.PodTemplateSpec
	exact, bare string
}

func templateOf(o state.Object, exact, bare string) podTemplate {
	return podTemplate{&o.(*appsv1.Deployment).Spec.Template, exact, bare}
}

func liveTemplate(s Subject) podTemplate {
	d := s.Live.Deployment()
	return podTemplate{&d.Spec.Template, s.Live.Rollout.Template, rollback.Bare(&d.Spec.Template)}
}

// base is what everything but the pod template is taken from: Git, or what runs, or ran, where Git has no say.
func (p *planner) base(s Subject, facts SourceFacts) *Desired {
	live := s.Live.Deployment()
	switch {
	case s.Desired != nil && (!facts.Suspended || live == nil):
		return s.Desired
	case live != nil && s.Managed != nil:
		t := liveTemplate(s)
		return &Desired{
			Manifest: manifests.Object{Object: live}, Template: t.exact, Bare: t.bare, Source: s.Managed.Source, Commit: s.Managed.Commit, Inventory: s.Managed,
		}
	case s.Departed != nil:
		d := s.Departed
		return &Desired{Manifest: manifests.Object{Object: &d.Object}, Source: d.Managed.Source, Commit: d.Managed.Commit, Inventory: &d.Managed}
	}
	return nil
}

// judge ends a hold whose time has come, and makes one where a bad change is wanted again.
func (p *planner) judge(s Subject) Subject {
	var git *corev1.PodTemplateSpec
	var wanted, held string
	if s.Desired != nil {
		git, wanted = templateOf(s.Desired.Object(), "", "").spec, s.Desired.Bare
	}
	if s.Held != nil {
		held = rollback.Bare(s.Held)
	}
	p.verdict = rollback.Judge(s.Hold, held, git, wanted, s.Marks, p.in.Now)
	switch p.verdict.Standing {
	case rollback.Clean, rollback.Expired:
		if i := target(s.Rows); i >= 0 && s.Rows[i].Operation != "" {
			break // it is handed over first
		}
		p.holds.Ended, p.holds.Hold = true, nil
		if i := target(s.Rows); i >= 0 && wanted == held {
			p.attribute(s, *s.Hold, s.Rows[i].Commit)
		}
		p.say(false, ReasonHoldEnded, holdEnded(*s.Hold, wanted == held))
		s.Hold, s.Held = nil, nil
	case rollback.Kept:
		h := *s.Hold
		h.Manual, h.Until, h.Wanted = false, time.Time{}, ""
		s.Hold, p.holds.Hold = &h, &h
		p.verdict.Standing = rollback.Bad
		p.say(true, ReasonHoldKept, "the pin's time is over, but Git wants what is bad: "+p.verdict.Message())
	case rollback.Reappeared:
		s = p.reappeared(s)
	case rollback.Free, rollback.Pinned, rollback.Removed, rollback.Unchanged, rollback.Bad:
	}
	return s
}

func holdEnded(h state.Hold, same bool) string {
	how := "Git wants another pod template"
	if same {
		how = "Git wants the held pod template"
	}
	return fmt.Sprintf("Hold %s ended: %s", h.ID, how)
}

// reappeared holds what runs, because Git wants what was rolled back before.
func (p *planner) reappeared(s Subject) Subject {
	live := s.Live.Deployment()
	if live == nil || s.Live.Rollout.Template == s.Desired.Template {
		return s
	}
	t := liveTemplate(s)
	if t.bare == s.Desired.Bare {
		return s
	}
	h := state.Hold{
		Namespace: s.Key.Namespace, Name: s.Key.Name, Template: t.exact, Revision: s.Live.Rollout.Revision,
		Reason: p.verdict.Message(), By: byBelay, Since: p.in.Now, Door: string(rollback.DoorAutomatic),
	}
	var row string
	if i := target(s.Rows); i >= 0 {
		row = s.Rows[i].ID
	}
	if i := current(s.Rows, s.Live); i >= 0 {
		h.Commit, h.Row = live.Annotations[engine.AnnotationCommit], s.Rows[i].ID
	}
	h.ID = rollback.NewID(p.in.Now, s.Key.Namespace, s.Key.Name, row, s.Desired.Bare)
	s.Hold, s.Held, p.holds.Hold = &h, t.spec, &h
	p.verdict.Standing = rollback.Bad
	p.say(true, ReasonBadChangeReappeared, p.verdict.Message())
	return s
}

// byBelay is who does what nobody asked for.
const byBelay = "belay"

// fill gives the row of a rollback the commit that brought Git to the same template: both are one revision.
func (p *planner) fill(s Subject, c state.Row) {
	h := current(s.Rows, s.Live)
	if h < 0 || c.Commit == "" || s.Rows[h].Operation != rollback.OperationRollback || s.Rows[h].Commit != "" {
		return
	}
	r := s.Rows[h]
	r.Commit, r.Author, r.CommittedAt, r.Subject = c.Commit, c.Author, c.CommittedAt, c.Subject
	r.ChangeCause = c.ChangeCause
	p.filled = []state.Row{r}
	for _, m := range s.Marks {
		if ledger.RowOf(r, m.ID) && m.Commit == "" {
			m.Commit = r.Commit
			p.holds.Marks = append(p.holds.Marks, m)
		}
	}
}

// attribute names in the mark of a hold that had no rollout the commit that brought Git to the held template: fill sees to
// the others.
func (p *planner) attribute(s Subject, h state.Hold, commit string) {
	if slices.ContainsFunc(s.Rows, func(r state.Row) bool { return ledger.RowOf(r, h.ID) }) {
		return
	}
	for _, m := range s.Marks {
		if m.ID == h.ID && m.Commit == "" && commit != "" {
			m.Commit = commit
			p.holds.Marks = append(p.holds.Marks, m)
		}
	}
}

// operation carries out what a person asked for: it waits for nothing.
func (p *planner) operation(s Subject, i int) {
	reason := ReasonAsked
	if s.Live.Object != nil && s.Live.Rollout.Template == s.Desired.Template {
		p.noRollout(s, i)
		return
	}
	if w := refusal(s, engine.Change{Key: s.Key, Desired: s.Desired.Object(), Template: true, KeepReplicas: s.Desired.KeepReplicas}); w != nil {
		p.hold(*w)
		return
	}
	p.rollout(s, i, reason)
}

// keep leaves the pod template of a held Deployment as it is held, applies the rest, and says what is held off.
func (p *planner) keep(s Subject, i int) {
	var rows []state.Row
	switch {
	case s.Hold != nil:
		rows = p.holdOff(s, i)
	case i >= 0:
		p.hold(Withheld{Key: s.Key, Reason: ReasonSuspended})
	}
	held := s.Hold != nil && s.Desired != nil
	switch {
	case s.Desired == nil, s.Live.Object == nil && !held:
	case s.Live.Object == nil:
		p.missing(s)
	case held && s.Live.Rollout.Template != s.Desired.Template:
		s.Rows = append(replace(s.Rows, rows), p.again(s, ReasonHeldBack))
		p.rollout(s, len(s.Rows)-1, ReasonHeldBack)
	case p.verdict.Standing == rollback.Pinned && len(rows) > 0 && sameBare(rows[0], s.Desired):
		p.noRollout(s, i) // the pinned template is what Git wants
	default:
		p.applyRest(s, ReasonSpecChanged, rows)
	}
}

// holdOff says what a hold keeps off. It gives the row that waits behind it, if that is news.
func (p *planner) holdOff(s Subject, i int) []state.Row {
	w := p.withheld(s)
	var rows []state.Row
	if i >= 0 {
		w.Row = s.Rows[i].ID
		if r, ok := heldRow(s.Rows[i], w); ok {
			rows = append(rows, r)
			if w.Detail == DetailTainted && len(p.events) == 0 {
				p.say(true, ReasonBadChangeReappeared, p.verdict.Message())
			}
		}
	}
	p.hold(w)
	return rows
}

// sameBare reports whether a row's template is the one that a Deployment has, restartedAt aside.
func sameBare(r state.Row, d *Desired) bool { return cmp.Or(r.Bare, r.Template) == d.Bare }

// heldRow is a row that is held, with the reason, and whether that is news.
func heldRow(r state.Row, w Withheld) (state.Row, bool) {
	next, ok := ledger.Become(r, ledger.Held)
	if !ok && r.Outcome != ledger.Held {
		return r, false
	}
	next.Reason, next.Message = string(w.Detail), w.Message
	return next, !equalRows(next, r)
}

// standings are the words of a plan for why a hold keeps something off.
var standings = map[rollback.Standing]Reason{
	rollback.Pinned: DetailPinned, rollback.Removed: DetailRemoved, rollback.Unchanged: DetailRolledBack, rollback.Bad: DetailTainted,
}

// withheld says what a hold keeps off.
func (p *planner) withheld(s Subject) Withheld {
	h := *s.Hold
	w := Withheld{Key: s.Key, Reason: ReasonHeld, Detail: cmp.Or(standings[p.verdict.Standing], DetailRolledBack), Message: HoldMessage(h), Until: h.Until}
	switch m := p.verdict.Message(); m {
	case "":
	case h.Reason: // it is held for that alone
		w.Message += "; Git wants it"
	default:
		w.Message += "; Git wants what is bad: " + m
	}
	return w
}

// HoldMessage says at what, by whom and why a Deployment is held.
func HoldMessage(h state.Hold) string {
	s := "held"
	if h.Revision > 0 {
		s += fmt.Sprintf(" at revision %d", h.Revision)
	}
	if h.Commit != "" {
		s += " (" + short(h.Commit) + ")"
	}
	if h.By != "" {
		s += " by " + h.By
	}
	if h.Reason != "" {
		s += fmt.Sprintf(": %q", h.Reason)
	}
	return s
}

// condition is what the condition of the Deployment says.
func condition(s Subject) *engine.Held {
	if s.Hold == nil {
		return &engine.Held{}
	}
	reason := "RollbackHold"
	if s.Hold.Manual {
		reason = "ManualHold"
	}
	return &engine.Held{Reason: reason, Message: HoldMessage(*s.Hold), Since: s.Hold.Since}
}

// backToGit rolls out what Git wants, under a row of its own, once nothing holds it off any more.
func (p *planner) backToGit(s Subject, running state.Row) {
	var of state.Row
	for _, r := range s.Rows {
		if r.Operation == "" && r.Commit != "" && (r.Template == s.Desired.Template || r.Commit == s.Desired.Commit) {
			of = r
		}
	}
	r := state.Row{
		ID: ledger.ID(running.ID, "git", s.Desired.Template), Namespace: s.Key.Namespace, Name: s.Key.Name,
		Source: s.Desired.Source, App: s.Desired.Manifest.App, Root: s.Desired.Manifest.Root,
		Commit: cmp.Or(of.Commit, s.Desired.Commit), Author: of.Author, CommittedAt: of.CommittedAt, Subject: of.Subject, ChangeCause: of.ChangeCause,
		Template: s.Desired.Template, Bare: bareOf(s.Desired), Images: Images(s.Desired.Object()),
		Outcome: ledger.Pending, Open: true, RecordedAt: p.in.Now,
	}
	s.Rows = append(slices.Clone(s.Rows), r)
	p.newTemplate(s, len(s.Rows)-1)
}

// bareOf is the digest that a row keeps of its template without restartedAt: only where it is another one.
func bareOf(d *Desired) string {
	if d.Bare == d.Template {
		return ""
	}
	return d.Bare
}
