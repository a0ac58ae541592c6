package rollout

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Phase says how far the rollout of a Deployment's present template is.
type Phase string

// The phases.
const (
	PhasePending     Phase = "Pending"     // the controller has not observed the spec yet
	PhaseProgressing Phase = "Progressing" // under way
	PhaseComplete    Phase = "Complete"    // it was at its full size, available and alone, at least once
	PhaseFailed      Phase = "Failed"      // no progress within the deadline; later progress ends it
	PhasePaused      Phase = "Paused"      // paused before it was complete
)

// Progress is the rollout of a Deployment's present template as its users see it.
type Progress struct {
	Template   string // Digest of the Deployment's template
	Revision   int64  // of the ReplicaSet that has it, 0 while there is none
	ReplicaSet string // its name, empty while there is none
	Phase      Phase
	Reason     string // of the Progressing condition if it speaks of this rollout, or of ReplicaFailure while that is in the way
	Message    string
	Observed   bool // status belongs to the present spec
}

// State reads the rollout's progress from what is stored. replicaSets may hold ReplicaSets of other Deployments;
// those it does not control are ignored.
//
// The Progressing condition alone would mislead: it keeps the outcome of the former rollout until the present one
// moves, and by Kubernetes' rules sometimes longer. Complete and Failed are therefore given only when the counters,
// or the condition's own message, speak of the present ReplicaSet.
func State(d *appsv1.Deployment, replicaSets []*appsv1.ReplicaSet) Progress {
	p := Progress{
		Template: Digest(&d.Spec.Template),
		Observed: d.Status.ObservedGeneration >= d.Generation,
	}
	current := currentOf(d, replicaSets)
	subject := fmt.Sprintf("Deployment %q", d.Name)
	if current != nil {
		p.ReplicaSet = current.Name
		p.Revision, _ = Revision(current.Annotations)
		subject = fmt.Sprintf("ReplicaSet %q", current.Name)
	}
	c := conditionOf(d.Status, appsv1.DeploymentProgressing)
	if c != nil {
		p.Reason, p.Message = c.Reason, c.Message
	}
	said := func(reason, what string) bool {
		return c != nil && c.Reason == reason && c.Message == subject+what
	}
	p.Phase = phaseOf(d, p, current != nil, said)
	if p.Phase != PhaseProgressing {
		return p
	}
	switch failure := conditionOf(d.Status, appsv1.DeploymentReplicaFailure); {
	case failure != nil:
		p.Reason, p.Message = failure.Reason, failure.Message
	case p.Reason == newReplicaSetAvailable || p.Reason == progressDeadlineExceeded:
		p.Reason, p.Message = "", "" // the former rollout's
	}
	return p
}

// phaseOf chooses the phase. said reports whether the Progressing condition says something of the present rollout.
func phaseOf(d *appsv1.Deployment, p Progress, begun bool, said func(reason, what string) bool) Phase {
	switch {
	case !p.Observed && p.Reason != replicaSetCreateError:
		return PhasePending
	case begun && p.Observed && (complete(d, d.Status) || said(newReplicaSetAvailable, " has successfully progressed.")):
		return PhaseComplete
	case d.Spec.Paused:
		return PhasePaused
	case said(progressDeadlineExceeded, " has timed out progressing."):
		return PhaseFailed
	}
	return PhaseProgressing
}

// currentOf returns the oldest ReplicaSet of d that has d's template, nil when there is none.
func currentOf(d *appsv1.Deployment, replicaSets []*appsv1.ReplicaSet) *appsv1.ReplicaSet {
	var current *member
	for _, rs := range replicaSets {
		m := &member{ReplicaSet: rs}
		if (current == nil || byAge(m, current) < 0) && metav1.IsControlledBy(rs, d) && Equal(&rs.Spec.Template, &d.Spec.Template) {
			current = m
		}
	}
	if current == nil {
		return nil
	}
	return current.ReplicaSet
}
