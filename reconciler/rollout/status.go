package rollout

import (
	"fmt"
	"math"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Reasons of the conditions, as Kubernetes spells them.
const (
	minimumReplicasAvailable   = "MinimumReplicasAvailable"
	minimumReplicasUnavailable = "MinimumReplicasUnavailable"
	foundNewReplicaSet         = "FoundNewReplicaSet"
	newReplicaSetCreated       = "NewReplicaSetCreated"
	newReplicaSetAvailable     = "NewReplicaSetAvailable"
	replicaSetUpdated          = "ReplicaSetUpdated"
	replicaSetCreateError      = "ReplicaSetCreateError"
	progressDeadlineExceeded   = "ProgressDeadlineExceeded"
	deploymentPaused           = "DeploymentPaused"
	deploymentResumed          = "DeploymentResumed"
)

// hasDeadline reports whether progress is judged at all. MaxInt32 means that it is not.
func hasDeadline(d *appsv1.Deployment) bool {
	return d.Spec.ProgressDeadlineSeconds != nil && *d.Spec.ProgressDeadlineSeconds != math.MaxInt32
}

func conditionOf(s appsv1.DeploymentStatus, t appsv1.DeploymentConditionType) *appsv1.DeploymentCondition {
	for i := range s.Conditions {
		if s.Conditions[i].Type == t {
			return &s.Conditions[i]
		}
	}
	return nil
}

// setCondition replaces a condition by c at the end of the list, unless status and reason are the same: then
// nothing changes, not even the message. The transition time is kept while the status is.
func setCondition(s *appsv1.DeploymentStatus, c appsv1.DeploymentCondition) {
	if before := conditionOf(*s, c.Type); before != nil {
		if before.Status == c.Status && before.Reason == c.Reason {
			return
		}
		if before.Status == c.Status {
			c.LastTransitionTime = before.LastTransitionTime
		}
	}
	removeCondition(s, c.Type)
	s.Conditions = append(s.Conditions, c)
}

func removeCondition(s *appsv1.DeploymentStatus, t appsv1.DeploymentConditionType) {
	s.Conditions = slices.DeleteFunc(slices.Clone(s.Conditions), func(c appsv1.DeploymentCondition) bool { return c.Type == t })
}

func (s *sync) condition(t appsv1.DeploymentConditionType, status corev1.ConditionStatus, reason, message string) appsv1.DeploymentCondition {
	return appsv1.DeploymentCondition{Type: t, Status: status, Reason: reason, Message: message,
		LastUpdateTime: s.now, LastTransitionTime: s.now}
}

func (s *sync) progressing(status corev1.ConditionStatus, reason, message string) {
	setCondition(&s.d.Status, s.condition(appsv1.DeploymentProgressing, status, reason, message))
}

// bookPause notes pause and resume in the Progressing condition, so that the time of a pause does not count against
// the deadline. A deadline exceeded stays what it is.
func (s *sync) bookPause() {
	if !hasDeadline(s.d) {
		return
	}
	reason := ""
	if c := conditionOf(s.d.Status, appsv1.DeploymentProgressing); c != nil {
		reason = c.Reason
	}
	switch {
	case reason == progressDeadlineExceeded:
	case s.d.Spec.Paused && reason != deploymentPaused:
		s.progressing(corev1.ConditionUnknown, deploymentPaused, "Deployment is paused")
	case !s.d.Spec.Paused && reason == deploymentPaused:
		s.progressing(corev1.ConditionUnknown, deploymentResumed, "Deployment is resumed")
	}
}

// countStatus sets the counters and the Available condition.
func (s *sync) countStatus() {
	all := s.all()
	var asked int32
	status := appsv1.DeploymentStatus{
		ObservedGeneration: s.d.Generation,
		CollisionCount:     s.d.Status.CollisionCount,
		Conditions:         s.d.Status.Conditions,
	}
	for _, m := range all {
		status.Replicas += m.Status.Replicas
		status.ReadyReplicas += m.Status.ReadyReplicas
		status.AvailableReplicas += m.Status.AvailableReplicas
		asked += m.was
	}
	if s.new != nil {
		status.UpdatedReplicas = s.new.Status.Replicas
	}
	// By what is asked for, not by what exists: with a quota for 2 of 4 pods, 2 are unavailable. As in Kubernetes, what
	// this sync scales shows in the next one.
	status.UnavailableReplicas = max(0, asked-status.AvailableReplicas)
	status.TerminatingReplicas = terminating(all)

	if status.AvailableReplicas >= s.b.floor() {
		setCondition(&status, s.condition(appsv1.DeploymentAvailable, corev1.ConditionTrue,
			minimumReplicasAvailable, "Deployment has minimum availability."))
	} else {
		setCondition(&status, s.condition(appsv1.DeploymentAvailable, corev1.ConditionFalse,
			minimumReplicasUnavailable, "Deployment does not have minimum availability."))
	}
	s.d.Status = status
}

// terminating sums up what the ReplicaSets report; nil when an observed one does not report it.
func terminating(all []*member) *int32 {
	var n int32
	for _, m := range all {
		switch {
		case m.Status.TerminatingReplicas != nil:
			n += *m.Status.TerminatingReplicas
		case m.Status.ObservedGeneration != 0:
			return nil
		}
	}
	return &n
}

// complete reports whether status says that every replica is new, available and observed, and nothing else is left.
func complete(d *appsv1.Deployment, status appsv1.DeploymentStatus) bool {
	replicas := replicasOf(d)
	return status.UpdatedReplicas == replicas && status.Replicas == replicas && status.AvailableReplicas == replicas &&
		status.ObservedGeneration >= d.Generation
}

// progressed reports whether anything moved forward from before to after.
func progressed(before, after appsv1.DeploymentStatus) bool {
	return after.UpdatedReplicas > before.UpdatedReplicas ||
		after.Replicas-after.UpdatedReplicas < before.Replicas-before.UpdatedReplicas ||
		after.ReadyReplicas > before.ReadyReplicas ||
		after.AvailableReplicas > before.AvailableReplicas
}

// deadline returns when the rollout has made no progress for too long; zero when nothing is judged.
func deadline(d *appsv1.Deployment, c *appsv1.DeploymentCondition) time.Time {
	if !hasDeadline(d) || c == nil || c.Reason == newReplicaSetAvailable {
		return time.Time{}
	}
	return c.LastUpdateTime.Add(time.Duration(*d.Spec.ProgressDeadlineSeconds) * time.Second)
}

// rolloutStatus sets counters and all conditions at the end of a rollout sync, and the time of the next look at the
// deadline.
func (s *sync) rolloutStatus() {
	before := s.d.Status
	s.countStatus()
	s.judgeProgress(before)
	s.copyFailure()

	switch c := conditionOf(s.d.Status, appsv1.DeploymentProgressing); {
	case complete(s.d, s.d.Status):
		s.wait(ReasonComplete)
	case c != nil && c.Reason != progressDeadlineExceeded && !deadline(s.d, c).IsZero():
		// A second more: the time in the condition has no fractions.
		s.result.WakeAt = deadline(s.d, c).Add(time.Second)
	}
	if len(s.result.Waits) == 0 {
		s.wait(ReasonNotAvailable)
	}
}

// judgeProgress sets the Progressing condition. A rollout that was complete and still has one ReplicaSet's pods only
// is not judged again: pods that fail later, or a new size, are not its concern.
func (s *sync) judgeProgress(before appsv1.DeploymentStatus) {
	if !hasDeadline(s.d) {
		removeCondition(&s.d.Status, appsv1.DeploymentProgressing)
		return
	}
	status := &s.d.Status
	current := conditionOf(before, appsv1.DeploymentProgressing)
	if current != nil && current.Reason == newReplicaSetAvailable && status.Replicas == status.UpdatedReplicas {
		return
	}
	switch due := deadline(s.d, current); {
	case complete(s.d, *status):
		s.progressing(corev1.ConditionTrue, newReplicaSetAvailable, s.subject()+" has successfully progressed.")
	case progressed(before, *status):
		c := s.condition(appsv1.DeploymentProgressing, corev1.ConditionTrue, replicaSetUpdated, s.subject()+" is progressing.")
		if current != nil && current.Status == c.Status {
			c.LastTransitionTime = current.LastTransitionTime
		}
		// Every progress restarts the clock, so the usual rule that an equal reason changes nothing is passed by.
		removeCondition(status, appsv1.DeploymentProgressing)
		status.Conditions = append(status.Conditions, c)
	case current != nil && current.Reason == progressDeadlineExceeded, !due.IsZero() && due.Before(s.in.Now):
		s.progressing(corev1.ConditionFalse, progressDeadlineExceeded, s.subject()+" has timed out progressing.")
	}
}

func (s *sync) subject() string {
	if s.new == nil {
		return fmt.Sprintf("Deployment %q", s.d.Name)
	}
	return fmt.Sprintf("ReplicaSet %q", s.new.Name)
}

// copyFailure shows the ReplicaFailure condition of the new ReplicaSet, else of the first other one that has it.
func (s *sync) copyFailure() {
	all := s.all()
	if s.new != nil {
		all = append([]*member{s.new}, all...)
	}
	for _, m := range all {
		for _, c := range m.Status.Conditions {
			if c.Type == appsv1.ReplicaSetReplicaFailure {
				setCondition(&s.d.Status, appsv1.DeploymentCondition{
					Type: appsv1.DeploymentReplicaFailure, Status: c.Status, Reason: c.Reason, Message: c.Message,
					LastUpdateTime: c.LastTransitionTime, LastTransitionTime: c.LastTransitionTime})
				return
			}
		}
	}
	removeCondition(&s.d.Status, appsv1.DeploymentReplicaFailure)
}

func controllerOf(o metav1.Object) *metav1.OwnerReference { return metav1.GetControllerOfNoCopy(o) }
