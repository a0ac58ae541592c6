package node

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// own are the conditions of the kubelet, in its order.
var own = []corev1.PodConditionType{
	corev1.PodReadyToStartContainers, corev1.PodInitialized, corev1.PodReady, corev1.ContainersReady, corev1.PodScheduled,
}

// Conditions are those of a pod whose containers are as status says: the kubelet's, in its order, followed by those of
// others. Incomplete are the init containers that are not done. The pod's stored conditions say when one last changed.
func Conditions(pod *corev1.Pod, status corev1.PodStatus, incomplete []string, now time.Time) []corev1.PodCondition {
	initialized, containersReady := corev1.PodCondition{}, corev1.PodCondition{}
	if len(incomplete) > 0 {
		initialized.Reason = "ContainersNotInitialized"
		initialized.Message = fmt.Sprintf("containers with incomplete status: %v", incomplete)
	}
	if unready := unready(pod, status); len(unready) > 0 {
		containersReady.Reason = "ContainersNotReady"
		containersReady.Message = fmt.Sprintf("containers with unready status: %v", unready)
	}
	ready := containersReady
	if ready.Reason == "" {
		if closed := closedGates(pod); len(closed) > 0 {
			ready.Reason, ready.Message = "ReadinessGatesNotReady", strings.Join(closed, ", ")
		}
	}
	wanted := []corev1.PodCondition{{}, initialized, ready, containersReady, {}}
	all := make([]corev1.PodCondition, 0, len(own)+len(pod.Spec.ReadinessGates))
	for i, condition := range wanted {
		condition.Type, condition.Status = own[i], corev1.ConditionTrue
		if condition.Reason != "" {
			condition.Status = corev1.ConditionFalse
		}
		condition.LastTransitionTime = metav1.Unix(now.Unix(), 0)
		if old := conditionOf(pod.Status.Conditions, own[i]); old != nil && old.Status == condition.Status {
			condition.LastTransitionTime = old.LastTransitionTime
		}
		all = append(all, condition)
	}
	for _, condition := range pod.Status.Conditions {
		if !slices.Contains(own, condition.Type) {
			all = append(all, condition)
		}
	}
	return all
}

// scheduled are the conditions of a pod that was not on a node, with what is true of that from now on.
func scheduled(pod *corev1.Pod, condition corev1.PodCondition, now time.Time) []corev1.PodCondition {
	condition.Type, condition.LastTransitionTime = corev1.PodScheduled, metav1.Unix(now.Unix(), 0)
	all := slices.DeleteFunc(slices.Clone(pod.Status.Conditions), func(c corev1.PodCondition) bool { return c.Type == corev1.PodScheduled })
	return append(all, condition)
}

// StatusOf finds a container's status by name.
func StatusOf(list []corev1.ContainerStatus, name string) (corev1.ContainerStatus, bool) {
	i := slices.IndexFunc(list, func(s corev1.ContainerStatus) bool { return s.Name == name })
	if i < 0 {
		return corev1.ContainerStatus{}, false
	}
	return list[i], true
}

// Sidecar says whether an init container keeps running beside the others.
func Sidecar(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

// unready are the containers, and the init containers that keep running, which are not ready.
func unready(pod *corev1.Pod, status corev1.PodStatus) []string {
	var names []string
	for i, spec := range pod.Spec.InitContainers {
		if Sidecar(&spec) && !status.InitContainerStatuses[i].Ready {
			names = append(names, spec.Name)
		}
	}
	for _, s := range status.ContainerStatuses {
		if !s.Ready {
			names = append(names, s.Name)
		}
	}
	return names
}

func closedGates(pod *corev1.Pod) []string {
	var closed []string
	for _, gate := range pod.Spec.ReadinessGates {
		switch condition := conditionOf(pod.Status.Conditions, gate.ConditionType); {
		case condition == nil:
			closed = append(closed, fmt.Sprintf("corresponding condition of pod readiness gate %q does not exist.", gate.ConditionType))
		case condition.Status != corev1.ConditionTrue:
			closed = append(closed, fmt.Sprintf("the status of pod readiness gate %q is not \"True\", but %v", gate.ConditionType, condition.Status))
		}
	}
	return closed
}

func conditionOf(list []corev1.PodCondition, kind corev1.PodConditionType) *corev1.PodCondition {
	i := slices.IndexFunc(list, func(c corev1.PodCondition) bool { return c.Type == kind })
	if i < 0 {
		return nil
	}
	return &list[i]
}
