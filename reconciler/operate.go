package reconciler

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/belay-dev/belay/manifests"
	"github.com/belay-dev/belay/reconciler/engine"
	"github.com/belay-dev/belay/reconciler/rollback"
	"github.com/belay-dev/belay/reconciler/rollout"
	"github.com/belay-dev/belay/state"
)

// Recorder tells people what happened to an object, as Events of Kubernetes. The type is Normal or Warning.
type Recorder interface {
	AnnotatedEvent(o state.Object, annotations map[string]string, eventType, reason, message string)
}

// wish is what a person asked for of one Deployment, granted: what it changes beside what the plan then makes of it.
type wish struct {
	holds    Holds
	rows     []state.Row // moved on, or new: the last is the operation's own
	recreate []state.Object
	managed  []state.Managed // of what is re-created: it goes again when nothing names it
	events   []Event
	git      []state.Write // of what becomes of it in Git
}

// Rollback goes back at once: the hold and its rollout are durable when it returns, Git reachable or not. A wish that
// cannot be granted is refused with a *rollback.Refusal.
func (l *Loop) Rollback(ctx context.Context, r rollback.Request) (rollback.Result, error) {
	return l.asked(ctx, func(ctx context.Context) (rollback.Result, error) { return l.rollback(ctx, r, false) })
}

// PreviewRollback says what Rollback would do now. Nothing changes.
func (l *Loop) PreviewRollback(ctx context.Context, r rollback.Request) (rollback.Result, error) {
	out, err := l.asked(ctx, func(ctx context.Context) (rollback.Result, error) { return l.rollback(ctx, r, true) })
	if err == nil && !out.Skipped {
		out.Git = l.foresee(ctx, out, r.Secrets)
	}
	return out, err
}

// Pin keeps a Deployment at a revision until it is released, as Rollback does otherwise; it makes no marks.
func (l *Loop) Pin(ctx context.Context, r rollback.PinRequest) (rollback.Result, error) {
	return l.asked(ctx, func(ctx context.Context) (rollback.Result, error) { return l.pin(ctx, r) })
}

// asked runs what a person asked for on the loop's goroutine and waits until it is durable. What even the reserve has no
// space for is in force all the same: the result says that it is not durable.
func (l *Loop) asked(ctx context.Context, do func(context.Context) (rollback.Result, error)) (rollback.Result, error) {
	var out rollback.Result
	err := l.durably(ctx, func(ctx context.Context) (err error) {
		out, err = do(ctx)
		return err
	})
	if errors.Is(err, errNotDurable) && out.ID != "" { // it is in force
		out.NotDurable = err.Error()
		return out, nil
	}
	return out, err
}

// errNotDurable says that what was done is in force, and would be lost by a crash.
var errNotDurable = errors.New("not durable")

// durably runs do on the loop's goroutine and waits until what it did is durable.
func (l *Loop) durably(ctx context.Context, do func(context.Context) error) error {
	var err error
	var version int64
	if doErr := l.on(ctx, l.wishes, func(ctx context.Context) {
		l.granting, l.carried = true, 0
		err = do(ctx)
		l.granting = false
		if version = l.carried; version == 0 { // it may tell what others did
			version = l.o.Store.Version()
		}
	}); doErr != nil {
		return doErr
	}
	if err != nil {
		return err
	}
	if err := l.o.Store.WaitDurable(ctx, version); err != nil {
		if errors.Is(err, state.ErrDisk) {
			return fmt.Errorf("%w: %w", errNotDurable, err)
		}
		return fmt.Errorf("make it durable: %w", err)
	}
	return nil
}

// holdsOf adds to a subject what holds, marks and overrides say of it.
func (l *Loop) holdsOf(s *Subject) {
	ns, name := s.Key.Namespace, s.Key.Name
	if h, ok := l.o.Store.Hold(ns, name); ok {
		s.Hold, s.Held = &h, l.template(h.Template)
	}
	s.Marks, s.Overrides = l.o.Store.Marks(ns, name), l.o.Store.Overrides(ns, name)
	if s.Hold != nil && s.Desired == nil && s.Live.Object == nil {
		if d, ok := l.o.Store.Departed(ns, name); ok {
			s.Departed = &d
		}
	}
}

// template finds a pod template of the ledger; nil when it is not there.
func (l *Loop) template(digest string) *corev1.PodTemplateSpec {
	t, ok := l.o.Store.Template(digest)
	if !ok {
		return nil
	}
	return &t.Template
}

