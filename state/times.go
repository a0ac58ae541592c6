package state

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// truncateTimes brings every time of an object to the precision of its written form: whole seconds, and
// microseconds for a MicroTime. It also gives them the location which they have after reading.
func truncateTimes(o Object) {
	truncateMeta(o)
	switch o := o.(type) {
	case *appsv1.Deployment:
		for i := range o.Status.Conditions {
			second(&o.Status.Conditions[i].LastUpdateTime)
			second(&o.Status.Conditions[i].LastTransitionTime)
		}
	case *appsv1.ReplicaSet:
		for i := range o.Status.Conditions {
			second(&o.Status.Conditions[i].LastTransitionTime)
		}
	case *corev1.Pod:
		truncatePod(&o.Status)
	case *corev1.Service:
		for i := range o.Status.Conditions {
			second(&o.Status.Conditions[i].LastTransitionTime)
		}
	case *autoscalingv2.HorizontalPodAutoscaler:
		if o.Status.LastScaleTime != nil {
			at := *o.Status.LastScaleTime
			second(&at)
			o.Status.LastScaleTime = &at
		}
		for i := range o.Status.Conditions {
			second(&o.Status.Conditions[i].LastTransitionTime)
		}
	case *corev1.Namespace:
		for i := range o.Status.Conditions {
			second(&o.Status.Conditions[i].LastTransitionTime)
		}
	case *corev1.Event:
		second(&o.FirstTimestamp)
		second(&o.LastTimestamp)
		microsecond(&o.EventTime)
		if o.Series != nil {
			microsecond(&o.Series.LastObservedTime)
		}
	}
}

func truncateMeta(o Object) {
	created := o.GetCreationTimestamp()
	second(&created)
	o.SetCreationTimestamp(created)
	if deleted := o.GetDeletionTimestamp(); deleted != nil {
		second(deleted)
	}
	managed := o.GetManagedFields()
	for i := range managed {
		if managed[i].Time != nil {
			second(managed[i].Time)
		}
	}
}

func truncatePod(status *corev1.PodStatus) {
	if status.StartTime != nil {
		second(status.StartTime)
	}
	for i := range status.Conditions {
		second(&status.Conditions[i].LastProbeTime)
		second(&status.Conditions[i].LastTransitionTime)
	}
	for _, list := range [][]corev1.ContainerStatus{
		status.InitContainerStatuses, status.ContainerStatuses, status.EphemeralContainerStatuses,
	} {
		for i := range list {
			truncateContainer(&list[i].State)
			truncateContainer(&list[i].LastTerminationState)
		}
	}
}

func truncateContainer(state *corev1.ContainerState) {
	if state.Running != nil {
		second(&state.Running.StartedAt)
	}
	if state.Terminated != nil {
		second(&state.Terminated.StartedAt)
		second(&state.Terminated.FinishedAt)
	}
}

func second(t *metav1.Time) {
	if !t.IsZero() {
		*t = metav1.Unix(t.Unix(), 0)
	}
}

func microsecond(t *metav1.MicroTime) {
	if !t.IsZero() {
		*t = metav1.NewMicroTime(time.UnixMicro(t.UnixMicro()))
	}
}
