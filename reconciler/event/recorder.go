package event

import (
	"fmt"
	"sync"
	"time"

	"github.com/rs/zerolog"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/belay-dev/belay/reconciler/reserve"
	"github.com/belay-dev/belay/state"
)

// Recorder writes the Events of one component into state. It is safe for concurrent use.
type Recorder struct {
	store     *state.Store
	component string
	host      string
	now       func() time.Time
	log       zerolog.Logger

	mu         sync.Mutex // over correlating and writing: counts reach the store in order
	correlator *correlator
}

// Option sets what most recorders leave alone.
type Option func(*Recorder)

// Host names the machine the component speaks for, as the kubelet's Events do.
func Host(name string) Option { return func(r *Recorder) { r.host = name } }

// Log is told of Events that could not be written. Without it they are dropped in silence, as nobody waits for them.
func Log(log zerolog.Logger) Option { return func(r *Recorder) { r.log = log } }

// NewRecorder returns a recorder whose Events name component as their source. It takes up where a recorder of the
// same component left off, as far as the Events in the store tell: repeated Events go on being counted.
func NewRecorder(store *state.Store, component string, now func() time.Time, options ...Option) *Recorder {
	r := &Recorder{store: store, component: component, now: now, log: zerolog.Nop(), correlator: newCorrelator()}
	for _, option := range options {
		option(r)
	}
	var mine []*corev1.Event
	for _, e := range state.List[*corev1.Event](store, "") {
		if e.Source.Component == r.component {
			mine = append(mine, e)
		}
	}
	r.correlator.restore(mine)
	return r
}

// Event records that something happened to obj. The type is corev1.EventTypeNormal or corev1.EventTypeWarning.
// An Event equal to an earlier one raises that one's count, many similar ones are combined, and a source that says
// too much about one object is throttled. On a full disk, what is said of a held Deployment, its ReplicaSets and their
// pods is written with the reserve. It never fails: what cannot be written is logged and dropped.
func (r *Recorder) Event(obj state.Object, eventType, reason, message string) {
	r.EventField(obj, "", eventType, reason, message)
}

// EventField is Event about one field of obj, for instance spec.containers{web}.
func (r *Recorder) EventField(obj state.Object, fieldPath, eventType, reason, message string) {
	r.event(obj, nil, fieldPath, eventType, reason, message)
}

// AnnotatedEvent is Event with annotations: of one that is equal to an earlier one those are replaced.
func (r *Recorder) AnnotatedEvent(obj state.Object, annotations map[string]string, eventType, reason, message string) {
	r.event(obj, annotations, "", eventType, reason, message)
}

func (r *Recorder) event(obj state.Object, annotations map[string]string, fieldPath, eventType, reason, message string) {
	now := r.now()
	key := state.KeyOf(obj)
	e := &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Annotations: annotations},
		InvolvedObject: corev1.ObjectReference{
			Kind: string(key.Kind), APIVersion: apiVersion(obj), Namespace: key.Namespace, Name: key.Name,
			UID: obj.GetUID(), ResourceVersion: obj.GetResourceVersion(), FieldPath: fieldPath,
		},
		Type: eventType, Reason: reason, Message: message, Count: 1,
		FirstTimestamp: metav1.NewTime(now), LastTimestamp: metav1.NewTime(now),
		Source:              corev1.EventSource{Component: r.component, Host: r.host},
		ReportingController: r.component, ReportingInstance: r.host,
	}
	if e.Namespace == "" {
		e.Namespace = metav1.NamespaceDefault
	}
	e.Name = name(key.Name, now)
	if err := r.record(obj, e, now); err != nil {
		r.log.Warn().Stringer("key", key).Str("reason", reason).Err(err).Msg("event dropped")
	}
}

func (r *Recorder) record(obj state.Object, e *corev1.Event, now time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	out, why := r.correlator.correlate(e, now)
	switch why {
	case reasonThrottled:
		return nil
	case reasonRepeated:
		if before, ok := state.Get[*corev1.Event](r.store, out.Namespace, out.Name); ok {
			return r.update(obj, before, out)
		}
		// It expired meanwhile: written again, the count goes on.
	case reasonNew:
	}
	return r.create(obj, out, now)
}

func (r *Recorder) update(obj state.Object, before, e *corev1.Event) error {
	after := before.DeepCopy()
	after.Message, after.Count, after.LastTimestamp, after.Annotations = e.Message, e.Count, e.LastTimestamp, e.Annotations
	_, err := reserve.Commit(r.store, obj, state.Update(after))
	return err
}

// create writes a new Event. Two recorders, or one within the same nanosecond, may choose the same name: then the
// next free one is taken.
func (r *Recorder) create(obj state.Object, e *corev1.Event, now time.Time) error {
	for {
		_, err := reserve.Commit(r.store, obj, state.Create(e))
		if err == nil {
			r.correlator.wrote(e)
			return nil
		}
		if !apierrors.IsAlreadyExists(err) {
			r.correlator.forget(e)
			if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
				return nil
			}
			return err
		}
		now = now.Add(time.Nanosecond)
		e = e.DeepCopy()
		e.Name = name(e.InvolvedObject.Name, now)
	}
}

// name is <involved object>.<nanoseconds since 1970 in hex>, as every Kubernetes component names its Events.
func name(involved string, now time.Time) string {
	return fmt.Sprintf("%s.%x", involved, now.UnixNano())
}

func apiVersion(obj state.Object) string {
	switch obj.(type) {
	case *appsv1.Deployment, *appsv1.ReplicaSet:
		return appsv1.SchemeGroupVersion.String()
	case *autoscalingv2.HorizontalPodAutoscaler:
		return autoscalingv2.SchemeGroupVersion.String()
	}
	return corev1.SchemeGroupVersion.String()
}