// about gathers what is known of one Deployment, with what its plan needs; refused when it is not Git's.
func (l *Loop) about(namespace, name string) (Input, rollback.Facts, error) {
	key := engine.Key{Kind: state.KindDeployment, Namespace: namespace, Name: name}
	in := l.input([]engine.Key{key})
	s := &in.Subjects[0]
	if s.Departed == nil && s.Desired == nil && s.Live.Object == nil {
		if d, ok := l.o.Store.Departed(namespace, name); ok {
			s.Departed = &d
		}
	}
	if s.Managed == nil && s.Desired == nil && s.Departed == nil {
		return in, rollback.Facts{}, &rollback.Refusal{
			Reason: rollback.NotManaged, Message: fmt.Sprintf("Git does not manage a Deployment %s/%s", namespace, name),
			HintText: "belay status lists those that it does",
		}
	}
	f := rollback.Facts{
		Namespace: namespace, Name: name, Rows: s.Rows, Hold: s.Hold, Marks: s.Marks, Overrides: s.Overrides, Template: l.template,
	}
	if s.Desired != nil {
		f.Git = s.Desired.Bare
	}
	if d := s.Live.Deployment(); d != nil {
		f.Running = rollback.Running{
			UID: d.UID, Template: s.Live.Rollout.Template, Bare: rollback.Bare(&d.Spec.Template), Revision: s.Live.Rollout.Revision, Paused: d.Spec.Paused,
		}
	}
	return in, f, nil
}

func (l *Loop) rollback(ctx context.Context, r rollback.Request, preview bool) (rollback.Result, error) {
	r.Now = l.o.Now()
	if r.ToCommit != "" {
		r.ToCommit = l.stepOf(r.Namespace, r.Name, r.ToCommit)
	}
	return l.held(ctx, r.Namespace, r.Name, l.alone(r.Mode, r.Secrets), preview, func(f rollback.Facts) (rollback.Decision, error) { return rollback.Decide(f, r) })
}

func (l *Loop) pin(ctx context.Context, r rollback.PinRequest) (rollback.Result, error) {
	r.Now = l.o.Now()
	return l.held(ctx, r.Namespace, r.Name, l.alone(rollback.ModeHold, false), false, func(f rollback.Facts) (rollback.Decision, error) { return rollback.DecidePin(f, r) })
}

// stepOf is the commit under which the ledger has one that a step covers; the prefix itself when no step does, or several.
func (l *Loop) stepOf(namespace, name, prefix string) string {
	if slices.ContainsFunc(l.o.Store.Rows(namespace, name), func(r state.Row) bool { return strings.HasPrefix(r.Commit, prefix) }) {
		return prefix
	}
	if cs := l.o.Store.FindCommits("", prefix); len(cs) == 1 {
		return cs[0].Hash
	}
	return prefix
}

// becoming says what becomes of a hold in the Git of a source, and gives the writes that record it.
type becoming func(h state.Hold, source string) (rollback.GitChange, []state.Write)

// alone is what becomes of a hold that has a change of its own.
func (l *Loop) alone(mode rollback.Mode, secrets bool) becoming {
	return func(h state.Hold, source string) (rollback.GitChange, []state.Write) {
		return l.queue(h, source, mode, func(c *state.GitChange) { c.Secrets = secrets && mode == rollback.ModeRevert })
	}
}

// held carries out a decision to hold a Deployment, again when what runs moved under it.
func (l *Loop) held(ctx context.Context, namespace, name string, git becoming, preview bool, decide func(rollback.Facts) (rollback.Decision, error)) (rollback.Result, error) {
	for range passes {
		in, f, err := l.about(namespace, name)
		if err != nil {
			return rollback.Result{}, err
		}
		d, err := decide(f)
		if err != nil {
			return rollback.Result{}, err
		}
		out := resultOf(d)
		if d.Skipped {
			return out, nil
		}
		w := l.wishOf(d, f, &out)
		source := sourceOf(in.Subjects[0])
		out.Git, w.git = git(d.Hold, source)
		actions, change := l.granted(&in, w)
		forecast := l.forecast(&in.Subjects[0], change)
		if preview {
			out.Fields, out.Steps = forecast()
			return out, nil
		}
		err = l.carryOut(ctx, in.Subjects[0].Key, w, actions, func() {
			out.Fields, out.Steps = forecast()
			if row, ok := l.o.Store.Row(out.Row.ID); ok {
				out.Row = row
			}
		})
		if apierrors.IsConflict(err) {
			continue
		}
		l.kick(source)
		return out, err
	}
	return rollback.Result{}, errMoving
}

var errMoving = errors.New("what runs changes faster than it can be planned")

