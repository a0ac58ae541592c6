package replicaset

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// candidate is a pod with all that ranks it, computed once.
type candidate struct {
	pod        *corev1.Pod
	unassigned bool
	phase      int
	ready      bool
	readySince time.Time
	cost       int64
	neighbours int // active pods of the same Deployment on its node
	restarts   int32
	sidecars   int32 // restarts of sidecars
}

// victims returns active, the pod that is missed least first, when fewer than all have to go.
func victims(active, related []*corev1.Pod, surplus int, now time.Time) []*corev1.Pod {
	if surplus >= len(active) {
		return active
	}
	onNode := map[string]int{}
	for _, pod := range related {
		if !ended(pod) && pod.DeletionTimestamp == nil {
			onNode[pod.Spec.NodeName]++
		}
	}
	list := make([]candidate, len(active))
	for i, pod := range active {
		list[i] = candidateOf(pod, onNode[pod.Spec.NodeName])
	}
	slices.SortStableFunc(list, func(a, b candidate) int { return compare(a, b, now) })
	ranked := make([]*corev1.Pod, len(list))
	for i, c := range list {
		ranked[i] = c.pod
	}
	return ranked
}

func candidateOf(pod *corev1.Pod, neighbours int) candidate {
	c := candidate{pod: pod, unassigned: pod.Spec.NodeName == "", neighbours: neighbours}
	switch pod.Status.Phase {
	case corev1.PodRunning:
		c.phase = 2
	case corev1.PodUnknown:
		c.phase = 1
	case corev1.PodPending, corev1.PodSucceeded, corev1.PodFailed: // the last two are never active
	}
	if ready := readyCondition(pod); ready != nil && ready.Status == corev1.ConditionTrue {
		c.ready, c.readySince = true, ready.LastTransitionTime.Time
	}
	c.cost = deletionCost(pod.Annotations)
	for _, s := range pod.Status.ContainerStatuses {
		c.restarts = max(c.restarts, s.RestartCount)
	}
	for _, s := range pod.Status.InitContainerStatuses {
		if isSidecar(pod, s.Name) {
			c.sidecars = max(c.sidecars, s.RestartCount)
		}
	}
	return c
}

// deletionCost reads the annotation; what is no plain int32 counts as 0.
func deletionCost(annotations map[string]string) int64 {
	text := annotations[corev1.PodDeletionCost]
	if text == "" || text[0] == '+' || (text[0] == '0' && len(text) > 1) {
		return 0
	}
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		return 0
	}
	return n
}

func isSidecar(pod *corev1.Pod, name string) bool {
	return slices.ContainsFunc(pod.Spec.InitContainers, func(c corev1.Container) bool {
		return c.Name == name && c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
	})
}

// compare orders by Kubernetes' criteria, the first that tells two pods apart decides.
func compare(a, b candidate, now time.Time) int {
	first := cmp.Or(
		no(a.unassigned, b.unassigned), // unscheduled before scheduled
		cmp.Compare(a.phase, b.phase),  // pending before unknown before running
		-no(a.ready, b.ready),          // not ready before ready
		cmp.Compare(a.cost, b.cost),
		cmp.Compare(b.neighbours, a.neighbours), // crowded nodes first
	)
	if first != 0 {
		return first
	}
	if a.ready && b.ready {
		if c := younger(a.readySince, b.readySince, a.pod, b.pod, now); c != 0 {
			return c
		}
	}
	return cmp.Or(
		cmp.Compare(b.restarts, a.restarts),
		cmp.Compare(b.sidecars, a.sidecars),
		younger(a.pod.CreationTimestamp.Time, b.pod.CreationTimestamp.Time, a.pod, b.pod, now),
	)
}

// no orders true before false.
func no(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// younger orders the later time first, on a logarithmic scale of age: within one power of two the UID decides, so
// that pods of about the same age are taken at random instead of always the newest. No time at all comes first.
func younger(a, b time.Time, podA, podB metav1.Object, now time.Time) int {
	switch {
	case a.Equal(b):
		return 0
	case a.IsZero() || b.IsZero():
		return no(a.IsZero(), b.IsZero())
	}
	return cmp.Or(
		cmp.Compare(magnitude(now.Sub(a)), magnitude(now.Sub(b))),
		cmp.Compare(podA.GetUID(), podB.GetUID()),
	)
}

func magnitude(age time.Duration) int64 {
	if age <= 0 {
		return -1
	}
	return int64(math.Log2(float64(age)))
}
