package simulated

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/belay-dev/belay/reconciler/node"
)

// hostIP is the address of the simulated node.
const hostIP = "127.0.0.1"

// Memory is what the node knows of a pod beside its object, whose times are whole seconds.
type Memory struct {
	Arrived  time.Time // on the node
	Stopping time.Time // since when it is being deleted; zero when it is not
	IP       string
}

// Status is how a pod is at now, and when that changes by itself (zero: never); with gone, a pod that is being
// deleted has stopped. It depends on its arguments alone and does not modify them.
//
// What cannot be told from times is taken from the stored status: when a condition last changed, conditions that are
// not the node's, and when a container that still runs was started.
func Status(pod *corev1.Pod, options Options, memory Memory, now time.Time) (status corev1.PodStatus, wakeAt time.Time, gone bool) {
	if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return pod.Status, time.Time{}, pod.DeletionTimestamp != nil
	}
	if pod.DeletionTimestamp != nil {
		end := memory.Stopping.Add(options.Stop)
		if last := pod.DeletionTimestamp.Time; last.Before(end) {
			end = last
		}
		return pod.Status, end, !now.Before(end)
	}

	l := life{pod: pod, options: options, begin: memory.Arrived, now: now}
	status = pod.Status // every list of it is replaced, none is changed in place
	status.HostIP, status.HostIPs = hostIP, []corev1.HostIP{{IP: hostIP}}
	status.PodIP, status.PodIPs = memory.IP, []corev1.PodIP{{IP: memory.IP}}
	if status.StartTime == nil {
		arrived := second(memory.Arrived)
		status.StartTime = &arrived
	}
	status.InitContainerStatuses = l.initContainers()
	status.ContainerStatuses = l.containers()
	status.Phase = corev1.PodPending
	if allStarted(status.ContainerStatuses) {
		status.Phase = corev1.PodRunning
	}
	status.Conditions = node.Conditions(pod, status, l.incomplete, now)
	return status, l.next, false
}

// life walks through the containers of a pod in the order in which they begin.
type life struct {
	pod     *corev1.Pod
	options Options
	begin   time.Time // of the container that comes next
	now     time.Time

	next        time.Time
	initialized bool
	incomplete  []string // init containers that are not done
}

// initContainers begin one after the other, each when the one before has ended, or, for one that keeps running, has
// started. They take no time: only the images that do not just run keep a pod here.
func (l *life) initContainers() []corev1.ContainerStatus {
	l.initialized = true
	var all []corev1.ContainerStatus
	for i := range l.pod.Spec.InitContainers {
		spec := &l.pod.Spec.InitContainers[i]
		sidecar := spec.RestartPolicy != nil && *spec.RestartPolicy == corev1.ContainerRestartPolicyAlways
		out := outcome{state: waiting(podInitializing, "")}
		done := false
		if l.initialized {
			options := l.options
			behaviour := options.Images[spec.Image]
			if behaviour == "" || behaviour == Unready {
				options.Delay = 0
			}
			out = instance{pod: l.pod, spec: spec, options: options, begin: l.begin, now: l.now}.outcome()
			switch {
			case sidecar:
				done = out.started && behaviour != Crash
			case behaviour == "":
				done = true
				out = outcome{ready: true, state: corev1.ContainerState{Terminated: terminated(completed, 0, l.begin, l.begin)}}
			}
		}
		l.wake(out.next)
		if !done {
			l.initialized = false
			l.incomplete = append(l.incomplete, spec.Name)
		}
		all = append(all, l.status(spec, out, l.pod.Status.InitContainerStatuses))
	}
	return all
}

// containers begin together, once the init containers are done.
func (l *life) containers() []corev1.ContainerStatus {
	var all []corev1.ContainerStatus
	for i := range l.pod.Spec.Containers {
		spec := &l.pod.Spec.Containers[i]
		out := outcome{state: waiting(podInitializing, "")}
		if l.initialized {
			out = instance{pod: l.pod, spec: spec, options: l.options, begin: l.begin, now: l.now}.outcome()
			l.wake(out.next)
		}
		all = append(all, l.status(spec, out, l.pod.Status.ContainerStatuses))
	}
	return all
}

func (l *life) wake(at time.Time) {
	if !at.IsZero() && (l.next.IsZero() || at.Before(l.next)) {
		l.next = at
	}
}

func (l *life) status(spec *corev1.Container, out outcome, before []corev1.ContainerStatus) corev1.ContainerStatus {
	status := corev1.ContainerStatus{
		Name: spec.Name, Image: spec.Image, State: out.state, LastTerminationState: out.last,
		RestartCount: out.restarts, Ready: out.ready, Started: &out.started,
	}
	id := func(instance int32) string {
		return fmt.Sprintf("simulated://%s/%s/%d", l.pod.UID, spec.Name, instance)
	}
	if out.state.Waiting == nil || out.restarts > 0 {
		status.ImageID = "simulated://" + spec.Image
		status.ContainerID = id(out.restarts)
	}
	if ended := out.state.Terminated; ended != nil {
		ended.ContainerID = id(out.restarts)
	}
	if ended := out.last.Terminated; ended != nil {
		ended.ContainerID = id(out.restarts)
		if out.state.Waiting == nil {
			ended.ContainerID = id(out.restarts - 1)
		}
	}
	// After a restart of Belay the arrival is known to the second only: what runs goes on as it was.
	old, ok := node.StatusOf(before, spec.Name)
	if ok && old.RestartCount == out.restarts && old.State.Running != nil && out.state.Running != nil {
		status.State = old.State
	}
	return status
}

// allStarted says whether every container has started at least once.
func allStarted(list []corev1.ContainerStatus) bool {
	return !slices.ContainsFunc(list, func(s corev1.ContainerStatus) bool {
		return s.State.Waiting != nil && s.LastTerminationState.Terminated == nil
	})
}
