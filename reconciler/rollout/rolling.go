package rollout

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// total is the sum of the sizes asked for. It, not the number of pods, is what the bounds are about.
func total(list []*member) int32 {
	var n int32
	for _, m := range list {
		n += sizeOf(m.ReplicaSet)
	}
	return n
}

func active(list []*member) []*member {
	var found []*member
	for _, m := range list {
		if sizeOf(m.ReplicaSet) > 0 {
			found = append(found, m)
		}
	}
	return found
}

// scale sets the size of a ReplicaSet and notes the Deployment's size on it. Without force a ReplicaSet of that size
// is left alone, notes included. It reports whether the size changed.
func (s *sync) scale(m *member, size int32, reason Reason, force bool) bool {
	from := sizeOf(m.ReplicaSet)
	if from == size && !force {
		return false
	}
	annotations, noted := sizeAnnotations(m.Annotations, s.b)
	if from == size && !noted {
		return false
	}
	rs := m.edit()
	rs.Spec.Replicas, rs.Annotations = &size, annotations
	s.act(Action{Kind: Scale, Reason: reason, ReplicaSet: rs, From: from, To: size})
	if from == size {
		return false
	}
	s.emitScaled(reason, rs.Name, from, size)
	return true
}

func (s *sync) emitScaled(reason Reason, name string, from, to int32) {
	way := "up"
	if from > to {
		way = "down"
	}
	s.emit(reason, corev1.EventTypeNormal, "ScalingReplicaSet",
		fmt.Sprintf("Scaled %s replica set %s from %d to %d", way, name, from, to))
}

// rollingUpdate grows the new ReplicaSet or, when that is not possible, shrinks the old ones: one of the two.
func (s *sync) rollingUpdate() {
	if !s.ensureNew() {
		return
	}
	if !s.resizeNew() && !s.shrinkOld() && complete(s.d, s.d.Status) {
		s.prune()
	}
	s.rolloutStatus()
}

func (s *sync) resizeNew() bool {
	current := sizeOf(s.new.ReplicaSet)
	reason := ReasonRoomToSurge
	if current > s.b.replicas {
		reason = ReasonTooLarge
	}
	size := s.b.newSize(current, total(s.all()))
	if size == current && current < s.b.replicas {
		s.wait(ReasonNoRoomToSurge)
	}
	return s.scale(s.new, size, reason, false)
}

// shrinkOld takes replicas from the old ReplicaSets, oldest first: those that serve nobody before others, and then
// as many as are available above the floor. The two have budgets of their own.
func (s *sync) shrinkOld() bool {
	old := active(s.old)
	if len(old) == 0 {
		return false
	}
	removable := s.b.removable(total(s.all()), sizeOf(s.new.ReplicaSet), s.new.Status.AvailableReplicas)
	if removable <= 0 {
		s.wait(ReasonAtFloor)
		return false
	}
	shrunk := false
	for _, m := range old {
		size, available := sizeOf(m.ReplicaSet), m.Status.AvailableReplicas
		if removable == 0 {
			break
		}
		if available > size {
			// Its last shrinking has not reached its status: the available pods it counts are going already.
			s.wait(ReasonStatusLags)
			return false
		}
		n := min(removable, size-available)
		removable -= n
		shrunk = s.scale(m, size-n, ReasonUnhealthy, false) || shrunk
	}
	spare := s.new.Status.AvailableReplicas - s.b.floor()
	for _, m := range old {
		spare += m.Status.AvailableReplicas
	}
	for _, m := range old {
		size := sizeOf(m.ReplicaSet)
		n := min(size, spare)
		if n <= 0 {
			continue
		}
		spare -= n
		shrunk = s.scale(m, size-n, ReasonAboveFloor, false) || shrunk
	}
	if !shrunk {
		s.wait(ReasonAtFloor)
	}
	return shrunk
}

// recreate takes all old ReplicaSets to 0, waits until their pods are gone, and only then makes the new one.
func (s *sync) recreate() {
	shrunk := false
	for _, m := range s.old {
		shrunk = s.scale(m, 0, ReasonRecreate, false) || shrunk
	}
	if shrunk {
		s.rolloutStatus()
		return
	}
	if s.oldPodsRemain() {
		s.wait(ReasonOldPodsRemain)
		s.rolloutStatus()
		return
	}
	if !s.ensureNew() {
		return
	}
	s.scale(s.new, s.b.replicas, ReasonRecreate, false)
	if complete(s.d, s.d.Status) {
		s.prune()
	}
	s.rolloutStatus()
}

