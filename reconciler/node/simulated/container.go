package simulated

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The kubelet's times.
const (
	minBackOff = 10 * time.Second
	maxBackOff = 5 * time.Minute
	// pullErrorShown is how long a failed pull is shown as such, before the wait for the next one is.
	pullErrorShown = time.Second
	// crashRun is how long a container of a crashing image runs.
	crashRun = time.Second
)

// Reasons of a waiting or terminated container.
const (
	containerCreating = "ContainerCreating"
	podInitializing   = "PodInitializing"
	errImagePull      = "ErrImagePull"
	imagePullBackOff  = "ImagePullBackOff"
	errImageNeverPull = "ErrImageNeverPull"
	crashLoopBackOff  = "CrashLoopBackOff"
	completed         = "Completed"
	exitError         = "Error"
)

// instance is one container of one pod at one time.
type instance struct {
	pod     *corev1.Pod
	spec    *corev1.Container
	options Options
	begin   time.Time // when the node turned to it
	now     time.Time
}

// outcome is how a container is, and when that changes by itself.
type outcome struct {
	state, last    corev1.ContainerState
	restarts       int32
	started, ready bool
	next           time.Time // zero: never
}

// outcome is a function of time alone: the container's whole life follows from when it began.
func (i instance) outcome() outcome {
	switch i.options.Images[i.spec.Image] {
	case Missing:
		return i.missing()
	case Crash:
		return i.crash()
	case Unready:
		out := i.run()
		out.ready = false
		if out.started {
			out.next = time.Time{}
		}
		return out
	default:
		return i.run()
	}
}

// run is a container that starts and becomes ready when its probes say so. A probe that is to wait succeeds at the
// end of that wait, and then as often as its threshold asks for.
func (i instance) run() outcome {
	start := i.begin.Add(i.options.Delay)
	if i.now.Before(start) {
		return outcome{state: waiting(containerCreating, ""), next: start}
	}
	started := start.Add(probed(i.spec.StartupProbe))
	ready := start.Add(probed(i.spec.ReadinessProbe))
	if ready.Before(started) {
		ready = started
	}
	out := outcome{state: running(start), started: !i.now.Before(started), ready: !i.now.Before(ready)}
	switch {
	case !out.started:
		out.next = started
	case !out.ready:
		out.next = ready
	}
	return out
}

func probed(p *corev1.Probe) time.Duration {
	if p == nil {
		return 0
	}
	again := max(0, p.SuccessThreshold-1) * p.PeriodSeconds
	return time.Duration(p.InitialDelaySeconds+again) * time.Second
}

// missing is a container whose image cannot be pulled: the pull fails, is shown to have failed, and is tried again
// after 10 s, 20 s, 40 s … 5 min.
func (i instance) missing() outcome {
	failed := i.begin.Add(i.options.Delay)
	if i.now.Before(failed) {
		return outcome{state: waiting(containerCreating, ""), next: failed}
	}
	if i.spec.ImagePullPolicy == corev1.PullNever {
		return outcome{state: waiting(errImageNeverPull,
			fmt.Sprintf("Container image %q is not present with pull policy of Never", i.spec.Image))}
	}
	next := failed.Add(minBackOff)
	for wait := minBackOff; !i.now.Before(next); next = failed.Add(wait) {
		failed = next
		wait = min(2*wait, maxBackOff)
	}
	text := pullError(i.spec.Image)
	if shown := failed.Add(pullErrorShown); i.now.Before(shown) {
		return outcome{state: waiting(errImagePull, text), next: shown}
	}
	return outcome{next: next, state: waiting(imagePullBackOff,
		fmt.Sprintf("Back-off pulling image %q: %s: %s", i.spec.Image, errImagePull, text))}
}

// pullError is what containerd says about an image that its registry does not have.
func pullError(image string) string {
	return fmt.Sprintf("rpc error: code = NotFound desc = failed to pull and unpack image %q: "+
		"failed to resolve reference %q: %s: not found", image, image, image)
}

// crash is a container that exits soon after each start. The first restart comes at once, the others after 10 s,
// 20 s, 40 s … 5 min.
func (i instance) crash() outcome {
	start := i.begin.Add(i.options.Delay)
	if i.now.Before(start) {
		return outcome{state: waiting(containerCreating, ""), next: start}
	}
	var out outcome
	wait, after := time.Duration(0), minBackOff
	for {
		exit := start.Add(crashRun)
		if i.now.Before(exit) {
			out.state, out.started, out.next = running(start), i.spec.StartupProbe == nil, exit
			return out
		}
		out.last = corev1.ContainerState{Terminated: terminated(exitError, 1, start, exit)}
		start = exit.Add(wait)
		if i.now.Before(start) {
			out.state = waiting(crashLoopBackOff, fmt.Sprintf("back-off %s restarting failed container=%s pod=%s_%s(%s)",
				wait, i.spec.Name, i.pod.Name, i.pod.Namespace, i.pod.UID))
			out.next = start
			return out
		}
		out.restarts++
		wait, after = after, min(2*after, maxBackOff)
	}
}

func waiting(reason, message string) corev1.ContainerState {
	return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
}

func running(since time.Time) corev1.ContainerState {
	return corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: second(since)}}
}

func terminated(reason string, code int32, started, finished time.Time) *corev1.ContainerStateTerminated {
	return &corev1.ContainerStateTerminated{
		Reason: reason, ExitCode: code, StartedAt: second(started), FinishedAt: second(finished)}
}

// second is a time as objects carry it.
func second(t time.Time) metav1.Time { return metav1.Unix(t.Unix(), 0) }
