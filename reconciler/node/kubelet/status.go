package kubelet

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/belay-dev/belay/reconciler/node"
)

// Reasons of containers, as the kubelet gives them.
const (
	containerCreating = "ContainerCreating"
	podInitializing   = "PodInitializing"
	errImagePull      = "ErrImagePull"
	imagePullBackOff  = "ImagePullBackOff"
	errImageNeverPull = "ErrImageNeverPull"
	invalidImageName  = "InvalidImageName"
	configError       = "CreateContainerConfigError"
	crashLoopBackOff  = "CrashLoopBackOff"
	completed         = "Completed"
	exitError         = "Error"
	oomKilled         = "OOMKilled"
	statusUnknown     = "ContainerStatusUnknown"
)

const hostIP = "127.0.0.1"

// status is how a pod is. It is a function of its arguments, and keeps what the stored status has of others.
func status(pod *corev1.Pod, m *memory, now time.Time) corev1.PodStatus {
	s := pod.Status
	if m.adopted && !m.known {
		return s
	}
	if s.Phase != corev1.PodFailed || s.Reason != evicted {
		s.Reason, s.Message = "", ""
	}
	s.HostIP, s.HostIPs = hostIP, []corev1.HostIP{{IP: hostIP}}
	if ip := m.sandbox.IP; ip != "" && m.sandbox.Running {
		s.PodIP, s.PodIPs = ip, []corev1.PodIP{{IP: ip}}
	} else if pod.Spec.HostNetwork {
		s.PodIP, s.PodIPs = hostIP, []corev1.PodIP{{IP: hostIP}}
	}
	if s.StartTime == nil {
		arrived := second(m.arrived)
		s.StartTime = &arrived
	}
	var incomplete []string
	s.InitContainerStatuses, incomplete = initStatuses(pod, m, now)
	s.ContainerStatuses = nil
	for i := range pod.Spec.Containers {
		s.ContainerStatuses = append(s.ContainerStatuses, containerStatus(pod, m, &pod.Spec.Containers[i], false, now))
	}
	s.Phase = phase(pod, m)
	if s.Phase == corev1.PodFailed && m.evicted != "" {
		s.Reason, s.Message = evicted, m.evicted
	}
	s.Conditions = conditions(pod, s, m, incomplete, now)
	return s
}

// typed has container IDs begin with the type of the runtime, as the API asks for. What the stored status had already does.
func (k *Kubelet) typed(s corev1.PodStatus) corev1.PodStatus {
	if k.Type == "" {
		return s
	}
	typed := func(id string) string {
		if id == "" || strings.Contains(id, "://") {
			return id
		}
		return k.Type + "://" + id
	}
	for _, list := range [][]corev1.ContainerStatus{s.InitContainerStatuses, s.ContainerStatuses} {
		for i := range list {
			list[i].ContainerID = typed(list[i].ContainerID)
			for _, state := range []*corev1.ContainerState{&list[i].State, &list[i].LastTerminationState} {
				if state.Terminated != nil {
					ended := *state.Terminated // it may be the stored one
					ended.ContainerID = typed(ended.ContainerID)
					state.Terminated = &ended
				}
			}
		}
	}
	return s
}

// phase is final, or Running once every container has been started, or Pending.
func phase(pod *corev1.Pod, m *memory) corev1.PodPhase {
	if p := pod.Status.Phase; p == corev1.PodSucceeded || p == corev1.PodFailed {
		return p
	}
	if p := ending(pod, m); p != "" {
		return p
	}
	for _, c := range pod.Spec.Containers {
		if m.box(c.Name).run() == nil {
			return corev1.PodPending
		}
	}
	return corev1.PodRunning
}

// initStatuses also names the init containers that are not done.
func initStatuses(pod *corev1.Pod, m *memory, now time.Time) (all []corev1.ContainerStatus, incomplete []string) {
	once := initialized(pod, m)
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		b := m.box(c.Name)
		s := containerStatus(pod, m, c, true, now)
		done := once || initDone(m, b)
		if node.Sidecar(c) {
			done = once || b.started(c)
		} else {
			s.Ready = b.exited() && b.run().Exit == 0
		}
		if !done {
			incomplete = append(incomplete, c.Name)
		}
		all = append(all, s)
	}
	return all, incomplete
}

func containerStatus(pod *corev1.Pod, m *memory, c *corev1.Container, init bool, now time.Time) corev1.ContainerStatus {
	b := m.box(c.Name)
	started := b.started(c)
	s := corev1.ContainerStatus{Name: c.Name, Image: c.Image, Ready: b.ready(c), Started: &started}
	r := b.run()
	if r == nil {
		s.State = unstarted(pod, m, c, b, now)
		return s
	}
	s.RestartCount, s.ImageID, s.ContainerID = r.Attempt, orElse(r.Digest, r.Image), r.ID
	before := statusBefore(pod, c.Name)
	if len(b.runs) > 1 {
		s.LastTerminationState = terminated(&b.runs[len(b.runs)-2])
	} else {
		s.LastTerminationState = before.LastTerminationState
	}
	if r.ID == "" {
		s.ContainerID = before.ContainerID
	}
	switch {
	case r.Phase == node.PhaseRunning:
		s.State.Running = &corev1.ContainerStateRunning{StartedAt: second(r.Started)}
	case over(pod, m) || pod.DeletionTimestamp != nil || !restarts(pod, c, init, r.Exit):
		s.State = terminated(r)
	case b.failure != nil:
		s.State, s.LastTerminationState = unstarted(pod, m, c, b, now), terminated(r)
	case m.starting != c.Name && backedOff(b, now):
		s.State.Waiting = &corev1.ContainerStateWaiting{Reason: crashLoopBackOff, Message: crashMessage(pod, c.Name, b.crash.wait)}
		s.LastTerminationState = terminated(r)
	default:
		s.State = terminated(r)
	}
	return s
}

