package reconciler

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/belay-dev/belay/manifests"
	"github.com/belay-dev/belay/reconciler/engine"
	"github.com/belay-dev/belay/reconciler/ledger"
	"github.com/belay-dev/belay/reconciler/rollback"
	"github.com/belay-dev/belay/state"
)

// Desired is what Git wants of one object, and where it says so.
type Desired struct {
	Manifest     manifests.Object // with its place; its object is shared and never to be modified
	Template     string           // digest of the pod template, for a Deployment
	Bare         string           // the same without its restartedAt
	KeepReplicas bool             // the manifest names no replicas
	Source       string
	Commit       string // the commit that last changed it
	// Inventory is the entry that applying it leaves behind, where that does not follow from the manifest: it is not Git
	// that says what the Deployment should be.
	Inventory *state.Managed
}

// Object is what the manifest declares.
func (d *Desired) Object() state.Object { return d.Manifest.Object }

// Subject is all that is known of one object when it is planned.
type Subject struct {
	Key     engine.Key
	Desired *Desired       // nil: no manifest
	Live    engine.Live    // zero: nothing runs
	Managed *state.Managed // nil: never applied by Belay
	Rows    []state.Row    // of a Deployment, oldest first
	Rolling bool           // its own rollout is one of those that take a slot

	Hold      *state.Hold             // nil: none is in force
	Held      *corev1.PodTemplateSpec // the hold's
	Marks     []state.Mark            // what rollbacks left as bad
	Overrides []state.Override        // what a person set past Git
	Departed  *state.Departed         // what it was when it was removed, for a hold of what does not run

	// Kept is, of a ConfigMap or Secret that is missing, what it was when the template that names it was handed over; nil:
	// no template that is held or kept names it, or nobody knows what it was. ForHold says that one that is held does.
	Kept    state.Object
	ForHold bool
}

// SourceFacts is what a plan must know of a source beyond single objects.
type SourceFacts struct {
	Suspended    bool
	Stale        bool            // some root does not render
	PruneWaits   Reason          // DetailHistoryRewritten or DetailRootKindChanged; empty: none
	PruneAsked   bool            // belay sync --prune
	AcceptRender bool            // belay sync --accept-render
	NoPrune      map[string]bool // apps with prune: false
	AppObjects   map[string]int  // app → objects that Belay manages there
	AppRemoved   map[string]int  // app → managed objects whose manifest is gone
	Windows      map[string]Opening
	Override     string // why a person lets changes through now; empty: nobody does
}

// closed says whether changes of an app may not begin now, and until when.
func (f SourceFacts) closed(app string) (Opening, bool) {
	o := f.Windows[app]
	return o, o.Closed && f.Override == ""
}

// Input is everything a plan is made from.
type Input struct {
	Now         time.Time
	Subjects    []Subject
	Sources     map[string]SourceFacts
	MaxRollouts int                 // at once, 0: no limit
	Rolling     int                 // rollouts that replace running pods now
	Failed      map[string]int      // commit → its Deployments whose rollout failed
	CommitOpen  map[string]bool     // commit → one of its rows is open or failed
	Named       map[engine.Key]bool // ConfigMaps and Secrets that a kept ReplicaSet names
}

// ActionKind is what an action does. The executor switches over all of them.
type ActionKind string

const (
	ActionApply   ActionKind = "apply"   // create or update, pods go on as they are
	ActionRollout ActionKind = "rollout" // hand a template to the rollout
	ActionPrune   ActionKind = "prune"   // delete
	ActionRecord  ActionKind = "record"  // ledger only
)

// Action is one small, idempotent step. Its ledger values are recorded together with the change.
type Action struct {
	Kind    ActionKind
	Reason  Reason
	Key     engine.Key
	Row     string // ID of the row it is about; empty: none
	Change  engine.Change
	Rows    []state.Row    // rows it moves on
	Managed *state.Managed // inventory entry to write
	Forget  bool           // inventory entry to remove
	Holds   Holds          // what it changes of holds, marks and overrides
	Events  []Event        // that tell people what it does
}

// String prints the action as logs and scenarios show it.
func (a Action) String() string {
	s := fmt.Sprintf("%s %s (%s)", a.Kind, a.Key, a.Reason)
	for _, r := range a.Rows {
		s += fmt.Sprintf(" %s=%s", r.ID, r.Outcome)
	}
	return s
}

// Withheld is something wanted and not done.
type Withheld struct {
	Key     engine.Key
	Row     string
	Reason  Reason
	Detail  Reason // of PruneWaits
	Message string
	Line    int       // of the field that is in the way, where it is not the object's own
	Until   time.Time // when it can be done; zero: nobody knows
}

// String prints what is withheld as logs and scenarios show it.
func (w Withheld) String() string {
	s := fmt.Sprintf("held %s (%s", w.Key, w.Reason)
	if w.Detail != "" {
		s += ": " + string(w.Detail)
	}
	return s + ")"
}

