package node

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/rs/zerolog"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/belay-dev/belay/reconciler/controller"
	"github.com/belay-dev/belay/reconciler/event"
	"github.com/belay-dev/belay/reconciler/reserve"
	"github.com/belay-dev/belay/state"
)

// Name is the name of the node.
const Name = "belay"

// Who the Events of a pod say they are from, as on any cluster.
const (
	kubelet   = "kubelet"
	scheduler = "default-scheduler"
)

const workers = 4

// New is the node agent over store: the pods it finds there are adopted by runner at once, the rest happens when the
// controller runs.
func New(store *state.Store, runner PodRunner, log zerolog.Logger, now func() time.Time) controller.Config {
	a := &agent{
		store: store, runner: runner,
		kubelet:   event.NewRecorder(store, kubelet, now, event.Host(Name), event.Log(log)),
		scheduler: event.NewRecorder(store, scheduler, now, event.Log(log)),
		known:     map[state.Key]types.UID{},
	}
	var pods []*corev1.Pod
	for _, pod := range state.List[*corev1.Pod](store, "") {
		if pod.Spec.NodeName == Name {
			pods = append(pods, pod)
			a.known[state.KeyOf(pod)] = pod.UID
		}
	}
	runner.Adopt(pods)
	config := controller.Config{
		Name: "node", Kinds: []state.Kind{state.KindPod},
		Keys: a.keys, Resync: a.resync,
		Reconcile: a.reconcile, Now: now, Log: log, Workers: workers,
	}
	if lively, ok := runner.(Lively); ok {
		config.Beside = func(ctx context.Context, look func(...state.Key)) {
			lively.Run(ctx, func(pod types.NamespacedName) {
				look(state.Key{Kind: state.KindPod, Namespace: pod.Namespace, Name: pod.Name})
			})
		}
	}
	return config
}

type agent struct {
	store              *state.Store
	runner             PodRunner
	kubelet, scheduler *event.Recorder

	placing sync.Mutex // of pods that ask for ports of this machine

	mu    sync.Mutex
	known map[state.Key]types.UID // the pods that the runner was given
}

// resync has the pods that there are, and those that went while nobody watched.
func (a *agent) resync(store *state.Store) []state.Key {
	var keys []state.Key
	for _, pod := range store.List(state.KindPod, "") {
		keys = append(keys, state.KeyOf(pod))
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for key := range a.known {
		keys = append(keys, key)
	}
	return keys
}

func (a *agent) reconcile(ctx context.Context, key state.Key, now time.Time) (time.Time, error) {
	pod, _ := state.Get[*corev1.Pod](a.store, key.Namespace, key.Name)
	if err := a.removeOther(ctx, key, pod); err != nil {
		return time.Time{}, err
	}
	if pod == nil || pod.Spec.NodeName != "" && pod.Spec.NodeName != Name {
		return time.Time{}, nil
	}
	wakeAt, err := a.sync(ctx, key, pod, now)
	if apierrors.IsNotFound(err) { // gone since it was read
		return now, nil
	}
	return wakeAt, err
}

// removeOther stops a pod that had the key before and is gone.
func (a *agent) removeOther(ctx context.Context, key state.Key, pod *corev1.Pod) error {
	a.mu.Lock()
	uid, ok := a.known[key]
	a.mu.Unlock()
	if !ok || pod != nil && pod.UID == uid {
		return nil
	}
	if err := a.runner.Remove(ctx, uid); err != nil {
		return fmt.Errorf("remove pod %s: %w", uid, err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.known, key)
	return nil
}

func (a *agent) sync(ctx context.Context, key state.Key, pod *corev1.Pod, now time.Time) (time.Time, error) {
	if pod.Spec.NodeName == "" {
		if len(pod.Spec.SchedulingGates) > 0 {
			return time.Time{}, a.gate(pod, now)
		}
		bound, err := a.place(pod, now)
		if err != nil || bound == nil {
			return time.Time{}, err
		}
		pod = bound
	}
	a.mu.Lock()
	a.known[key] = pod.UID
	a.mu.Unlock()
	report, err := a.runner.Sync(ctx, pod, now)
	if err != nil {
		return time.Time{}, fmt.Errorf("run pod: %w", err)
	}
	// The status first: when it is refused, the next report has these Events again.
	if err := a.write(pod, report); err != nil {
		return time.Time{}, err
	}
	for _, e := range report.Events {
		a.kubelet.EventField(pod, e.Field, e.Type, e.Reason, e.Message)
	}
	return report.WakeAt, nil
}

// gate says of a pod that it waits for its scheduling gates to be taken away, unless it says so already. The API says it of
// a pod that is created there; controllers create theirs past it.
func (a *agent) gate(pod *corev1.Pod, now time.Time) error {
	if conditionOf(pod.Status.Conditions, corev1.PodScheduled) != nil {
		return nil
	}
	after := *pod // the store copies what it is given
	after.Status.Conditions = scheduled(pod, corev1.PodCondition{
		Status: corev1.ConditionFalse, Reason: corev1.PodReasonSchedulingGated, Message: "Scheduling is blocked due to non-empty scheduling gates",
	}, now)
	if _, err := reserve.Commit(a.store, pod, state.UpdateStatus(&after)); err != nil {
		return fmt.Errorf("write pod status: %w", err)
	}
	return nil
}

// bind assigns a pod to this node, the only one there is.
func (a *agent) bind(pod *corev1.Pod, now time.Time) (*corev1.Pod, error) {
	bound := *pod // the store copies what it is given
	bound.Spec.NodeName = Name
	writes := []state.Write{state.Update(&bound)}
	if c := conditionOf(pod.Status.Conditions, corev1.PodScheduled); c != nil && c.Status != corev1.ConditionTrue {
		placed := bound
		placed.ResourceVersion = "" // that of the write before
		placed.Status.Conditions = scheduled(pod, corev1.PodCondition{Status: corev1.ConditionTrue}, now)
		writes = append(writes, state.UpdateStatus(&placed))
	}
	receipt, err := reserve.Commit(a.store, pod, writes...)
	if err != nil {
		return nil, fmt.Errorf("bind pod: %w", err)
	}
	a.scheduler.Event(pod, corev1.EventTypeNormal, "Scheduled",
		fmt.Sprintf("Successfully assigned %s/%s to %s", pod.Namespace, pod.Name, Name))
	return receipt.Objects[len(writes)-1].(*corev1.Pod), nil
}

// write brings a report into the store. Nothing is written when nothing changed.
func (a *agent) write(pod *corev1.Pod, report Report) error {
	if report.Gone {
		now := int64(0)
		options := state.DeleteOptions{UID: pod.UID, GracePeriodSeconds: &now}
		if _, err := reserve.Commit(a.store, pod, state.Delete(state.KeyOf(pod), options)); err != nil {
			return fmt.Errorf("remove stopped pod: %w", err)
		}
		return nil
	}
	if equality.Semantic.DeepEqual(pod.Status, report.Status) {
		return nil
	}
	after := *pod // the store copies what it is given
	after.Status = report.Status
	if _, err := reserve.Commit(a.store, pod, state.UpdateStatus(&after)); err != nil {
		return fmt.Errorf("write pod status: %w", err)
	}
	return nil
}