// crashMessage is why a container is not started again yet.
func crashMessage(pod *corev1.Pod, container string, wait time.Duration) string {
	return fmt.Sprintf("back-off %s restarting failed container=%s pod=%s_%s(%s)", wait, container, pod.Name, pod.Namespace, pod.UID)
}

// unstarted is the state of a container that waits to be started.
func unstarted(pod *corev1.Pod, m *memory, c *corev1.Container, b *box, now time.Time) corev1.ContainerState {
	w := corev1.ContainerStateWaiting{Reason: containerCreating}
	switch f := b.failure; {
	case f == nil || m.starting == c.Name && f.reason != errImagePull:
		if len(pod.Spec.InitContainers) > 0 && m.starting != c.Name && !m.making && m.sandbox.Running {
			w.Reason = podInitializing
		}
	case f.reason == errImagePull && (m.starting == c.Name || !now.Before(f.at.Add(shown))):
		w.Reason, w.Message = imagePullBackOff, fmt.Sprintf("Back-off pulling image %q: %s: %s", c.Image, errImagePull, f.message)
	default:
		w.Reason, w.Message = f.reason, f.message
	}
	if len(pod.Spec.InitContainers) > 0 && !m.sandbox.Running {
		w.Reason = podInitializing
	}
	return corev1.ContainerState{Waiting: &w}
}

func terminated(r *node.ContainerState) corev1.ContainerState {
	t := &corev1.ContainerStateTerminated{
		ExitCode: r.Exit, Reason: completed, Message: r.Message, ContainerID: r.ID,
		StartedAt: second(r.Started), FinishedAt: second(r.Finished),
	}
	switch {
	case r.OOM:
		t.Reason = oomKilled
	case r.ID == "" && r.Exit == 137:
		t.Reason = statusUnknown
	case r.Exit != 0:
		t.Reason = exitError
	}
	return corev1.ContainerState{Terminated: t}
}

func statusBefore(pod *corev1.Pod, name string) corev1.ContainerStatus {
	s, ok := node.StatusOf(pod.Status.ContainerStatuses, name)
	if !ok {
		s, _ = node.StatusOf(pod.Status.InitContainerStatuses, name)
	}
	return s
}

// conditions are those of the containers, but for a pod without a sandbox, or one that is over.
func conditions(pod *corev1.Pod, s corev1.PodStatus, m *memory, incomplete []string, now time.Time) []corev1.PodCondition {
	all := node.Conditions(pod, s, incomplete, now)
	if !m.sandbox.Running {
		setCondition(all, pod, corev1.PodReadyToStartContainers, "", now)
	}
	if s.Phase == corev1.PodSucceeded {
		setCondition(all, pod, corev1.PodReady, "PodCompleted", now)
		setCondition(all, pod, corev1.ContainersReady, "PodCompleted", now)
	}
	if s.Phase == corev1.PodFailed {
		setCondition(all, pod, corev1.PodReady, "PodFailed", now)
		setCondition(all, pod, corev1.ContainersReady, "PodFailed", now)
	}
	return all
}

// setCondition makes a condition False, for a reason; when it was False already, since then.
func setCondition(all []corev1.PodCondition, pod *corev1.Pod, kind corev1.PodConditionType, reason string, now time.Time) {
	is := func(c corev1.PodCondition) bool { return c.Type == kind }
	i, before := slices.IndexFunc(all, is), slices.IndexFunc(pod.Status.Conditions, is)
	all[i].Status, all[i].Reason, all[i].Message, all[i].LastTransitionTime = corev1.ConditionFalse, reason, "", second(now)
	if before >= 0 && pod.Status.Conditions[before].Status == corev1.ConditionFalse {
		all[i].LastTransitionTime = pod.Status.Conditions[before].LastTransitionTime
	}
}

// unknown is the status of a pod about which the engine has not been asked for long.
func unknown(pod *corev1.Pod, now time.Time) corev1.PodStatus {
	s := pod.Status
	if s.Phase == corev1.PodSucceeded || s.Phase == corev1.PodFailed {
		return s
	}
	s.Phase, s.Reason, s.Message = corev1.PodUnknown, "NodeLost", "The engine that runs the pod does not answer"
	s.Conditions = slices.Clone(s.Conditions)
	for _, kind := range []corev1.PodConditionType{corev1.PodReady, corev1.ContainersReady} {
		if slices.ContainsFunc(s.Conditions, func(c corev1.PodCondition) bool { return c.Type == kind }) {
			setCondition(s.Conditions, pod, kind, "NodeStatusUnknown", now)
		}
	}
	return s
}

func second(t time.Time) metav1.Time {
	if t.IsZero() {
		return metav1.Time{}
	}
	return metav1.Unix(t.Unix(), 0)
}

func orElse(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// backedOff says whether a container that has ended waits to be started again.
func backedOff(b *box, now time.Time) bool {
	_, waits := b.waits(now)
	return waits
}
