package node

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// PodRunner runs whole pods. It is called for one pod at a time, and for several pods side by side.
type PodRunner interface {
	// Adopt tells, before anything else is called, which pods were on the node when Belay was last here.
	Adopt(pods []*corev1.Pod)
	// Sync brings the pod one step nearer to what its spec, or its deletion timestamp, asks for, and reports how it
	// is. It must not modify the pod. An error says that the runner could not find out; the pod is tried again.
	Sync(ctx context.Context, pod *corev1.Pod, now time.Time) (Report, error)
	// Remove stops, without grace, what is left of a pod whose object is gone. It is idempotent.
	Remove(ctx context.Context, uid types.UID) error
}

// Lively is a PodRunner to whose pods things happen by themselves: containers end, images arrive.
type Lively interface {
	PodRunner
	// Run does what Sync decided, until ctx ends and all that is under way has returned. It calls changed with the name
	// of each pod that Sync has news of. Sync may be called before and waits for it.
	Run(ctx context.Context, changed func(types.NamespacedName))
}

// Report is what a PodRunner knows of a pod.
type Report struct {
	// Status replaces the pod's status. The conditions that the kubelet does not own are kept in it.
	Status corev1.PodStatus
	// Events are what happened since the last report, in order.
	Events []Event
	// WakeAt is when to sync the pod again, although nothing of it has changed; zero: not needed.
	WakeAt time.Time
	// Gone says that a pod which is being deleted has stopped: its object can go.
	Gone bool
}

// Event is what a runner tells people about one pod.
type Event struct {
	Type    string // corev1.EventTypeNormal or corev1.EventTypeWarning
	Reason  string
	Message string
	Field   string // path of the part of the pod it is about, as spec.containers{web}; may be empty
}
