package replicaset

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/belay-dev/belay/reconciler/owner"
)

// Burst is how many pods one sync creates or deletes at most.
const Burst = 500

// Input is all that a sync looks at. Plan edits none of it.
type Input struct {
	ReplicaSet *appsv1.ReplicaSet
	// Pods holds at least those the ReplicaSet controls and the orphans of its namespace; others are ignored.
	Pods []*corev1.Pod
	// Related holds the pods of all ReplicaSets of the same Deployment. It only ranks pods to delete, so it may be
	// empty when there are none to delete.
	Related []*corev1.Pod
	Now     time.Time
}

// Result is what a sync does. Creations and deletions exclude each other.
type Result struct {
	// Reason says why pods are created or deleted, or why not.
	Reason  Reason
	Adopt   []*corev1.Pod // as they are to be written
	Release []*corev1.Pod // as they are to be written
	Create  []*corev1.Pod // without names, all alike
	Delete  []*corev1.Pod // as read, best victim first
}

// Reason says what a sync does about the number of pods.
type Reason string

// The reasons.
const (
	ReasonEnough          Reason = "Enough"          // as many as asked for
	ReasonTooFew          Reason = "TooFew"          // create
	ReasonTooMany         Reason = "TooMany"         // delete
	ReasonDeleting        Reason = "Deleting"        // the ReplicaSet is being deleted: pods are not its business any more
	ReasonInvalidSelector Reason = "InvalidSelector" // the selector cannot be read: nothing is done
)

// String prints one change a line.
func (r Result) String() string {
	var b strings.Builder
	for _, pod := range r.Adopt {
		fmt.Fprintf(&b, "adopt %s\n", pod.Name)
	}
	for _, pod := range r.Release {
		fmt.Fprintf(&b, "release %s\n", pod.Name)
	}
	if len(r.Create) > 0 {
		fmt.Fprintf(&b, "create %d (%s)\n", len(r.Create), r.Reason)
	}
	for _, pod := range r.Delete {
		fmt.Fprintf(&b, "delete %s (%s)\n", pod.Name, r.Reason)
	}
	return b.String()
}

// Plan decides which pods a ReplicaSet takes, lets go, creates and deletes. Equal inputs give equal results.
func Plan(in Input) Result {
	p, ok := claim(in)
	if !ok {
		return Result{Reason: ReasonInvalidSelector}
	}
	var r Result
	rs := in.ReplicaSet
	for _, pod := range p.adopt {
		c := *pod
		c.OwnerReferences = owner.Add(pod.OwnerReferences, controllerRef(rs))
		r.Adopt = append(r.Adopt, &c)
	}
	for _, pod := range p.release {
		c := *pod
		c.OwnerReferences = owner.Remove(pod.OwnerReferences, rs.UID)
		r.Release = append(r.Release, &c)
	}
	surplus := len(p.active) - int(sizeOf(rs))
	switch {
	case rs.DeletionTimestamp != nil:
		r.Reason = ReasonDeleting
	case surplus < 0:
		r.Reason = ReasonTooFew
		r.Create = slices.Repeat([]*corev1.Pod{podOf(rs)}, min(-surplus, Burst))
	case surplus > 0:
		r.Reason = ReasonTooMany
		r.Delete = victims(p.active, in.Related, surplus, in.Now)[:min(surplus, Burst)]
	default:
		r.Reason = ReasonEnough
	}
	return r
}

// pods is how a sync sees the pods of its ReplicaSet.
type pods struct {
	adopt, release []*corev1.Pod // of the active ones
	active         []*corev1.Pod // neither ended nor being deleted, the adopted included
	terminating    []*corev1.Pod // being deleted, not ended
}

// claim divides the input's pods; false when the selector cannot be read.
func claim(in Input) (pods, bool) {
	selector, err := metav1.LabelSelectorAsSelector(in.ReplicaSet.Spec.Selector)
	if err != nil {
		return pods{}, false
	}
	var live, leaving []*corev1.Pod
	for _, pod := range in.Pods {
		switch {
		case ended(pod):
		case pod.DeletionTimestamp != nil:
			leaving = append(leaving, pod)
		default:
			live = append(live, pod)
		}
	}
	c := owner.Claim(in.ReplicaSet, selector, live)
	return pods{
		adopt:       c.Adopt,
		release:     c.Release,
		active:      slices.Concat(c.Owned, c.Adopt),
		terminating: owner.Claim(in.ReplicaSet, selector, leaving).Owned,
	}, true
}

// ended reports whether the pod will never run again.
func ended(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

func sizeOf(rs *appsv1.ReplicaSet) int32 {
	if rs.Spec.Replicas == nil {
		return 1
	}
	return *rs.Spec.Replicas
}

func controllerRef(rs *appsv1.ReplicaSet) metav1.OwnerReference {
	return *metav1.NewControllerRef(rs, appsv1.SchemeGroupVersion.WithKind("ReplicaSet"))
}

// podOf makes a pod of the template. Its name is generated when it is stored; the spec is shared with the template.
func podOf(rs *appsv1.ReplicaSet) *corev1.Pod {
	template := &rs.Spec.Template
	prefix := rs.Name + "-"
	if len(validation.NameIsDNSSubdomain(prefix, true)) > 0 {
		prefix = rs.Name
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			GenerateName:    prefix,
			Namespace:       rs.Namespace,
			Labels:          maps.Clone(template.Labels),
			Annotations:     maps.Clone(template.Annotations),
			Finalizers:      slices.Clone(template.Finalizers),
			OwnerReferences: []metav1.OwnerReference{controllerRef(rs)},
		},
		Spec: template.Spec,
	}
}

// batches returns the sizes in which n pods are created when not all at once: 1, 2, 4, …, the last one what is left.
// A mistake that makes every creation fail is so found out with one pod, not with 500.
func batches(n int) []int {
	var sizes []int
	for size := 1; n > 0; size *= 2 {
		size = min(size, n)
		sizes = append(sizes, size)
		n -= size
	}
	return sizes
}
