package simulated

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/belay-dev/belay/reconciler/node"
)

// events are what the kubelet would have said about a pod between two statuses. The images of pulled had to be
// pulled for this pod.
func events(pod *corev1.Pod, after corev1.PodStatus, pulled map[string]bool, took time.Duration) []node.Event {
	var all []node.Event
	for i, s := range after.InitContainerStatuses {
		before, _ := node.StatusOf(pod.Status.InitContainerStatuses, s.Name)
		field := fmt.Sprintf("spec.initContainers{%s}", s.Name)
		v := voice{pod: pod, spec: &pod.Spec.InitContainers[i], field: field, pulled: pulled[s.Image]}
		all = append(all, v.speak(before, s)...)
	}
	for i, s := range after.ContainerStatuses {
		before, _ := node.StatusOf(pod.Status.ContainerStatuses, s.Name)
		field := fmt.Sprintf("spec.containers{%s}", s.Name)
		v := voice{pod: pod, spec: &pod.Spec.Containers[i], field: field, pulled: pulled[s.Image], took: took}
		all = append(all, v.speak(before, s)...)
	}
	return all
}

// voice says what happens to one container.
type voice struct {
	pod    *corev1.Pod
	spec   *corev1.Container
	field  string
	pulled bool
	took   time.Duration
}

func (v voice) speak(before, after corev1.ContainerStatus) []node.Event {
	if isWaiting(before, reasonOf(after)) {
		return nil
	}
	switch reason := reasonOf(after); reason {
	case podInitializing:
		return nil
	case containerCreating:
		if !v.pulled {
			return nil
		}
		return []node.Event{v.pulling()}
	case errImagePull:
		out := []node.Event{
			v.warning("Failed", fmt.Sprintf("Failed to pull image %q: %s", v.spec.Image, after.State.Waiting.Message)),
			v.warning("Failed", "Error: "+reason),
		}
		if isWaiting(before, containerCreating) {
			return out // it said so when it began
		}
		return append([]node.Event{v.pulling()}, out...)
	case imagePullBackOff:
		return []node.Event{
			v.normal("BackOff", fmt.Sprintf("Back-off pulling image %q", v.spec.Image)),
			v.warning("Failed", "Error: "+reason),
		}
	case errImageNeverPull:
		return []node.Event{v.warning(reason, after.State.Waiting.Message), v.warning("Failed", "Error: "+reason)}
	case crashLoopBackOff:
		return []node.Event{v.warning("BackOff", fmt.Sprintf("Back-off restarting failed container %s in pod %s_%s(%s)",
			v.spec.Name, v.pod.Name, v.pod.Namespace, v.pod.UID))}
	default:
		return v.start(before, after)
	}
}

// start is said of a container that runs, or has run, and did not before.
func (v voice) start(before, after corev1.ContainerStatus) []node.Event {
	had := before.State.Running != nil || before.State.Terminated != nil
	if had && before.RestartCount == after.RestartCount {
		return nil
	}
	present := v.normal("Pulled", fmt.Sprintf("Container image %q already present on machine and can be accessed by the pod", v.spec.Image))
	var out []node.Event
	switch {
	case after.RestartCount > 0 || !v.pulled:
		out = append(out, present)
	default:
		if !isWaiting(before, containerCreating) {
			out = append(out, v.pulling())
		}
		out = append(out, v.normal("Pulled", fmt.Sprintf(
			"Successfully pulled image %q in %s (%s including waiting). Image size: 0 bytes.", v.spec.Image, v.took, v.took)))
	}
	return append(out, v.normal("Created", "Container created"), v.normal("Started", "Container started"))
}

// killing is said once of each container of a pod that begins to stop.
func killing(pod *corev1.Pod) []node.Event {
	var all []node.Event
	for _, s := range pod.Status.ContainerStatuses {
		if s.State.Running == nil {
			continue
		}
		all = append(all, node.Event{
			Type: corev1.EventTypeNormal, Reason: "Killing", Message: "Stopping container " + s.Name,
			Field: fmt.Sprintf("spec.containers{%s}", s.Name),
		})
	}
	return all
}

func (v voice) pulling() node.Event {
	return v.normal("Pulling", fmt.Sprintf("Pulling image %q", v.spec.Image))
}

func (v voice) normal(reason, message string) node.Event {
	return node.Event{Type: corev1.EventTypeNormal, Reason: reason, Message: message, Field: v.field}
}

func (v voice) warning(reason, message string) node.Event {
	return node.Event{Type: corev1.EventTypeWarning, Reason: reason, Message: message, Field: v.field}
}

// reasonOf is why a container waits; empty when it does not.
func reasonOf(s corev1.ContainerStatus) string {
	if s.State.Waiting == nil {
		return ""
	}
	return s.State.Waiting.Reason
}

func isWaiting(s corev1.ContainerStatus, reason string) bool {
	return reason != "" && reasonOf(s) == reason
}
