package rollout

import (
	"maps"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/belay-dev/belay/reconciler/owner"
)

// Input is all that a sync looks at. Plan edits none of it.
type Input struct {
	Deployment *appsv1.Deployment
	// ReplicaSets holds at least those the Deployment controls and the orphans of its namespace; others are ignored.
	ReplicaSets []*appsv1.ReplicaSet
	// Pods holds at least those of the ReplicaSets the Deployment controls. Only Recreate looks at them.
	Pods []*corev1.Pod
	Now  time.Time
	// Refused says that the ReplicaSet the same Plan wanted to create a moment ago could not be created.
	Refused *Refusal
}

// Refusal is why a ReplicaSet was not created.
type Refusal struct {
	Existing *appsv1.ReplicaSet // the object that has its name already; or
	Message  string             // the error
}

// Result is what a sync does.
type Result struct {
	// Actions in the order they take effect. All but Emit are one transaction.
	Actions []Action
	// Waits says why the sync did no more; empty when its actions alone cause the next sync.
	Waits []Reason
	// WakeAt is when to plan again although nothing changed; zero: never.
	WakeAt time.Time
}

// String prints one action a line, then what the sync waits for.
func (r Result) String() string {
	var b strings.Builder
	for _, a := range r.Actions {
		b.WriteString(a.String() + "\n")
	}
	for _, w := range r.Waits {
		b.WriteString("wait " + string(w) + "\n")
	}
	return b.String()
}

// Plan decides one sync. Equal inputs give equal results; a Deployment at rest gives no actions.
func Plan(in Input) Result {
	s := &sync{in: in, now: metav1.NewTime(in.Now.Truncate(time.Second))}
	d := *in.Deployment
	d.Annotations = maps.Clone(d.Annotations)
	d.Status.Conditions = slices.Clone(d.Status.Conditions)
	s.d, s.b = &d, boundsOf(&d)
	s.run()
	s.writeStatus()
	if slices.ContainsFunc(s.result.Actions, func(a Action) bool { return a.ReplicaSet != nil || a.Kind == SetTemplate }) {
		s.result.Waits = nil
	}
	return s.result
}

// member is one ReplicaSet of the sync. It starts as the object read and becomes a copy at the first edit.
type member struct {
	*appsv1.ReplicaSet
	edited bool
	was    int32 // its size as read
}

// edit returns the ReplicaSet for editing its metadata and scalar spec fields; the template stays shared.
func (m *member) edit() *appsv1.ReplicaSet {
	if !m.edited {
		rs := *m.ReplicaSet
		m.ReplicaSet, m.edited = &rs, true
	}
	return m.ReplicaSet
}

// sync is the state of one Plan call.
type sync struct {
	in     Input
	now    metav1.Time
	d      *appsv1.Deployment // a copy; its template is replaced, never edited
	b      bounds
	old    []*member // oldest first
	new    *member   // nil: none has the template
	reason Reason    // of the status write, when it has a better one than StatusChanged
	result Result
}

func (s *sync) act(a Action)  { s.result.Actions = append(s.result.Actions, a) }
func (s *sync) wait(r Reason) { s.result.Waits = append(s.result.Waits, r) }
func (s *sync) emit(r Reason, kind, why, msg string) {
	s.act(Action{Kind: Emit, Reason: r, Event: Event{Type: kind, Reason: why, Message: msg}})
}

// all returns the old ReplicaSets, oldest first, then the new one.
func (s *sync) all() []*member {
	if s.new == nil {
		return s.old
	}
	return append(slices.Clone(s.old), s.new)
}

