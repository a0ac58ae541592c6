package kubelet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/belay-dev/belay/reconciler/node"
)

// do does one action and tells that there is news. It never returns before what it began has an end.
func (k *Kubelet) do(ctx context.Context, w *worker, pod *corev1.Pod, a action) {
	switch a.kind {
	case makeSandbox:
		k.doSandbox(ctx, w, pod)
	case startContainer:
		k.doStart(ctx, w, pod, a)
	case stopContainer:
		k.doStop(ctx, w, pod, a)
	case runProbe:
		k.doProbe(ctx, w, pod, a)
	case removePod:
		k.doRemove(ctx, w)
	case freshVolumes:
		k.doFresh(w, pod)
	case measureVolumes:
		k.doMeasure(w, pod)
	case giveUpStart: // is done by the cancelled
	}
	k.changed(w)
}

// ask takes in what the engine has of a pod, and in the same moment what follows from it. When the engine does not
// answer nothing is decided about the pod until it does.
func (k *Kubelet) ask(ctx context.Context, w *worker, then func(m *memory, now time.Time)) {
	w.asking.Lock()
	defer w.asking.Unlock()
	timeout := askTimeout
	if ctx.Err() != nil {
		timeout = lastTimeout
	}
	// What was given up may have happened: the answer is needed all the same.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	defer cancel()
	s, _, err := k.Runtime.Pod(ctx, w.uid)
	told := s
	if err == nil {
		s.Containers = slices.Clone(s.Containers)
		k.read(ctx, w, &s)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	now := k.Now()
	if err == nil {
		w.version++
		w.m.observe(w.pod, s, now)
		w.m.told = told
	} else {
		w.m.doubt = true
	}
	if then != nil {
		then(&w.m, now)
	}
}

// read adds what ended containers left to say.
func (k *Kubelet) read(ctx context.Context, w *worker, s *node.PodState) {
	w.mu.Lock()
	pod := w.pod
	w.mu.Unlock()
	for i := range s.Containers {
		r := &s.Containers[i]
		c := find(pod, r.Name)
		if r.Phase != node.PhaseExited || c == nil || r.Message != "" {
			continue
		}
		w.mu.Lock()
		text, known := w.messages[r.ID]
		w.mu.Unlock()
		if !known {
			text = k.message(ctx, pod, c, r)
			w.mu.Lock()
			w.messages[r.ID] = text
			w.mu.Unlock()
		}
		r.Message = text
	}
}

// The kubelet's bounds of a termination message.
const (
	maxMessage      = 4096
	maxLoggedLines  = 80
	maxLoggedLength = 2048
)

// message is what a run left in its message file, or, where its policy says so, the end of its log.
func (k *Kubelet) message(ctx context.Context, pod *corev1.Pod, c *corev1.Container, r *node.ContainerState) string {
	if c.TerminationMessagePath != "" && k.volumes.dir != "" {
		if f, err := os.Open(k.messagePath(pod, c.Name, r.Attempt)); err == nil {
			defer f.Close()
			data, err := io.ReadAll(io.LimitReader(f, maxMessage))
			if err == nil && len(data) > 0 {
				return string(data)
			}
		}
	}
	if c.TerminationMessagePolicy != corev1.TerminationMessageFallbackToLogsOnError || r.Exit == 0 {
		return ""
	}
	lines := int64(maxLoggedLines)
	logs, err := k.Runtime.Logs(ctx, r.ID, node.LogOptions{Tail: &lines})
	if err != nil {
		return ""
	}
	defer logs.Close()
	data, err := io.ReadAll(io.LimitReader(logs, 1<<20))
	if err != nil {
		return ""
	}
	return string(bytes.TrimRight(data[max(0, len(data)-maxLoggedLength):], "\n"))
}

func (k *Kubelet) doSandbox(ctx context.Context, w *worker, pod *corev1.Pod) {
	_, err := k.Runtime.RunPod(ctx, k.sandbox(pod))
	if err != nil && ctx.Err() == nil {
		w.tell(node.Event{Type: corev1.EventTypeWarning, Reason: "FailedCreatePodSandBox",
			Message: fmt.Sprintf("Failed to create pod sandbox: %v", err)})
	}
	if err == nil {
		k.warnOfLimits(w, pod)
	}
	k.ask(ctx, w, func(m *memory, now time.Time) {
		m.making = false
		if err == nil {
			m.unmade = nil
			return
		}
		wait := time.Second
		if m.unmade != nil {
			wait = min(2*m.unmade.until.Sub(m.unmade.at), maxBackOff)
		}
		m.unmade = &failure{message: err.Error(), at: now, until: now.Add(wait)}
	})
}

// warnOfLimits tells once which limits of a pod's containers do not hold on this machine.
func (k *Kubelet) warnOfLimits(w *worker, pod *corev1.Pod) {
	driver, ok := k.Runtime.(node.Limiter)
	if !ok {
		return
	}
	var told []string
	each(pod, func(c *corev1.Container, init bool) {
		if why := driver.Unenforced(resourcesOf(c)); why != "" && !slices.Contains(told, why) {
			told = append(told, why)
			w.say(c, init, corev1.EventTypeWarning, "LimitsNotEnforced", "On this machine "+why)
		}
	})
}

func (k *Kubelet) doStart(ctx context.Context, w *worker, pod *corev1.Pod, a action) {
	err := k.start(ctx, w, pod, a)
	c := find(pod, a.container)
	failed, told := errors.AsType[*refusal](err)
	if told {
		if failed.failure != "" && failed.reason == errImagePull {
			w.say(c, a.init, corev1.EventTypeWarning, "Failed", failed.failure)
		}
		text := "Error: " + failed.reason
		if failed.reason != errImagePull && failed.reason != errImageNeverPull {
			text = "Error: " + failed.Error()
		}
		w.say(c, a.init, corev1.EventTypeWarning, "Failed", text)
	} else if err != nil && ctx.Err() == nil {
		k.Log.Warn().Str("pod", pod.Name).Str("container", a.container).Err(err).Msg("container not started")
	}
	k.ask(ctx, w, func(m *memory, now time.Time) {
		m.starting = ""
		b := m.box(a.container)
		switch {
		case err == nil:
			b.failure, b.pull = nil, backOff{}
		case told:
			b.fail(failed, now)
		case ctx.Err() == nil:
			m.retry = now.Add(engineRetry)
		}
	})
}

// fail notes why a start failed, and when it is tried again.
func (b *box) fail(r *refusal, now time.Time) {
	b.failure = &failure{reason: r.reason, message: r.Error(), at: now}
	switch r.reason {
	case errImagePull:
		b.pull = b.pull.next(now)
		b.failure.until = now.Add(b.pull.wait)
	case configError:
		b.failure.until = now.Add(configRetry)
	case errImageNeverPull, invalidImageName:
		b.failure.until = now.Add(minBackOff)
	default: // what the engine refused, it may refuse for long
		b.crash = b.crash.next(now)
		b.failure.until = now.Add(b.crash.wait)
	}
}

func (k *Kubelet) doStop(ctx context.Context, w *worker, pod *corev1.Pod, a action) {
	err := k.stop(ctx, w, pod, find(pod, a.container), a.init, a.run, a.grace)
	k.ask(ctx, w, func(m *memory, now time.Time) {
		b := m.box(a.container)
		if b.stopping != nil && b.stopping.run == a.run && b.stopping.forced == a.forced {
			b.stopping = nil
		}
		if err != nil && ctx.Err() == nil {
			m.retry = now.Add(engineRetry)
			k.Log.Warn().Str("pod", pod.Name).Str("container", a.container).Err(err).Msg("container not stopped")
		}
	})
}

// stop has a run end within its grace: its preStop hook first, and then what is left of the time after the stop signal.
func (k *Kubelet) stop(ctx context.Context, w *worker, pod *corev1.Pod, c *corev1.Container, init bool, run string, grace time.Duration) error {
	if grace > 0 && c.Lifecycle != nil && c.Lifecycle.PreStop != nil {
		begin := k.Now()
		within, cancel := context.WithTimeout(ctx, grace)
		if err := k.hook(within, pod, c, run, c.Lifecycle.PreStop); err != nil && ctx.Err() == nil {
			w.say(c, init, corev1.EventTypeWarning, "FailedPreStopHook", "PreStopHook failed")
		}
		cancel()
		grace = max(minGrace, grace-k.Now().Sub(begin))
	}
	return k.Runtime.Stop(ctx, run, grace)
}

func (k *Kubelet) doProbe(ctx context.Context, w *worker, pod *corev1.Pod, a action) {
	c := find(pod, a.container)
	err := k.try(ctx, pod, c, a.run, probeOf(c, a.probe))
	if ctx.Err() != nil {
		return
	}
	failed, reached := errors.AsType[*errFailed](err)
	switch {
	case err == nil:
	case reached:
		w.say(c, a.init, corev1.EventTypeWarning, "Unhealthy", fmt.Sprintf("%s probe failed: %s", a.probe, failed.output))
	default:
		w.say(c, a.init, corev1.EventTypeWarning, "Unhealthy",
			fmt.Sprintf("%s probe errored and resulted in unknown state: %v", a.probe, err))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil || reached {
		w.m.box(a.container).answered(c, a.probe, a.run, err == nil)
	} else {
		w.m.box(a.container).unanswered(a.probe, a.run)
	}
}

// doFresh brings volumes that are made from objects up to date. An object that went leaves what there was.
func (k *Kubelet) doFresh(w *worker, pod *corev1.Pod) {
	if err := k.volumes.make(pod); err != nil {
		w.tell(node.Event{Type: corev1.EventTypeWarning, Reason: "FailedMount", Message: err.Error()})
	}
}

func (k *Kubelet) doRemove(ctx context.Context, w *worker) {
	err := k.Runtime.RemovePod(ctx, w.uid)
	if err == nil {
		err = k.volumes.remove(w.uid)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.m.ending, w.m.ended = false, err == nil
	if err != nil && ctx.Err() == nil {
		w.m.retry = k.Now().Add(engineRetry)
		k.Log.Warn().Str("pod", w.name.Name).Err(err).Msg("pod not removed")
	}
}
