package kubelet

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/belay-dev/belay/reconciler/node"
)

// probeKind is the closed set of probes, in the words of Events.
type probeKind string

const (
	startupProbe   probeKind = "Startup"
	livenessProbe  probeKind = "Liveness"
	readinessProbe probeKind = "Readiness"
)

var probeKinds = []probeKind{startupProbe, livenessProbe, readinessProbe}

// probe is where one probe of one run stands.
type probe struct {
	ok      bool // the result that counts
	settled bool // there was a result that counts
	last    bool // of the last try
	streak  int32
	due     time.Time // the next try; zero: when the run is old enough
	busy    bool
	held    bool // it failed for good: the container is to be started again
}

// probeOf is a container's probe of a kind; nil: it has none.
func probeOf(c *corev1.Container, kind probeKind) *corev1.Probe {
	switch kind {
	case startupProbe:
		return c.StartupProbe
	case livenessProbe:
		return c.LivenessProbe
	default:
		return c.ReadinessProbe
	}
}

// result is how the probe of a kind stands for the run that counts: a liveness probe is well until it fails, the others
// are not until they succeed. A container without such a probe is well.
func (b *box) result(c *corev1.Container, kind probeKind) bool {
	if probeOf(c, kind) == nil {
		return true
	}
	p := b.probes[kind]
	if r := b.run(); p == nil || r == nil || b.probed != r.ID || !p.settled {
		return kind == livenessProbe
	}
	return p.ok
}

// started says whether a container runs and its startup probe has succeeded.
func (b *box) started(c *corev1.Container) bool { return b.running() && b.result(c, startupProbe) }

func (b *box) ready(c *corev1.Container) bool { return b.started(c) && b.result(c, readinessProbe) }

// failed is the probe because of which the run is to end; empty: none.
func (b *box) failed(c *corev1.Container) probeKind {
	if r := b.run(); r == nil || b.probed != r.ID {
		return ""
	}
	for _, kind := range []probeKind{startupProbe, livenessProbe} {
		if p := b.probes[kind]; probeOf(c, kind) != nil && p != nil && p.held {
			return kind
		}
	}
	return ""
}

// follow starts the probes anew when another run counts.
func (b *box) follow() {
	r := b.run()
	if r == nil || b.probed == r.ID {
		return
	}
	b.probes, b.probed = map[probeKind]*probe{}, r.ID
}

// recallProbes keeps the results that a stored status tells of a run that goes on: a restart of this process must not
// make its pods unready.
func (b *box) recallProbes(s corev1.ContainerStatus, now time.Time) {
	b.follow()
	b.probes[readinessProbe] = &probe{ok: s.Ready, settled: true, last: s.Ready, due: now}
	if s.Started != nil && *s.Started {
		b.probes[startupProbe] = &probe{ok: true, settled: true, last: true}
	}
}

// duties are the probes that are due, and when the next one is. Those of a pod that is being deleted are about
// readiness alone.
func (b *box) duties(c *corev1.Container, deleted bool, now time.Time) (due []probeKind, wakeAt time.Time) {
	r := b.run()
	if r == nil || r.Phase != node.PhaseRunning {
		return nil, time.Time{}
	}
	for _, kind := range probeKinds {
		if probeOf(c, kind) == nil || deleted && kind != readinessProbe || kind != startupProbe && !b.result(c, startupProbe) {
			continue
		}
		switch at, wanted := b.dueAt(c, kind, r); {
		case !wanted:
		case at.After(now):
			wakeAt = sooner(wakeAt, at)
		default:
			due = append(due, kind)
		}
	}
	return due, wakeAt
}

// dueAt is when a probe of a run is to be made next; wanted is false while it is under way, or has nothing more to tell.
func (b *box) dueAt(c *corev1.Container, kind probeKind, r *node.ContainerState) (at time.Time, wanted bool) {
	at = r.Started.Add(time.Duration(probeOf(c, kind).InitialDelaySeconds) * time.Second)
	p := b.probes[kind]
	if b.probed != r.ID || p == nil {
		return at, true
	}
	if p.busy || p.held || kind == startupProbe && p.ok && p.settled {
		return at, false
	}
	if p.due.After(at) {
		at = p.due
	}
	return at, true
}

// begin notes that a probe is under way.
func (b *box) begin(c *corev1.Container, kind probeKind, now time.Time) {
	b.follow()
	p := b.probes[kind]
	if p == nil {
		p = &probe{}
		b.probes[kind] = p
	}
	p.busy, p.due = true, now.Add(max(1, time.Duration(probeOf(c, kind).PeriodSeconds))*time.Second)
}

// answered takes in the result of a probe of a run.
func (b *box) answered(c *corev1.Container, kind probeKind, run string, ok bool) {
	p := b.probes[kind]
	if p == nil || b.probed != run {
		return // another run counts by now
	}
	p.busy = false
	if p.streak > 0 && p.last == ok {
		p.streak++
	} else {
		p.last, p.streak = ok, 1
	}
	spec := probeOf(c, kind)
	threshold := max(1, spec.SuccessThreshold)
	if !ok {
		threshold = max(1, spec.FailureThreshold)
	}
	if p.streak < threshold {
		return
	}
	p.ok, p.settled = ok, true
	if !ok && kind != readinessProbe {
		p.held, p.streak = true, 0
	}
}

// unanswered notes that a probe could not be made: it counts for nothing.
func (b *box) unanswered(kind probeKind, run string) {
	if p := b.probes[kind]; p != nil && b.probed == run {
		p.busy = false
	}
}

func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
