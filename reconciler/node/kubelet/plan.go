package kubelet

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/belay-dev/belay/reconciler/node"
)

// actionKind is the closed set of what is done to a pod.
type actionKind string

const (
	makeSandbox    actionKind = "MakeSandbox"
	startContainer actionKind = "StartContainer"
	stopContainer  actionKind = "StopContainer"
	runProbe       actionKind = "RunProbe"
	giveUpStart    actionKind = "GiveUpStart" // of what is being started while the pod is to end
	removePod      actionKind = "RemovePod"
	freshVolumes   actionKind = "FreshVolumes"
	measureVolumes actionKind = "MeasureVolumes"
)

// action is one thing to do.
type action struct {
	kind      actionKind
	container string
	init      bool // an init container
	attempt   int32
	run       string // ID of the run it is about
	probe     probeKind
	grace     time.Duration
	forced    bool
}

// decision is what follows from a pod and what is known of it.
type decision struct {
	actions []action
	events  []node.Event
	told    []string // containers of whose waiting for the next pull events speak
	wakeAt  time.Time
	gone    bool
}

// planner goes through one pod at one time. It changes nothing.
type planner struct {
	pod *corev1.Pod
	m   *memory
	now time.Time
	// starting is the container whose start is under way, or was decided.
	starting string
	decision
}

// plan decides what is to be done now. It starts at most one thing of each kind for a container, and nothing that is
// under way.
func plan(pod *corev1.Pod, m *memory, now time.Time) decision {
	p := &planner{pod: pod, m: m, now: now, starting: m.starting}
	switch {
	case m.doubt: // nobody knows what of it runs
	case now.Before(m.retry):
		p.wake(m.retry)
	case pod.DeletionTimestamp != nil:
		p.end()
	case m.evicted != "":
		p.endEvicted()
	case over(pod, m):
		p.endSidecars()
	default:
		p.live()
	}
	return p.decision
}

func (p *planner) wake(at time.Time) { p.wakeAt = sooner(p.wakeAt, at) }

func (p *planner) act(a action) { p.actions = append(p.actions, a) }

func (p *planner) say(c *corev1.Container, init bool, kind, reason, message string) {
	p.events = append(p.events, node.Event{Type: kind, Reason: reason, Message: message, Field: fieldOf(c.Name, init)})
}

func fieldOf(name string, init bool) string {
	if init {
		return fmt.Sprintf("spec.initContainers{%s}", name)
	}
	return fmt.Sprintf("spec.containers{%s}", name)
}

// restarts says whether a container that ended with a status is started again.
func restarts(pod *corev1.Pod, c *corev1.Container, init bool, exit int32) bool {
	switch {
	case init && node.Sidecar(c):
		return true
	case init:
		return exit != 0 && pod.Spec.RestartPolicy != corev1.RestartPolicyNever
	case pod.Spec.RestartPolicy == corev1.RestartPolicyNever:
		return false
	case pod.Spec.RestartPolicy == corev1.RestartPolicyOnFailure:
		return exit != 0
	default:
		return true
	}
}

// over says whether a pod has done its work, or can do it no more: Succeeded or Failed.
func over(pod *corev1.Pod, m *memory) bool {
	if p := pod.Status.Phase; p == corev1.PodSucceeded || p == corev1.PodFailed {
		return true
	}
	return ending(pod, m) != ""
}

// ending is the final phase that the runs of a pod amount to; empty: it goes on.
func ending(pod *corev1.Pod, m *memory) corev1.PodPhase {
	if m.evicted != "" && m.quietened() {
		return corev1.PodFailed
	}
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		b := m.box(c.Name)
		if !node.Sidecar(c) && b.exited() && b.run().Exit != 0 && !restarts(pod, c, true, b.run().Exit) {
			return corev1.PodFailed
		}
	}
	phase := corev1.PodSucceeded
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		b := m.box(c.Name)
		if !b.exited() || restarts(pod, c, false, b.run().Exit) {
			return ""
		}
		if b.run().Exit != 0 {
			phase = corev1.PodFailed
		}
	}
	return phase
}

// live brings a pod that is to run nearer to that.
func (p *planner) live() {
	if !p.m.sandbox.Running {
		p.makeSandbox()
		return
	}
	p.measure()
	if !p.initialize() {
		return
	}
	for i := range p.pod.Spec.Containers {
		p.keep(&p.pod.Spec.Containers[i], false)
	}
	p.freshen()
}

