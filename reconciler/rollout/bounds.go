package rollout

import (
	"math"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// bounds is what a rolling update may do at one size. With 3 replicas and 25 % / 25 % the surge is 1 (rounded up) and
// the unavailable 0 (rounded down): never more than 4 pods, never fewer than 3 available.
type bounds struct {
	replicas    int32
	surge       int32 // pods above replicas
	unavailable int32 // replicas that may be missing
}

func (b bounds) ceiling() int32 { return b.replicas + b.surge }
func (b bounds) floor() int32   { return b.replicas - b.unavailable }

// boundsOf computes the bounds from the present spec. Without RollingUpdate both are 0.
func boundsOf(d *appsv1.Deployment) bounds {
	b := bounds{replicas: replicasOf(d)}
	if d.Spec.Strategy.Type != appsv1.RollingUpdateDeploymentStrategyType {
		return b
	}
	var surge, unavailable *intstr.IntOrString
	if r := d.Spec.Strategy.RollingUpdate; r != nil {
		surge, unavailable = r.MaxSurge, r.MaxUnavailable
	}
	b.surge = resolve(surge, b.replicas, true)
	b.unavailable = resolve(unavailable, b.replicas, false)
	if b.surge == 0 && b.unavailable == 0 {
		// Validation refuses 0 and 0; percentages of small sizes round to it, and nothing could ever move.
		b.unavailable = 1
	}
	b.unavailable = min(b.unavailable, b.replicas)
	return b
}

// resolve turns a number or a percentage of replicas into a number; what cannot be read counts as 0.
func resolve(v *intstr.IntOrString, replicas int32, up bool) int32 {
	if v == nil {
		return 0
	}
	n, err := intstr.GetScaledValueFromIntOrPercent(v, int(replicas), up)
	if err != nil {
		return 0
	}
	return int32(n)
}

// newSize is the size the new ReplicaSet may have now: current replicas of its own out of total over all ReplicaSets.
// Both include it.
func (b bounds) newSize(current, total int32) int32 {
	switch {
	case current >= b.replicas:
		return b.replicas
	case total >= b.ceiling():
		return current
	}
	return current + min(b.ceiling()-total, b.replicas-current)
}

// removable is how many replicas of old ReplicaSets may go at once without hurting anybody: what exceeds the floor,
// less the new ReplicaSet's own replicas that are not available yet, because they count in total but serve nobody.
//
// 10 replicas, surge 3, unavailable 2, a new version that never starts: 8 old and 5 new make 13; 13 − 8 − 5 = 0, so
// nothing old goes, also when an old pod fails. After a rollback the 8 are the new ones, 7 of them available:
// 13 − 8 − 1 = 4 of the 5 bad ones go at once.
func (b bounds) removable(total, newReplicas, newAvailable int32) int32 {
	return total - b.floor() - (newReplicas - newAvailable)
}

// share is what proportional scaling gives to (or takes from) one ReplicaSet: it keeps the part it had of the largest
// total allowed before, rounded half away from zero, and no more than left.
// 8 of 13 becomes round(8·18/13) = 11 when 10 replicas become 15: share 3.
func (b bounds) share(current, maxBefore, left int32) int32 {
	var fraction int32
	switch {
	case left == 0:
		return 0
	case b.replicas == 0:
		fraction = -current
	case maxBefore > 0:
		size := float64(int64(current)*int64(b.ceiling())) / float64(maxBefore)
		fraction = int32(math.Round(size)) - current
	}
	if left > 0 {
		return min(fraction, left)
	}
	return max(fraction, left)
}

func replicasOf(d *appsv1.Deployment) int32 {
	if d.Spec.Replicas == nil {
		return 1
	}
	return *d.Spec.Replicas
}

func sizeOf(rs *appsv1.ReplicaSet) int32 {
	if rs.Spec.Replicas == nil {
		return 1
	}
	return *rs.Spec.Replicas
}

// annotatedSize reads a size from an annotation; false when it is absent or no int32 from 0 up.
func annotatedSize(rs *appsv1.ReplicaSet, key string) (int32, bool) {
	n, err := strconv.ParseUint(rs.Annotations[key], 10, 31)
	return int32(n), err == nil
}
