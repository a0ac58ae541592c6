package rollout

import (
	"fmt"
	"maps"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// syncNew brings annotations, revision and minReadySeconds of the new ReplicaSet up to date, and the Deployment's
// revision with it. Without a new ReplicaSet it does nothing.
func (s *sync) syncNew() {
	if s.new == nil {
		return
	}
	annotations := newAnnotations(s.d, s.new.ReplicaSet, maxRevision(s.old)+1)
	if !maps.Equal(annotations, s.new.Annotations) || s.new.Spec.MinReadySeconds != s.d.Spec.MinReadySeconds {
		rs := s.new.edit()
		rs.Annotations, rs.Spec.MinReadySeconds = annotations, s.d.Spec.MinReadySeconds
		s.act(Action{Kind: Annotate, Reason: ReasonAnnotations, ReplicaSet: rs})
	}
	s.setRevision(s.new.Annotations[RevisionAnnotation])
	if hasDeadline(s.d) && conditionOf(s.d.Status, appsv1.DeploymentProgressing) == nil {
		s.progressing(corev1.ConditionTrue, foundNewReplicaSet, fmt.Sprintf("Found new replica set %q", s.new.Name))
	}
}

// ensureNew makes sure that there is a new ReplicaSet, creating it if need be. When it returns false the creation
// was refused and the sync is over.
func (s *sync) ensureNew() bool {
	if s.new != nil {
		return true
	}
	rs := s.build()
	if r := s.in.Refused; r != nil {
		if r.Existing == nil {
			s.refused(rs.Name, r.Message)
			return false
		}
		if !s.ours(r.Existing) {
			s.collided()
			return false
		}
		// Somebody else's view of the cluster lagged: it is there, and it is the one.
		s.new = &member{ReplicaSet: r.Existing, was: sizeOf(r.Existing)}
		s.setRevision(rs.Annotations[RevisionAnnotation])
		return true
	}
	s.new = &member{ReplicaSet: rs, edited: true, was: sizeOf(rs)}
	s.act(Action{Kind: Create, Reason: ReasonNewTemplate, ReplicaSet: rs, To: sizeOf(rs)})
	if size := sizeOf(rs); size > 0 {
		s.emitScaled(ReasonNewTemplate, rs.Name, 0, size)
	}
	// In Kubernetes a resume noted by this sync is a write of its own, after which the one that would tell of the
	// creation fails on a conflict, and the next sync finds the ReplicaSet made: its creation is never told.
	told := s.touched()
	s.setRevision(rs.Annotations[RevisionAnnotation])
	if hasDeadline(s.d) && !told {
		s.progressing(corev1.ConditionTrue, newReplicaSetCreated, fmt.Sprintf("Created new replica set %q", rs.Name))
	}
	return true
}

// build makes the new ReplicaSet with the size it may have at once.
func (s *sync) build() *appsv1.ReplicaSet {
	hash := Hash(&s.d.Spec.Template, s.d.Status.CollisionCount)
	template := s.d.Spec.Template.DeepCopy()
	template.Labels = withLabel(template.Labels, hash)
	selector := s.d.Spec.Selector.DeepCopy()
	selector.MatchLabels = withLabel(selector.MatchLabels, hash)

	size := s.b.replicas
	if s.d.Spec.Strategy.Type == appsv1.RollingUpdateDeploymentStrategyType {
		size = s.b.newSize(0, total(s.old))
	}
	rs := &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Name:            replicaSetName(s.d.Name, hash),
			Namespace:       s.d.Namespace,
			Labels:          maps.Clone(template.Labels),
			OwnerReferences: []metav1.OwnerReference{controllerRef(s.d)},
		},
		Spec: appsv1.ReplicaSetSpec{
			Replicas:        &size,
			MinReadySeconds: s.d.Spec.MinReadySeconds,
			Selector:        selector,
			Template:        *template,
		},
	}
	rs.Annotations = newAnnotations(s.d, rs, maxRevision(s.old)+1)
	rs.Annotations, _ = sizeAnnotations(rs.Annotations, s.b)
	return rs
}