// run is the order of a sync.
func (s *sync) run() {
	if s.d.Spec.Selector != nil && apiequality.Semantic.DeepEqual(s.d.Spec.Selector, &metav1.LabelSelector{}) {
		s.emit(ReasonEmptySelector, corev1.EventTypeWarning, "SelectingAll",
			"This deployment is selecting all pods. A non-empty selector is required.")
		s.d.Status.ObservedGeneration = max(s.d.Status.ObservedGeneration, s.d.Generation)
		s.wait(ReasonEmptySelector)
		return
	}
	if !s.claim() {
		s.wait(ReasonInvalidSelector)
		return
	}
	if s.d.DeletionTimestamp != nil {
		s.syncNew()
		s.countStatus()
		s.wait(ReasonDeleting)
		return
	}
	s.bookPause()
	revision, rollback := rollbackAsked(s.d)
	switch {
	case s.d.Spec.Paused:
		s.syncNew()
		s.resize()
		if !rollback {
			s.prune()
		}
		s.countStatus()
		s.wait(ReasonPaused)
	case rollback:
		s.rollBack(revision)
	default:
		s.syncNew()
		if s.sizeChanged() {
			s.resize()
			if !s.touched() {
				s.countStatus()
			}
			s.wait(ReasonSizeNoted)
			return
		}
		s.roll()
	}
}

// touched reports whether this sync changes the Deployment's revision or conditions already. In Kubernetes that is a
// write of its own, after which the counters of the same sync fail on a conflict: they come with the next one, which
// then takes what they gained for progress.
func (s *sync) touched() bool {
	before := s.in.Deployment
	return !maps.Equal(before.Annotations, s.d.Annotations) ||
		!apiequality.Semantic.DeepEqual(before.Status.Conditions, s.d.Status.Conditions)
}

func (s *sync) roll() {
	switch s.d.Spec.Strategy.Type {
	case appsv1.RecreateDeploymentStrategyType:
		s.recreate()
	case appsv1.RollingUpdateDeploymentStrategyType:
		s.rollingUpdate()
	default:
		s.wait(ReasonUnknownStrategy)
	}
}

// claim fills old and new: what the Deployment controls and what it adopts. The new ReplicaSet is the oldest whose
// template equals the Deployment's.
func (s *sync) claim() bool {
	selector, err := metav1.LabelSelectorAsSelector(s.d.Spec.Selector)
	if err != nil || s.d.Spec.Selector == nil {
		return false
	}
	claimed := owner.Claim(s.d, selector, s.in.ReplicaSets)
	for _, rs := range claimed.Release {
		m := member{ReplicaSet: rs}
		m.edit().OwnerReferences = owner.Remove(rs.OwnerReferences, s.d.UID)
		s.act(Action{Kind: Release, Reason: ReasonMatchesNoMore, ReplicaSet: m.ReplicaSet})
	}
	for _, rs := range claimed.Owned {
		s.old = append(s.old, &member{ReplicaSet: rs, was: sizeOf(rs)})
	}
	for _, rs := range claimed.Adopt {
		m := &member{ReplicaSet: rs, was: sizeOf(rs)}
		m.edit().OwnerReferences = owner.Add(rs.OwnerReferences, controllerRef(s.d))
		s.act(Action{Kind: Adopt, Reason: ReasonMatches, ReplicaSet: m.ReplicaSet})
		s.old = append(s.old, m)
	}
	slices.SortFunc(s.old, byAge)
	for i, m := range s.old {
		if Equal(&m.Spec.Template, &s.d.Spec.Template) {
			s.new = m
			s.old = slices.Delete(s.old, i, i+1)
			break
		}
	}
	return true
}

func controllerRef(d *appsv1.Deployment) metav1.OwnerReference {
	return *metav1.NewControllerRef(d, appsv1.SchemeGroupVersion.WithKind("Deployment"))
}

// byAge orders by creation, then name.
func byAge(a, b *member) int {
	if c := a.CreationTimestamp.Compare(b.CreationTimestamp.Time); c != 0 {
		return c
	}
	return strings.Compare(a.Name, b.Name)
}

// writeStatus adds the one write that carries what the sync changed of the Deployment's status and revision.
func (s *sync) writeStatus() {
	before := s.in.Deployment
	annotated := slices.ContainsFunc(s.result.Actions, func(a Action) bool { return a.Kind == SetTemplate })
	if (annotated || maps.Equal(before.Annotations, s.d.Annotations)) && apiequality.Semantic.DeepEqual(before.Status, s.d.Status) {
		return
	}
	if s.reason == "" {
		s.reason = ReasonStatusChanged
	}
	s.act(Action{Kind: WriteStatus, Reason: s.reason, Deployment: s.d})
}
