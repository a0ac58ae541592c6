package replicaset

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/rs/zerolog"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/belay-dev/belay/reconciler/controller"
	"github.com/belay-dev/belay/reconciler/reserve"
	"github.com/belay-dev/belay/state"
)

// Recorder takes Events about an object.
type Recorder interface {
	Event(obj state.Object, eventType, reason, message string)
}

// workers is how many ReplicaSets are reconciled side by side, as in Kubernetes.
const workers = 5

// Keys of log lines.
const (
	logReplicaSet = "replicaset"
	logReason     = "reason"
	logCreated    = "created"
	logDeleted    = "deleted"
)

// New returns the ReplicaSet controller over store, with Events through recorder. A failing ReplicaSet is tried
// again without end.
func New(store *state.Store, recorder Recorder, log zerolog.Logger, now func() time.Time) controller.Config {
	s := &shell{store: store, recorder: recorder, log: log}
	s.pods = controller.Owned[*appsv1.ReplicaSet, *corev1.Pod]{
		Store: store, Kind: state.KindReplicaSet, Selector: func(rs *appsv1.ReplicaSet) *metav1.LabelSelector { return rs.Spec.Selector },
	}
	return controller.Config{
		Name:      "replicaset",
		Kinds:     []state.Kind{state.KindReplicaSet, state.KindPod},
		Keys:      s.keys,
		Resync:    s.pods.Resync,
		Reconcile: s.reconcile,
		Now:       now,
		Log:       log,
		Workers:   workers,
	}
}

type shell struct {
	store    *state.Store
	recorder Recorder
	log      zerolog.Logger
	pods     controller.Owned[*appsv1.ReplicaSet, *corev1.Pod]
}

// keys names the ReplicaSets that a change concerns. Changes of pods that no ReplicaSet counts are nobody's.
func (s *shell) keys(e state.Event) []state.Key {
	switch o := e.Object.(type) {
	case *appsv1.ReplicaSet:
		return []state.Key{state.KeyOf(o)}
	case *corev1.Pod:
		if before, ok := e.Old.(*corev1.Pod); ok && e.Type == state.Modified && same(before, o) {
			return nil
		}
		return s.pods.Keys(e)
	}
	return nil
}

// same reports whether two states of a pod count alike.
func same(a, b *corev1.Pod) bool {
	return a.UID == b.UID && ended(a) == ended(b) && a.DeletionTimestamp.Equal(b.DeletionTimestamp) &&
		maps.Equal(a.Labels, b.Labels) &&
		apiequality.Semantic.DeepEqual(readyCondition(a), readyCondition(b)) &&
		apiequality.Semantic.DeepEqual(a.OwnerReferences, b.OwnerReferences)
}

func (s *shell) reconcile(_ context.Context, key state.Key, now time.Time) (time.Time, error) {
	rs, ok := state.Get[*appsv1.ReplicaSet](s.store, key.Namespace, key.Name)
	if !ok {
		return time.Time{}, nil
	}
	in := s.observe(rs, now)
	r := Plan(in)
	wakeAt, err := s.execute(in, r)
	if err == nil || apierrors.IsConflict(err) {
		return wakeAt, err
	}
	// Something in the transaction was refused, so nothing happened: do one thing at a time and see how far it goes.
	if err := s.claimPods(rs, r); err != nil {
		return time.Time{}, err
	}
	err = s.createSlowly(rs, r.Create)
	if err == nil {
		err = s.deleteEach(rs, r.Delete)
	}
	wakeAt, werr := s.writeStatus(in, err)
	if werr != nil {
		return time.Time{}, werr
	}
	return wakeAt, err
}

// observe reads what a Plan needs: the pods of the ReplicaSet, the orphans of its namespace, and for a choice of
// victims the pods of its siblings.
func (s *shell) observe(rs *appsv1.ReplicaSet, now time.Time) Input {
	in := Input{ReplicaSet: rs, Pods: s.pods.Of(rs), Now: now}
	ref := metav1.GetControllerOfNoCopy(rs)
	if ref == nil || len(in.Pods) <= int(sizeOf(rs)) || sizeOf(rs) == 0 {
		return in
	}
	for _, sibling := range state.OwnedBy[*appsv1.ReplicaSet](s.store, ref.UID) {
		in.Related = append(in.Related, state.OwnedBy[*corev1.Pod](s.store, sibling.UID)...)
	}
	return in
}