// Plan is what to do now, in order, and what is held, by key.
type Plan struct {
	Actions []Action
	Held    []Withheld
}

// rank orders kinds so that what others need comes first.
var rank = map[state.Kind]int{
	state.KindNamespace: 0, state.KindConfigMap: 1, state.KindSecret: 2, state.KindService: 3, state.KindDeployment: 4,
}

// Make plans the next action of every subject: namespaces and configuration first, then Deployments by the age of
// the row that waits, then prunes. Same input, same plan; the input is not modified.
func Make(in Input) Plan {
	p := planner{in: in, rolling: in.Rolling}
	subjects := slices.Clone(in.Subjects)
	slices.SortStableFunc(subjects, func(a, b Subject) int {
		return cmp.Or(cmp.Compare(rank[a.Key.Kind], rank[b.Key.Kind]), cmp.Compare(waitingSince(a), waitingSince(b)),
			compareKeys(a.Key, b.Key))
	})
	var gone []Subject
	for _, s := range subjects {
		switch {
		case s.Key.Kind == state.KindDeployment && (s.Desired != nil || s.Hold != nil):
			p.deployment(s)
		case s.Desired != nil:
			p.object(s)
		case s.Managed != nil || target(s.Rows) >= 0:
			gone = append(gone, s)
		}
	}
	for i := len(gone) - 1; i >= 0; i-- { // what others need goes last
		p.removal(gone[i])
	}
	slices.SortStableFunc(p.out.Held, func(a, b Withheld) int { return compareKeys(a.Key, b.Key) })
	return p.out
}

// refusal says why Kubernetes would not let the live object become what a change makes of it; nil: it would.
func refusal(s Subject, c engine.Change) *Withheld {
	if s.Live.Object == nil {
		return nil
	}
	prev, next := s.Desired.Manifest, s.Desired.Manifest
	prev.Object, next.Object = s.Live.Object, engine.Merge(s.Live.Object, c)
	problems := manifests.ValidateUpdate(prev, next)
	if len(problems) == 0 {
		return nil
	}
	p := problems[0]
	w := &Withheld{Key: s.Key, Reason: ReasonImmutableField, Message: p.Message, Line: p.Line}
	if p.Field != "" {
		w.Message = p.Field + ": " + p.Message
	}
	if p.Reason == manifests.SelectorImmutable {
		w.Reason, w.Message = ReasonSelectorImmutable, selectorMessage
	}
	return w
}

func compareKeys(a, b engine.Key) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

// waitingSince is the number of the row that waits to be handed over; 0 when none does.
func waitingSince(s Subject) int64 {
	if i := target(s.Rows); i >= 0 {
		return s.Rows[i].Number
	}
	return 0
}

type planner struct {
	in      Input
	out     Plan
	rolling int

	subject // of the Deployment that is being planned
}

// subject is what planning one Deployment leaves for its action.
type subject struct {
	verdict   rollback.Verdict
	holds     Holds
	events    []Event
	filled    []state.Row // rows that a commit fills
	restarted string      // override that ends when a template is handed over
}

func (p *planner) act(a Action)    { p.out.Actions = append(p.out.Actions, a) }
func (p *planner) hold(w Withheld) { p.out.Held = append(p.out.Held, w) }

// say tells people of what the subject's action does.
func (p *planner) say(warning bool, reason Reason, message string) {
	p.events = append(p.events, Event{Warning: warning, Reason: reason, Message: message})
}

// attach gives what planning a subject left to the last of its actions: those from start on. There is one for it alone
// when there is none.
func (p *planner) attach(k engine.Key, start int) {
	if p.holds.empty() && len(p.filled)+len(p.events) == 0 {
		return
	}
	if len(p.out.Actions) == start {
		p.act(Action{Kind: ActionRecord, Reason: ReasonHoldChanged, Key: k})
	}
	a := &p.out.Actions[len(p.out.Actions)-1]
	a.Holds, a.Events = p.holds, p.events
	for _, r := range p.filled {
		if !slices.ContainsFunc(a.Rows, func(o state.Row) bool { return o.ID == r.ID }) {
			a.Rows = append(slices.Clone(a.Rows), r)
		}
	}
}

// managed is the inventory entry that applying a subject leaves behind.
func managed(s Subject) *state.Managed {
	d := s.Desired
	if d.Inventory != nil {
		return d.Inventory
	}
	return &state.Managed{
		Key: s.Key, Source: d.Source, App: d.Manifest.App, Root: d.Manifest.Root, File: d.Manifest.File, Line: d.Manifest.Line, Commit: d.Commit,
	}
}

