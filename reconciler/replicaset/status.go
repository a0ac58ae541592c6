package replicaset

import (
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Reasons of the ReplicaFailure condition, and of Events.
const (
	failedCreate     = "FailedCreate"
	failedDelete     = "FailedDelete"
	successfulCreate = "SuccessfulCreate"
	successfulDelete = "SuccessfulDelete"
)

// Status returns the ReplicaSet's status after a sync of which failure is the first error (empty: none), and when
// the next pod becomes available by time alone (zero: none does). The input is counted as it is: what the sync
// created or deleted does not show yet.
func Status(in Input, failure string) (appsv1.ReplicaSetStatus, time.Time) {
	rs := in.ReplicaSet
	p, ok := claim(in)
	if !ok {
		return rs.Status, time.Time{}
	}
	status := appsv1.ReplicaSetStatus{
		ObservedGeneration: rs.Generation,
		Replicas:           int32(len(p.active)),
		Conditions:         conditions(in, len(p.active), failure),
	}
	terminating := int32(len(p.terminating))
	status.TerminatingReplicas = &terminating

	labelled := labels.Set(rs.Spec.Template.Labels).AsSelectorPreValidated()
	var wakeAt time.Time
	for _, pod := range p.active {
		if labelled.Matches(labels.Set(pod.Labels)) {
			status.FullyLabeledReplicas++
		}
		ready := readyCondition(pod)
		if ready == nil || ready.Status != corev1.ConditionTrue {
			continue
		}
		status.ReadyReplicas++
		due := ready.LastTransitionTime.Add(time.Duration(rs.Spec.MinReadySeconds) * time.Second)
		switch {
		case rs.Spec.MinReadySeconds == 0, !ready.LastTransitionTime.IsZero() && !due.After(in.Now):
			status.AvailableReplicas++
		case !ready.LastTransitionTime.IsZero() && (wakeAt.IsZero() || due.Before(wakeAt)):
			wakeAt = due
		}
	}
	return status, wakeAt
}

func readyCondition(pod *corev1.Pod) *corev1.PodCondition {
	for i := range pod.Status.Conditions {
		if pod.Status.Conditions[i].Type == corev1.PodReady {
			return &pod.Status.Conditions[i]
		}
	}
	return nil
}

// conditions adds ReplicaFailure when managing pods failed and removes it when that succeeded. While it is there,
// neither its message nor its time change.
func conditions(in Input, active int, failure string) []appsv1.ReplicaSetCondition {
	before := in.ReplicaSet.Status.Conditions
	isFailure := func(c appsv1.ReplicaSetCondition) bool { return c.Type == appsv1.ReplicaSetReplicaFailure }
	had := slices.ContainsFunc(before, isFailure)
	switch {
	case failure == "" && had:
		return slices.DeleteFunc(slices.Clone(before), isFailure)
	case failure == "" || had:
		return before
	}
	reason := failedCreate
	if active > int(sizeOf(in.ReplicaSet)) {
		reason = failedDelete
	}
	return append(slices.Clone(before), appsv1.ReplicaSetCondition{
		Type: appsv1.ReplicaSetReplicaFailure, Status: corev1.ConditionTrue, Reason: reason, Message: failure,
		LastTransitionTime: metav1.NewTime(in.Now.Truncate(time.Second)),
	})
}