// freshen has volumes that are made from objects follow them, once the pod runs.
func (p *planner) freshen() {
	made := func(v corev1.Volume) bool {
		return v.ConfigMap != nil || v.Secret != nil || v.DownwardAPI != nil || v.Projected != nil
	}
	if !initialized(p.pod, p.m) || !slices.ContainsFunc(p.pod.Spec.Volumes, made) {
		return
	}
	if at := p.m.fresh.Add(freshFor); p.now.Before(at) {
		p.wake(at)
		return
	}
	p.act(action{kind: freshVolumes})
}

func (p *planner) makeSandbox() {
	switch {
	case p.m.making:
	case p.m.unmade != nil && p.now.Before(p.m.unmade.until):
		p.wake(p.m.unmade.until)
	default:
		if p.m.sandbox.ID != "" {
			p.events = append(p.events, node.Event{Type: corev1.EventTypeNormal, Reason: "SandboxChanged",
				Message: "Pod sandbox changed, it will be killed and re-created."})
		}
		p.act(action{kind: makeSandbox})
	}
}

// initialize runs the init containers one after the other, and keeps the sidecars among them running. It reports
// whether the others may run.
func (p *planner) initialize() bool {
	once := initialized(p.pod, p.m)
	for i := range p.pod.Spec.InitContainers {
		c := &p.pod.Spec.InitContainers[i]
		b := p.m.box(c.Name)
		switch {
		case node.Sidecar(c):
			p.keep(c, true)
			if !once && !b.started(c) {
				return false
			}
		case once || initDone(p.m, b):
		default:
			p.keep(c, true)
			return false
		}
	}
	return true
}

// initialized says whether a container beside the init containers has run in the sandbox there is: then those have
// done what they are for, also when their runs are gone.
func initialized(pod *corev1.Pod, m *memory) bool {
	for _, c := range pod.Spec.Containers {
		if r := m.box(c.Name).run(); r != nil && (r.Sandbox == m.sandbox.ID || m.starting == c.Name) {
			return true
		}
	}
	return false
}

// initDone says whether an init container has succeeded in the sandbox there is.
func initDone(m *memory, b *box) bool {
	return b.exited() && b.run().Exit == 0 && b.run().Sandbox == m.sandbox.ID
}

// keep keeps one container running: it starts it, probes it, stops it when a probe says so.
func (p *planner) keep(c *corev1.Container, init bool) {
	b := p.m.box(c.Name)
	until, backedOff := time.Time{}, false
	if b.exited() {
		until, backedOff = b.waits(p.now)
	}
	switch {
	case b.running():
		p.watch(c, init, b)
	case p.starting != "": // one start at a time, in their order
	case b.failure != nil && p.now.Before(b.failure.until):
		p.waitFor(c, init, b)
	case b.exited() && !restarts(p.pod, c, init, b.run().Exit) && (!init || initDone(p.m, b)):
	case backedOff:
		p.wake(until)
	default:
		p.act(action{kind: startContainer, container: c.Name, init: init, attempt: b.attempt()})
		p.starting = c.Name
	}
}

// waitFor says once that a failed pull waits for its next try.
func (p *planner) waitFor(c *corev1.Container, init bool, b *box) {
	p.wake(b.failure.until)
	if b.failure.reason != errImagePull || b.failure.told {
		return
	}
	if at := b.failure.at.Add(shown); p.now.Before(at) {
		p.wake(at)
		return
	}
	p.told = append(p.told, c.Name)
	p.say(c, init, corev1.EventTypeNormal, "BackOff", fmt.Sprintf("Back-off pulling image %q", c.Image))
	p.say(c, init, corev1.EventTypeWarning, "Failed", "Error: "+imagePullBackOff)
}

// watch looks after a container that runs.
func (p *planner) watch(c *corev1.Container, init bool, b *box) {
	if b.stopping != nil || p.m.starting == c.Name {
		return
	}
	if kind := b.failed(c); kind != "" {
		grace := p.pod.Spec.TerminationGracePeriodSeconds
		if own := probeOf(c, kind).TerminationGracePeriodSeconds; own != nil {
			grace = own
		}
		p.say(c, init, corev1.EventTypeNormal, "Killing", fmt.Sprintf("Container %s failed %s probe, will be restarted", c.Name, lower(kind)))
		p.act(action{kind: stopContainer, container: c.Name, init: init, run: b.run().ID, grace: seconds(grace)})
		return
	}
	p.probe(c, init, b)
}

func (p *planner) probe(c *corev1.Container, init bool, b *box) {
	due, wakeAt := b.duties(c, p.pod.DeletionTimestamp != nil, p.now)
	p.wake(wakeAt)
	for _, kind := range due {
		p.act(action{kind: runProbe, container: c.Name, init: init, run: b.run().ID, probe: kind})
	}
}

func seconds(n *int64) time.Duration {
	if n == nil {
		return 30 * time.Second
	}
	return time.Duration(*n) * time.Second
}
