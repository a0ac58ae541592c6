package rollout

import (
	"context"
	"time"

	"github.com/rs/zerolog"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
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

// As in Kubernetes: keys side by side, and tries in a row before a failing Deployment waits for a change.
const (
	workers    = 5
	maxRetries = 15
)

// Keys of log lines.
const (
	logDeployment = "deployment"
	logReplicaSet = "replicaset"
	logAction     = "action"
	logReason     = "reason"
)

// New returns the Deployment controller over store: one Plan and one transaction a call, Events through recorder.
func New(store *state.Store, recorder Recorder, log zerolog.Logger, now func() time.Time) controller.Config {
	s := &shell{store: store, recorder: recorder, log: log}
	s.sets = controller.Owned[*appsv1.Deployment, *appsv1.ReplicaSet]{
		Store: store, Kind: state.KindDeployment, Selector: func(d *appsv1.Deployment) *metav1.LabelSelector { return d.Spec.Selector },
	}
	return controller.Config{
		Name:       "deployment",
		Kinds:      []state.Kind{state.KindDeployment, state.KindReplicaSet, state.KindPod},
		Keys:       s.keys,
		Resync:     s.sets.Resync,
		Reconcile:  s.reconcile,
		Now:        now,
		Log:        log,
		Workers:    workers,
		MaxRetries: maxRetries,
	}
}

type shell struct {
	store    *state.Store
	recorder Recorder
	log      zerolog.Logger
	sets     controller.Owned[*appsv1.Deployment, *appsv1.ReplicaSet]
}

func (s *shell) keys(e state.Event) []state.Key {
	switch o := e.Object.(type) {
	case *appsv1.Deployment:
		return []state.Key{state.KeyOf(o)}
	case *appsv1.ReplicaSet:
		return s.sets.Keys(e)
	case *corev1.Pod:
		return s.podKeys(e.Type, o)
	}
	return nil
}

// podKeys names the Deployment that waits, under Recreate, for a pod to disappear. Nothing else is learnt from pods.
func (s *shell) podKeys(t state.EventType, pod *corev1.Pod) []state.Key {
	ref := metav1.GetControllerOfNoCopy(pod)
	if t != state.Deleted || ref == nil {
		return nil
	}
	rs, ok := state.Get[*appsv1.ReplicaSet](s.store, pod.Namespace, ref.Name)
	if !ok || rs.UID != ref.UID {
		return nil
	}
	ref = metav1.GetControllerOfNoCopy(rs)
	if ref == nil || ref.Kind != string(state.KindDeployment) {
		return nil
	}
	d, ok := state.Get[*appsv1.Deployment](s.store, rs.Namespace, ref.Name)
	if !ok || d.Spec.Strategy.Type != appsv1.RecreateDeploymentStrategyType {
		return nil
	}
	return []state.Key{state.KeyOf(d)}
}

func (s *shell) reconcile(_ context.Context, key state.Key, now time.Time) (time.Time, error) {
	d, ok := state.Get[*appsv1.Deployment](s.store, key.Namespace, key.Name)
	if !ok {
		return time.Time{}, nil
	}
	in := s.observe(d, now)
	result := Plan(in)
	err := s.execute(d, result)
	rs := created(result)
	if err == nil || rs == nil || apierrors.IsConflict(err) || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return result.WakeAt, err
	}
	// Nothing of the sync was written. Plan what can be done without the ReplicaSet, the reason told.
	in.Refused = &Refusal{Message: err.Error()}
	if apierrors.IsAlreadyExists(err) {
		existing, ok := state.Get[*appsv1.ReplicaSet](s.store, rs.Namespace, rs.Name)
		if !ok {
			return time.Time{}, err
		}
		in.Refused = &Refusal{Existing: existing}
		err = nil // the collision count, or the ReplicaSet found, leads on at once
	}
	result = Plan(in)
	if werr := s.execute(d, result); werr != nil {
		return time.Time{}, werr
	}
	return result.WakeAt, err
}

// observe reads what a Plan needs: the ReplicaSets the Deployment controls, the orphans of its namespace, and pods
// only where they count.
func (s *shell) observe(d *appsv1.Deployment, now time.Time) Input {
	in := Input{Deployment: d, ReplicaSets: s.sets.Of(d), Now: now}
	if d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		for _, rs := range in.ReplicaSets {
			in.Pods = append(in.Pods, state.OwnedBy[*corev1.Pod](s.store, rs.UID)...)
		}
	}
	return in
}

func created(r Result) *appsv1.ReplicaSet {
	for _, a := range r.Actions {
		if a.Kind == Create {
			return a.ReplicaSet
		}
	}
	return nil
}

// execute writes all of a sync in one transaction, each object on condition that nobody changed it since, and then
// tells what was done.
func (s *shell) execute(d *appsv1.Deployment, r Result) error {
	if len(r.Actions) == 0 {
		return nil
	}
	if writes := transaction(r.Actions); len(writes) > 0 {
		if _, err := reserve.Commit(s.store, d, writes...); err != nil {
			return err
		}
	}
	for _, a := range r.Actions {
		if a.Kind == Emit {
			s.recorder.Event(d, a.Event.Type, a.Event.Reason, a.Event.Message)
			continue
		}
		s.tell(d, a)
	}
	return nil
}

// tell logs an action.
func (s *shell) tell(d *appsv1.Deployment, a Action) {
	level := zerolog.InfoLevel
	if a.Kind == Annotate || a.Kind == WriteStatus || a.Kind == Scale && a.From == a.To {
		level = zerolog.DebugLevel
	}
	if level < s.log.GetLevel() {
		return
	}
	log := s.log
	if a.ReplicaSet != nil {
		log = log.With().Str(logReplicaSet, a.ReplicaSet.Name).Logger()
	}
	log.WithLevel(level).Str(logDeployment, d.Namespace+"/"+d.Name).Str(logAction, string(a.Kind)).Str(logReason, string(a.Reason)).
		Msg(a.String())
}

// transaction turns actions into writes, one for each ReplicaSet at its first action: the object an action carries
// is what all of them together make of it.
func transaction(actions []Action) []state.Write {
	var writes []state.Write
	written := map[*appsv1.ReplicaSet]bool{}
	templated := false
	for _, a := range actions {
		switch a.Kind {
		case Create:
			writes, written[a.ReplicaSet] = append(writes, state.Create(a.ReplicaSet)), true
		case Adopt, Release, Annotate, Scale:
			if !written[a.ReplicaSet] {
				writes, written[a.ReplicaSet] = append(writes, state.Update(a.ReplicaSet)), true
			}
		case Delete:
			writes = append(writes, state.Delete(state.KeyOf(a.ReplicaSet), state.DeleteOptions{UID: a.ReplicaSet.UID}))
		case SetTemplate:
			writes, templated = append(writes, state.Update(a.Deployment)), true
		case WriteStatus:
			d := a.Deployment
			if templated {
				// The write of the template, just before in this transaction, carried the condition for both.
				free := *d
				free.ResourceVersion = ""
				d = &free
			}
			writes = append(writes, state.UpdateStatus(d))
		case Emit:
		}
	}
	return writes
}