// object plans everything that is no Deployment: applied whenever it differs.
func (p *planner) object(s Subject) {
	facts := p.in.Sources[s.Desired.Source]
	c := engine.Change{Key: s.Key, Desired: s.Desired.Object()}
	m := managed(s)
	switch {
	case !engine.Same(s.Live.Object, c):
		if facts.Suspended && p.recreate(s, facts) {
			return
		}
		if facts.Suspended {
			p.hold(Withheld{Key: s.Key, Reason: ReasonSuspended})
			return
		}
		if w := refusal(s, c); w != nil {
			p.hold(*w)
			return
		}
		reason := ReasonSpecChanged
		if s.Live.Object == nil {
			reason = ReasonMissing
		}
		p.act(Action{Kind: ActionApply, Reason: reason, Key: s.Key, Change: c, Managed: m})
	case s.Managed == nil || *s.Managed != *m:
		p.act(Action{Kind: ActionRecord, Reason: ReasonObserved, Key: s.Key, Managed: m})
	}
}

// recreate brings back a missing ConfigMap or Secret that a template names which is held, also in a suspended source, or
// kept. It reports whether it does.
func (p *planner) recreate(s Subject, facts SourceFacts) bool {
	if s.Kept == nil || facts.Suspended && !s.ForHold {
		return false
	}
	p.act(Action{Kind: ActionApply, Reason: ReasonMissing, Key: s.Key, Change: engine.Change{Key: s.Key, Desired: s.Kept}})
	return true
}

// removal plans an object whose manifest is gone.
func (p *planner) removal(s Subject) {
	open := target(s.Rows)
	if s.Managed != nil && s.Kept != nil {
		if !p.recreate(s, p.in.Sources[s.Managed.Source]) {
			p.hold(Withheld{Key: s.Key, Reason: ReasonSuspended})
		}
		return
	}
	if s.Live.Object == nil || s.Managed == nil {
		p.act(Action{Kind: ActionRecord, Reason: ReasonRemoved, Key: s.Key, Rows: finished(s.Rows, open, p.in.Now), Forget: true})
		return
	}
	facts := p.in.Sources[s.Managed.Source]
	if facts.Suspended {
		p.hold(Withheld{Key: s.Key, Reason: ReasonSuspended})
		return
	}
	if detail := p.pruneWaits(s, facts); detail != "" {
		w := Withheld{Key: s.Key, Reason: ReasonPruneWaits, Detail: detail, Message: pruneMessages[detail]}
		if detail == DetailWindow {
			o, _ := facts.closed(s.Managed.App)
			w.Message, w.Until = o.message(), o.Until
		}
		p.hold(w)
		if rows := p.waitForPrune(s, open, w); len(rows) > 0 {
			p.act(Action{Kind: ActionRecord, Reason: ReasonPruneWaits, Key: s.Key, Rows: rows})
		}
		return
	}
	p.act(Action{
		Kind: ActionPrune, Reason: ReasonRemoved, Key: s.Key, Change: engine.Change{Key: s.Key},
		Rows: finished(s.Rows, open, p.in.Now), Forget: true, Holds: leaving(s, p.in.Now),
	})
}

// leaving is what is kept of a Deployment that goes, and what ends with it: marks do not.
func leaving(s Subject, now time.Time) Holds {
	h := Holds{Departed: departed(s, now)}
	for _, o := range s.Overrides {
		h.Unset = append(h.Unset, o.Field)
	}
	return h
}

// departed is what is kept of a Deployment that goes, so that a person can have it back; nil for anything else.
func departed(s Subject, now time.Time) *state.Departed {
	d := s.Live.Deployment()
	if d == nil {
		return nil
	}
	kept := appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: d.Namespace, Name: d.Name, Labels: d.Labels, Annotations: map[string]string{}}, Spec: d.Spec}
	for k, v := range d.Annotations {
		if !engine.Local(k) {
			kept.Annotations[k] = v
		}
	}
	return &state.Departed{Namespace: d.Namespace, Name: d.Name, At: now, Managed: *s.Managed, Object: *kept.DeepCopy()}
}

// finished closes the row of a removal, and whatever else of the Deployment was still open. What never ran is of the
// Deployment that goes, and not of the next that has its name.
func finished(rows []state.Row, removal int, now time.Time) []state.Row {
	var uid types.UID
	for _, r := range rows {
		uid = cmp.Or(r.UID, uid)
	}
	var out []state.Row
	for i, r := range rows {
		named := r.UID == "" && uid != ""
		r.UID = cmp.Or(r.UID, uid)
		if !r.Open {
			if named {
				out = append(out, r)
			}
			continue
		}
		to := ledger.Superseded
		if i == removal {
			to = ledger.Applied
		} else if removal >= 0 {
			r.SupersededBy = rows[removal].ID
		}
		if r, ok := ledger.Become(r, to); ok {
			r.Reason, r.EndedAt = string(ReasonRemoved), now
			out = append(out, r)
		}
	}
	return out
}