// resultOf is what a decision says to people.
func resultOf(d rollback.Decision) rollback.Result {
	return rollback.Result{
		ID: d.ID, Skipped: d.Skipped, Hold: d.Hold, Mark: d.Mark, Row: d.Row, From: d.From, To: d.To, Warnings: d.Warnings, Undone: d.Undone,
	}
}

// wishOf turns a decision into what is recorded with it, and finds the ConfigMaps and Secrets of the target.
func (l *Loop) wishOf(d rollback.Decision, f rollback.Facts, out *rollback.Result) wish {
	w := wish{holds: Holds{Hold: &d.Hold, Marks: d.Changed}, rows: d.Undone}
	if d.Mark != nil {
		w.holds.Marks = append(slices.Clone(w.holds.Marks), *d.Mark)
	}
	for _, m := range d.Ended {
		w.holds.Unmarked = append(w.holds.Unmarked, m.ID)
	}
	for _, o := range f.Overrides {
		if o.Field == rollback.FieldRestartedAt && d.To.Template != f.Running.Template { // what is gone back to was not restarted
			w.holds.Unset = append(w.holds.Unset, o.Field)
		}
	}
	if d.Row.ID != "" {
		w.rows = append(slices.Clone(w.rows), d.Row)
	}
	for _, ref := range d.To.Configs {
		l.config(f.Namespace, ref, d.To, out, &w)
	}
	for _, warning := range d.Warnings {
		w.events = append(w.events, Event{Warning: true, Reason: ReasonRollbackToBad, Message: warning, Operation: d.Hold.ID})
	}
	switch {
	case d.Hold.Manual:
		w.events = append(w.events, Event{Reason: ReasonPin, Message: HoldMessage(d.Hold), Operation: d.Hold.ID})
	case d.Hold.Revision > 0:
		w.events = append(w.events, Event{
			Reason: ReasonDeploymentRollback, Message: fmt.Sprintf("Rolled back deployment %q to revision %d", f.Name, d.Hold.Revision), Operation: d.Hold.ID,
		})
	default:
		w.events = append(w.events, Event{
			Reason: ReasonDeploymentRollback, Message: fmt.Sprintf("Rolled back deployment %q to commit %s", f.Name, short(d.Hold.Commit)), Operation: d.Hold.ID,
		})
	}
	return w
}

// config compares one ConfigMap or Secret with what it was when the target ran: a missing one comes back.
func (l *Loop) config(namespace string, ref state.ConfigRef, to state.Row, out *rollback.Result, w *wish) {
	name := string(ref.Kind) + "/" + ref.Name
	key := engine.Key{Kind: ref.Kind, Namespace: namespace, Name: ref.Name}
	live := l.o.Engine.Live(key).Object
	c, kept := l.o.Store.Config(ref.Hash)
	switch {
	case live == nil && kept:
		out.Recreate = append(out.Recreate, name)
		w.recreate = append(w.recreate, ConfigObject(namespace, ref, c))
		if _, managed := l.o.Store.Managed(key); !managed && l.desired(key) == nil && to.Source != "" {
			w.managed = append(w.managed, state.Managed{Key: key, Source: to.Source, App: to.App, Root: to.Root, Commit: to.Commit, RemovedBy: to.Commit})
		}
	case live == nil:
		out.Warnings = append(out.Warnings, name+" is missing, and the ledger does not have it")
	case ref.Hash != "":
		if now, _ := ConfigOf(live); now.Hash != ref.Hash {
			out.Changed = append(out.Changed, name)
		}
	}
}

// granted plans the subject as the wish leaves it. It gives the subject's actions, and the one that changes what runs;
// nil when none does.
func (l *Loop) granted(in *Input, w wish) ([]Action, *Action) {
	s := &in.Subjects[0]
	if w.holds.Hold != nil {
		h := *w.holds.Hold
		s.Hold, s.Held = &h, l.template(h.Template)
	}
	if w.holds.Ended {
		s.Hold, s.Held = nil, nil
	}
	marks := slices.DeleteFunc(slices.Clone(s.Marks), func(m state.Mark) bool {
		return slices.Contains(w.holds.Unmarked, m.ID) || slices.ContainsFunc(w.holds.Marks, func(o state.Mark) bool { return o.ID == m.ID })
	})
	s.Marks = append(marks, w.holds.Marks...)
	overrides := slices.DeleteFunc(slices.Clone(s.Overrides), func(o state.Override) bool {
		return slices.Contains(w.holds.Unset, o.Field) || slices.ContainsFunc(w.holds.Overrides, func(p state.Override) bool { return p.Field == o.Field })
	})
	s.Overrides = append(overrides, w.holds.Overrides...)
	s.Rows = replace(s.Rows, w.rows)
	for _, r := range w.rows {
		if !slices.ContainsFunc(s.Rows, func(o state.Row) bool { return o.ID == r.ID }) {
			s.Rows = append(s.Rows, r)
		}
	}
	plan := Make(*in)
	for i := range plan.Actions {
		if plan.Actions[i].Kind == ActionRollout || plan.Actions[i].Kind == ActionApply {
			return plan.Actions, &plan.Actions[i]
		}
	}
	return plan.Actions, nil
}