// execute does all of a sync in one transaction. When it is refused nothing has happened.
func (s *shell) execute(in Input, r Result) (time.Time, error) {
	rs := in.ReplicaSet
	writes := claims(r)
	claimed := len(writes)
	for _, pod := range r.Create {
		writes = append(writes, state.Create(pod))
	}
	for _, pod := range r.Delete {
		writes = append(writes, deletion(pod))
	}
	status, wakeAt := Status(in, "")
	if w, changed := statusWrite(rs, status); changed {
		writes = append(writes, w)
	}
	if len(writes) == 0 {
		return wakeAt, nil
	}
	receipt, err := reserve.Commit(s.store, rs, writes...)
	if err != nil {
		return time.Time{}, err
	}
	for _, o := range receipt.Objects[claimed : claimed+len(r.Create)] {
		s.created(rs, o)
	}
	for _, pod := range r.Delete {
		s.deleted(rs, pod)
	}
	if len(r.Create)+len(r.Delete) > 0 {
		s.log.Info().Str(logReplicaSet, rs.Namespace+"/"+rs.Name).Str(logReason, string(r.Reason)).
			Int(logCreated, len(r.Create)).Int(logDeleted, len(r.Delete)).Msg("pods")
	}
	return wakeAt, nil
}

func (s *shell) created(rs *appsv1.ReplicaSet, pod state.Object) {
	s.recorder.Event(rs, corev1.EventTypeNormal, successfulCreate, "Created pod: "+pod.GetName())
}

func (s *shell) deleted(rs *appsv1.ReplicaSet, pod *corev1.Pod) {
	s.recorder.Event(rs, corev1.EventTypeNormal, successfulDelete, "Deleted pod: "+pod.Name)
}

func claims(r Result) []state.Write {
	var writes []state.Write
	for _, pod := range slices.Concat(r.Adopt, r.Release) {
		writes = append(writes, state.Update(pod))
	}
	return writes
}

func deletion(pod *corev1.Pod) state.Write {
	return state.Delete(state.KeyOf(pod), state.DeleteOptions{UID: pod.UID})
}

// statusWrite is the write of a status, if it differs from the stored one.
func statusWrite(rs *appsv1.ReplicaSet, status appsv1.ReplicaSetStatus) (state.Write, bool) {
	if apiequality.Semantic.DeepEqual(rs.Status, status) {
		return state.Write{}, false
	}
	next := *rs
	next.Status = status
	return state.UpdateStatus(&next), true
}

func (s *shell) claimPods(rs *appsv1.ReplicaSet, r Result) error {
	writes := claims(r)
	if len(writes) == 0 {
		return nil
	}
	if _, err := reserve.Commit(s.store, rs, writes...); err != nil {
		return fmt.Errorf("claim pods: %w", err)
	}
	return nil
}

// createSlowly creates pods in growing batches until one of them fails, and returns the first error. In a namespace
// that is going nothing can be created, and nothing is said.
func (s *shell) createSlowly(rs *appsv1.ReplicaSet, pods []*corev1.Pod) error {
	for _, n := range batches(len(pods)) {
		var first error
		for _, pod := range pods[:n] {
			receipt, err := reserve.Commit(s.store, rs, state.Create(pod))
			switch {
			case err == nil:
				s.created(rs, receipt.Objects[0])
			case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
			default:
				s.recorder.Event(rs, corev1.EventTypeWarning, failedCreate, fmt.Sprintf("Error creating: %v", err))
				if first == nil {
					first = err
				}
			}
		}
		if first != nil {
			return first
		}
		pods = pods[n:]
	}
	return nil
}

// deleteEach deletes pods one by one and returns the first error. A pod that is gone already is no error.
func (s *shell) deleteEach(rs *appsv1.ReplicaSet, pods []*corev1.Pod) error {
	var first error
	for _, pod := range pods {
		_, err := reserve.Commit(s.store, rs, deletion(pod))
		switch {
		case err == nil:
			s.deleted(rs, pod)
		case apierrors.IsNotFound(err):
		default:
			s.recorder.Event(rs, corev1.EventTypeWarning, failedDelete, fmt.Sprintf("Error deleting: %v", err))
			if first == nil {
				first = err
			}
		}
	}
	return first
}

// writeStatus writes the status after a sync done piece by piece, of which failure is the first error.
func (s *shell) writeStatus(in Input, failure error) (time.Time, error) {
	message := ""
	if failure != nil {
		message = failure.Error()
	}
	status, wakeAt := Status(in, message)
	w, changed := statusWrite(in.ReplicaSet, status)
	if !changed {
		return wakeAt, nil
	}
	if _, err := reserve.Commit(s.store, in.ReplicaSet, w); err != nil {
		return time.Time{}, err
	}
	return wakeAt, nil
}