func withLabel(labels map[string]string, hash string) map[string]string {
	labels = maps.Clone(labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[hashLabel] = hash
	return labels
}

// ours reports whether the object found in the new ReplicaSet's place is the Deployment's and has its template.
func (s *sync) ours(existing *appsv1.ReplicaSet) bool {
	for _, a := range s.result.Actions {
		if a.Kind == Release && a.ReplicaSet.UID == existing.UID {
			return false
		}
	}
	return metav1.IsControlledBy(existing, s.d) && Equal(&existing.Spec.Template, &s.d.Spec.Template)
}

// collided counts a hash collision. The count goes into the next hash; from none it becomes 1, never 0.
func (s *sync) collided() {
	count := int32(1)
	if c := s.d.Status.CollisionCount; c != nil {
		count = *c + 1
	}
	s.d.Status.CollisionCount = &count
	s.reason = ReasonHashCollision
}

// refused records that the new ReplicaSet cannot be created. It does not count as having observed the spec.
func (s *sync) refused(name, why string) {
	message := fmt.Sprintf("Failed to create new replica set %q: %s", name, why)
	if hasDeadline(s.d) {
		s.progressing(corev1.ConditionFalse, replicaSetCreateError, message)
	}
	s.reason = ReasonCreateRefused
	s.emit(ReasonCreateRefused, corev1.EventTypeWarning, replicaSetCreateError, message)
}

func (s *sync) setRevision(revision string) {
	if s.d.Annotations == nil {
		s.d.Annotations = map[string]string{}
	}
	if had, ok := s.d.Annotations[RevisionAnnotation]; !ok && revision == "" || had == revision {
		return
	}
	s.d.Annotations[RevisionAnnotation] = revision
}

// rollBack carries out the legacy request to go back to a revision; 0 means the previous one. The request is taken
// off the Deployment in every case.
func (s *sync) rollBack(revision int64) {
	s.syncNew()
	if !s.ensureNew() {
		return
	}
	clearRequest := func() {
		delete(s.d.Annotations, appsv1.DeprecatedRollbackTo)
	}
	all := s.all()
	if revision == 0 {
		if revision = previousRevision(all); revision == 0 {
			s.emit(ReasonRollbackAsked, corev1.EventTypeWarning, "DeploymentRollbackRevisionNotFound", "Unable to find last revision.")
			clearRequest()
			s.act(Action{Kind: SetTemplate, Reason: ReasonRollbackAsked, Deployment: s.d})
			return
		}
	}
	for _, m := range all {
		if n, ok := Revision(m.Annotations); !ok || n != revision {
			continue
		}
		if Equal(&m.Spec.Template, &s.d.Spec.Template) {
			s.emit(ReasonRollbackAsked, corev1.EventTypeWarning, "DeploymentRollbackTemplateUnchanged",
				fmt.Sprintf("The rollback revision contains the same template as current deployment %q", s.d.Name))
		} else {
			s.d.Spec.Template = *withoutHash(&m.Spec.Template).DeepCopy()
			s.d.Annotations = rolledBackAnnotations(s.d, m.ReplicaSet)
			s.emit(ReasonRollbackAsked, corev1.EventTypeNormal, "DeploymentRollback",
				fmt.Sprintf("Rolled back deployment %q to revision %s", s.d.Name, strconv.FormatInt(revision, 10)))
		}
		clearRequest()
		s.act(Action{Kind: SetTemplate, Reason: ReasonRollbackAsked, Deployment: s.d, ReplicaSet: m.ReplicaSet})
		return
	}
	s.emit(ReasonRollbackAsked, corev1.EventTypeWarning, "DeploymentRollbackRevisionNotFound",
		"Unable to find the revision to rollback to.")
	clearRequest()
	s.act(Action{Kind: SetTemplate, Reason: ReasonRollbackAsked, Deployment: s.d})
}