// oldPodsRemain reports whether a pod of an old ReplicaSet may still run: what counts is the pod object and its
// phase, also while it is being deleted.
func (s *sync) oldPodsRemain() bool {
	for _, m := range s.old {
		if m.Status.Replicas > 0 {
			return true
		}
	}
	for _, pod := range s.in.Pods {
		if pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded {
			continue
		}
		if ref := controllerOf(pod); ref != nil && slices.ContainsFunc(s.old, func(m *member) bool { return m.UID == ref.UID }) {
			return true
		}
	}
	return false
}

// sizeChanged reports whether an active ReplicaSet was last scaled for another size of the Deployment.
func (s *sync) sizeChanged() bool {
	return slices.ContainsFunc(active(s.all()), func(m *member) bool {
		desired, ok := annotatedSize(m.ReplicaSet, DesiredAnnotation)
		return ok && desired != s.b.replicas
	})
}

// resize follows a change of the Deployment's size without moving the rollout on.
func (s *sync) resize() {
	running := active(s.all())
	switch {
	case len(running) == 1:
		s.scale(running[0], s.b.replicas, ReasonResized, false)
	case len(running) == 0 && s.new != nil:
		s.scale(s.new, s.b.replicas, ReasonResized, false)
	case len(running) == 0 && len(s.old) > 0:
		s.scale(s.old[len(s.old)-1], s.b.replicas, ReasonResized, false)
	case len(running) == 0:
	case s.saturated():
		for _, m := range slices.Backward(active(s.old)) { // the youngest first
			s.scale(m, 0, ReasonSaturated, false)
		}
	case s.d.Spec.Strategy.Type == appsv1.RollingUpdateDeploymentStrategyType:
		s.resizeInProportion(running)
	}
}

// saturated reports whether the new ReplicaSet alone is all the Deployment asks for.
func (s *sync) saturated() bool {
	if s.new == nil {
		return false
	}
	desired, ok := annotatedSize(s.new.ReplicaSet, DesiredAnnotation)
	return ok && desired == s.b.replicas && sizeOf(s.new.ReplicaSet) == s.b.replicas &&
		s.new.Status.AvailableReplicas == s.b.replicas
}

// resizeInProportion spreads a change of size over all running ReplicaSets, the largest first; what rounding leaves
// over goes to the first.
func (s *sync) resizeInProportion(running []*member) {
	var allowed int32
	if s.b.replicas > 0 {
		allowed = s.b.ceiling()
	}
	add := allowed - total(running)
	switch {
	case add > 0:
		slices.SortFunc(running, func(a, b *member) int { return cmp.Or(bySize(a, b), byAge(b, a)) })
	case add < 0:
		slices.SortFunc(running, func(a, b *member) int { return cmp.Or(bySize(a, b), byAge(a, b)) })
	}
	left := add
	sizes := make([]int32, len(running))
	for i, m := range running {
		share := s.b.share(sizeOf(m.ReplicaSet), s.maxBefore(m), left)
		sizes[i] = sizeOf(m.ReplicaSet) + share
		left -= share
	}
	sizes[0] = max(0, sizes[0]+left)
	for i, m := range running {
		s.scale(m, sizes[i], ReasonProportional, true)
	}
}

func bySize(a, b *member) int { return cmp.Compare(sizeOf(b.ReplicaSet), sizeOf(a.ReplicaSet)) }

// maxBefore is the ceiling when the ReplicaSet was last scaled; unknown, the pods there are.
func (s *sync) maxBefore(m *member) int32 {
	if n, ok := annotatedSize(m.ReplicaSet, MaxAnnotation); ok && n > 0 {
		return n
	}
	return s.d.Status.Replicas
}

// prune deletes the oldest old ReplicaSets beyond the history limit. One that still has pods, or was not observed
// yet, stays, and no younger one goes in its place. As in Kubernetes the sizes are those from before this sync: while
// paused, with no new ReplicaSet yet and no history kept, the last old one is scaled up and deleted in one sync.
func (s *sync) prune() {
	limit := s.d.Spec.RevisionHistoryLimit
	if limit == nil || *limit == math.MaxInt32 {
		return
	}
	var kept []*member
	for _, m := range s.old {
		if m.DeletionTimestamp == nil {
			kept = append(kept, m)
		}
	}
	excess := len(kept) - int(*limit)
	if excess <= 0 {
		return
	}
	slices.SortFunc(kept, func(a, b *member) int {
		x, okA := Revision(a.Annotations)
		y, okB := Revision(b.Annotations)
		if !okA || !okB || x == y {
			return byAge(a, b)
		}
		return cmp.Compare(x, y)
	})
	for _, m := range kept[:excess] {
		if m.Status.Replicas == 0 && m.was == 0 && m.Generation <= m.Status.ObservedGeneration {
			s.act(Action{Kind: Delete, Reason: ReasonHistoryLimit, ReplicaSet: m.ReplicaSet})
		}
	}
}
