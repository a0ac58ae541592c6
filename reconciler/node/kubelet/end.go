package kubelet

import (
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/belay-dev/belay/reconciler/node"
)

// end stops a pod that is being deleted: first what is no sidecar, all at once, then the sidecars, the last first. When
// nothing runs any more its rest is removed.
func (p *planner) end() {
	deadline := p.pod.DeletionTimestamp.Time
	switch {
	case p.m.ended:
		p.gone = true
		return
	case p.m.ending:
		return
	case p.m.starting != "" || p.m.making:
		p.act(action{kind: giveUpStart})
		p.endAll(deadline)
		return
	}
	if p.endAll(deadline) {
		p.act(action{kind: removePod})
	}
}

// endAll stops what runs, in order, and reports whether nothing does.
func (p *planner) endAll(deadline time.Time) bool {
	if p.endMain(deadline) {
		return false
	}
	return !p.endLastSidecar(deadline)
}

// endMain stops every container that is no sidecar, and reports whether one still runs.
func (p *planner) endMain(deadline time.Time) bool {
	runs := false
	each(p.pod, func(c *corev1.Container, init bool) {
		if b := p.m.box(c.Name); b.running() && !(init && node.Sidecar(c)) {
			runs = true
			p.endOne(c, init, b, deadline)
		}
	})
	return runs
}

// endLastSidecar stops the last of the sidecars that run, and reports whether there is one.
func (p *planner) endLastSidecar(deadline time.Time) bool {
	for i := len(p.pod.Spec.InitContainers) - 1; i >= 0; i-- {
		c := &p.pod.Spec.InitContainers[i]
		if b := p.m.box(c.Name); b.running() {
			p.endOne(c, true, b, deadline)
			return true
		}
	}
	return false
}

// endOne stops a container with what is left of the time, and forces that when the time is long over.
func (p *planner) endOne(c *corev1.Container, init bool, b *box, deadline time.Time) {
	if b.stopping == nil {
		p.say(c, init, corev1.EventTypeNormal, "Killing", "Stopping container "+c.Name)
		p.act(action{kind: stopContainer, container: c.Name, init: init, run: b.run().ID, grace: max(minGrace, deadline.Sub(p.now))})
	}
	if force := deadline.Add(forceAfter); p.now.Before(force) {
		p.wake(force)
	} else if b.stopping != nil && !b.stopping.forced {
		p.act(action{kind: stopContainer, container: c.Name, init: init, run: b.run().ID, forced: true})
	}
	p.probe(c, init, b)
}

// endSidecars stops the sidecars of a pod whose work is done.
func (p *planner) endSidecars() {
	for i := len(p.pod.Spec.InitContainers) - 1; i >= 0; i-- {
		c := &p.pod.Spec.InitContainers[i]
		b := p.m.box(c.Name)
		if !b.running() {
			continue
		}
		if b.stopping == nil {
			p.say(c, true, corev1.EventTypeNormal, "Killing", "Stopping container "+c.Name)
			p.act(action{kind: stopContainer, container: c.Name, init: true, run: b.run().ID,
				grace: seconds(p.pod.Spec.TerminationGracePeriodSeconds)})
		}
		return
	}
}

// each calls f with every container, the init containers first.
func each(pod *corev1.Pod, f func(c *corev1.Container, init bool)) {
	for i := range pod.Spec.InitContainers {
		f(&pod.Spec.InitContainers[i], true)
	}
	for i := range pod.Spec.Containers {
		f(&pod.Spec.Containers[i], false)
	}
}

// find is a container of a pod by name; nil: it has none of it.
func find(pod *corev1.Pod, name string) (found *corev1.Container) {
	each(pod, func(c *corev1.Container, _ bool) {
		if c.Name == name {
			found = c
		}
	})
	return found
}

func lower(kind probeKind) string { return strings.ToLower(string(kind)) }