// forecast says which fields of the spec a change changes, and how the rollout goes: as it is now, whenever it is called.
func (l *Loop) forecast(s *Subject, change *Action) func() ([]manifests.FieldChange, []rollout.Step) {
	if change == nil {
		return func() ([]manifests.FieldChange, []rollout.Step) { return nil, nil }
	}
	before, c := s.Live.Deployment(), *change
	var sets []*appsv1.ReplicaSet
	if before != nil {
		sets = state.OwnedBy[*appsv1.ReplicaSet](l.o.Store, before.UID)
	}
	return func() ([]manifests.FieldChange, []rollout.Step) { return foretell(before, sets, c) }
}

func foretell(before *appsv1.Deployment, sets []*appsv1.ReplicaSet, change Action) ([]manifests.FieldChange, []rollout.Step) {
	var live state.Object
	if before != nil {
		live = before
	}
	after, ok := engine.Merge(live, change.Change).(*appsv1.Deployment)
	if !ok {
		return nil, nil
	}
	var fields []manifests.FieldChange
	for _, c := range manifests.Diff(specOf(before), specOf(after)) {
		if strings.HasPrefix(c.Path, "spec") {
			fields = append(fields, c)
		}
	}
	if change.Kind != ActionRollout {
		return fields, nil
	}
	return fields, rollout.Forecast(after, sets)
}

// specOf is a Deployment with nothing but its spec; nil for none.
func specOf(d *appsv1.Deployment) *appsv1.Deployment {
	if d == nil {
		return nil
	}
	return &appsv1.Deployment{Spec: d.Spec}
}

// carryOut makes a wish and the actions that follow from it one transaction, also on a full disk. It is on its way to the
// disk while what follows is planned; recorded is called before that.
func (l *Loop) carryOut(ctx context.Context, k engine.Key, w wish, actions []Action, recorded func()) error {
	for _, o := range w.recreate { // before it is used; one that a crash leaves without its hold is pruned
		c := engine.Change{Key: state.KeyOf(o), Desired: o, Ledger: []state.Write{state.UseReserve()}}
		for _, m := range w.managed {
			if m.Key == c.Key {
				c.Ledger = append(c.Ledger, state.PutManaged(m))
			}
		}
		if err := l.o.Engine.Apply(ctx, c); err != nil {
			return err
		}
	}
	ws := append(append(w.holds.writes(k), w.git...), state.UseReserve())
	again := []engine.Key{k}
	for _, r := range w.rows {
		ws = append(ws, state.PutRow(r))
	}
	for _, m := range w.managed {
		again = append(again, m.Key)
	}
	var change *engine.Change
	for _, a := range actions {
		ws = append(ws, l.ledgerWrites(a)...)
		if a.Kind != ActionRecord {
			change = &a.Change
		}
	}
	var err error
	if change == nil {
		_, err = l.o.Store.Commit(ws...)
	} else {
		change.Ledger = ws
		err = l.o.Engine.Apply(ctx, *change)
	}
	if err != nil {
		return err
	}
	l.carried = l.o.Store.Version()
	l.o.Store.Hasten(l.carried)
	recorded()
	for _, a := range actions {
		again = append(again, l.done(a)...)
	}
	for _, r := range w.rows {
		if stored, ok := l.o.Store.Row(r.ID); ok {
			l.work.note(stored)
		}
	}
	l.tell(Action{Key: k, Events: w.events})
	l.pass(ctx, again)
	return nil
}

// tell records an action's Events about its object.
func (l *Loop) tell(a Action) {
	o := l.o.Engine.Live(a.Key).Object
	if l.o.Recorder == nil || o == nil {
		return
	}
	for _, e := range a.Events {
		kind := corev1.EventTypeNormal
		if e.Warning {
			kind = corev1.EventTypeWarning
		}
		var annotations map[string]string
		if e.Operation != "" {
			annotations = map[string]string{AnnotationOperation: e.Operation}
		}
		l.o.Recorder.AnnotatedEvent(o, annotations, kind, string(e.Reason), e.Message)
	}
}
