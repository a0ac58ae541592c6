package simulated

import (
	"context"
	"fmt"
	"io"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/belay-dev/belay/reconciler/node"
)

// lineEvery is how often a container writes a line: the first one when it starts.
const lineEvery = time.Second

// lineTime is the time before a line, as the kubelet writes it.
const lineTime = "2006-01-02T15:04:05.000000000Z07:00"

// span is when an instance of a container ran; a zero end: it runs.
type span struct{ start, end time.Time }

// lines is how many of them were written before or at now.
func (s span) lines(now time.Time) int64 {
	if !s.end.IsZero() && !now.Before(s.end) {
		now = s.end.Add(-1) // what ends at the moment of a line did not write it
	}
	return max(1, int64(now.Sub(s.start)/lineEvery)+1)
}

func (s span) at(line int64) time.Time { return s.start.Add(time.Duration(line) * lineEvery) }

// spanOf is when the instance ran whose log is asked for.
func spanOf(pod *corev1.Pod, container string, previous bool, options Options) (span, error) {
	status, ok := node.StatusOf(pod.Status.ContainerStatuses, container)
	if !ok {
		status, ok = node.StatusOf(pod.Status.InitContainerStatuses, container)
	}
	running, ended := status.State.Running, status.State.Terminated
	switch {
	case !ok:
	case !previous && running != nil:
		s := span{start: running.StartedAt.Time}
		if options.Images[status.Image] == Crash {
			s.end = s.start.Add(crashRun)
		}
		return s, nil
	case previous || ended == nil:
		ended = status.LastTerminationState.Terminated
	}
	if ended == nil {
		return span{}, apierrors.NewBadRequest(fmt.Sprintf("container %q in pod %q has written nothing", container, pod.Name))
	}
	return span{ended.StartedAt.Time, ended.FinishedAt.Time}, nil
}

// Logs are numbered lines, one a second. They follow from when the container started alone: nothing is done or kept for
// them while nobody reads.
func (s streams) Logs(ctx context.Context, pod *corev1.Pod, container string, o *corev1.PodLogOptions) (io.ReadCloser, error) {
	ran, err := spanOf(pod, container, o.Previous, s.runner.options)
	if err != nil {
		return nil, err
	}
	now := s.now()
	l := &log{
		span: ran, name: pod.Name + " " + container, times: o.Timestamps, last: ran.lines(now), follow: o.Follow,
		now: s.now, done: ctx.Done(), gone: s.runner.gone(pod.UID),
	}
	if o.TailLines != nil {
		l.next = max(0, l.last-*o.TailLines)
	}
	if o.SinceTime != nil {
		l.since(o.SinceTime.Time)
	}
	if o.SinceSeconds != nil {
		l.since(now.Add(-time.Duration(*o.SinceSeconds) * time.Second))
	}
	return l, nil
}

// log is one reading of the lines of a container.
type log struct {
	span
	name   string
	times  bool
	next   int64 // line to be read
	last   int64 // line not to be read any more; with follow, not yet
	follow bool
	now    func() time.Time
	done   <-chan struct{} // the request has ended
	gone   <-chan struct{} // the pod has

	rest string // of a line of which a part was read
}

// since leaves out the lines before a time.
func (l *log) since(t time.Time) {
	if d := t.Sub(l.start); d > 0 {
		l.next = max(l.next, int64((d+lineEvery-1)/lineEvery))
	}
}

func (l *log) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		if l.rest == "" {
			if l.next >= l.last && (n > 0 || !l.wait()) {
				break
			}
			l.rest = l.line()
		}
		m := copy(p[n:], l.rest)
		l.rest = l.rest[m:]
		n += m
	}
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

// wait waits for the next line; false: there is none.
func (l *log) wait() bool {
	at := l.at(l.next)
	if !l.follow || !l.end.IsZero() && !at.Before(l.end) {
		return false
	}
	timer := time.NewTimer(at.Sub(l.now()))
	defer timer.Stop()
	select {
	case <-timer.C:
		l.last = l.next + 1
		return true
	case <-l.done:
	case <-l.gone:
	}
	return false
}

func (l *log) line() string {
	line := fmt.Sprintf("%s: line %d\n", l.name, l.next)
	if l.times {
		line = l.at(l.next).UTC().Format(lineTime) + " " + line
	}
	l.next++
	return line
}

// Close has nothing to free.
func (l *log) Close() error { return nil }
