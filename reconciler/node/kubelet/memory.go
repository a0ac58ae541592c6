package kubelet

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/belay-dev/belay/reconciler/node"
)

// memory is all that is known of one pod beside its object: what the engine said last, and what is under way.
type memory struct {
	adopted bool          // it was on the node before this process
	known   bool          // the engine was asked about it
	doubt   bool          // nothing is decided before the engine is asked again
	told    node.PodState // what it said last
	arrived time.Time     // on the node

	sandbox  node.SandboxState
	making   bool     // of a sandbox
	unmade   *failure // why the last try to make one failed
	boxes    map[string]*box
	starting string // the container whose start is under way; one at a time
	ending   bool   // its removal is under way
	ended    bool   // nothing of it is left in the engine
	retry    time.Time
	fresh    time.Time // when volumes made from objects were brought up to date

	measured   time.Time // when volumes with a limit were looked at
	unmeasured bool      // what one of them holds could not be told
	evicted    string    // why the pod is ended for what it took; empty: it is not
}

// box is one container of a pod over all its runs.
type box struct {
	runs     []node.ContainerState // oldest first; those that were removed are not among them
	ghost    node.ContainerState   // the last run that the engine has nothing of any more; zero: none
	failure  *failure              // why the last try to start it failed
	pull     backOff               // of its image
	crash    backOff
	ended    ended
	stopping *stopping
	probes   map[probeKind]*probe
	probed   string // ID of the run that probes is about
}

// ended is when a run was first seen to have ended. What the engine says of it is by the clock of the wall, which may have been
// set meanwhile.
type ended struct {
	attempt int32
	seen    time.Time // zero: no run has ended
}

// failure is a try that failed.
type failure struct {
	reason, message string
	at              time.Time
	until           time.Time // the next try
	told            bool      // that it is being waited
}

// stopping is a stop that is under way.
type stopping struct {
	run    string // ID
	forced bool   // without grace
}

// backOff is how long tries are apart.
type backOff struct {
	wait    time.Duration // zero: nothing has failed
	updated time.Time
}

// The kubelet's times.
const (
	minBackOff = 10 * time.Second
	maxBackOff = 5 * time.Minute
	quiet      = 2 * maxBackOff // after it a crash counts as the first
	// shown is how long a failed pull is shown as such before the wait for the next one is.
	shown = time.Second
	// configRetry is how soon a ConfigMap that was missing is looked for again.
	configRetry = 5 * time.Second
	// minGrace is what a container gets at least to stop, whatever its hook has used up.
	minGrace = 2 * time.Second
	// forceAfter is how long after a pod's deadline a stop may still be under way before it is forced.
	forceAfter = 3 * time.Second
	// freshFor is how long what is in a volume may lag behind the object that it is made from.
	freshFor = time.Minute
	// engineRetry is how soon what the engine refused to stop or remove is tried again.
	engineRetry = 2 * time.Second
)

// next is the back-off after one more failure.
func (b backOff) next(now time.Time) backOff {
	if b.wait == 0 || now.Sub(b.updated) > quiet {
		return backOff{wait: minBackOff, updated: now}
	}
	return backOff{wait: min(2*b.wait, maxBackOff), updated: now}
}

// crashed is until when a container that ended at finished is not to be started again; zero: at once.
func (b backOff) crashed(finished time.Time) time.Time {
	if b.wait == 0 || finished.Sub(b.updated) > quiet {
		return time.Time{}
	}
	return finished.Add(b.wait)
}

// waits is until when a container that has ended is not to be started again, if it is not: its back-off counts from its end, and
// is over at the latest when it is over since that was seen.
func (b *box) waits(now time.Time) (until time.Time, ok bool) {
	until = b.crash.crashed(b.run().Finished)
	left := until.Sub(now)
	if seen := b.ended.seen; !until.IsZero() && !seen.IsZero() {
		left = min(left, seen.Add(b.crash.wait).Sub(now))
	}
	return now.Add(left), !until.IsZero() && left > 0
}

// box finds a container's box, and makes it.
func (m *memory) box(name string) *box {
	b := m.boxes[name]
	if b == nil {
		b = &box{probes: map[probeKind]*probe{}}
		m.boxes[name] = b
	}
	return b
}

// run is the run that counts: the latest. Nil: there was none.
func (b *box) run() *node.ContainerState {
	if len(b.runs) == 0 {
		return nil
	}
	return &b.runs[len(b.runs)-1]
}

func (b *box) running() bool {
	r := b.run()
	return r != nil && r.Phase == node.PhaseRunning
}

func (b *box) exited() bool {
	r := b.run()
	return r != nil && r.Phase == node.PhaseExited
}

// attempt is the number of the next run.
func (b *box) attempt() int32 {
	if r := b.run(); r != nil {
		return r.Attempt + 1
	}
	return 0
}

// observe takes in what the engine has of the pod; the zero state is nothing.
func (m *memory) observe(pod *corev1.Pod, s node.PodState, now time.Time) {
	if m.ending || m.ended {
		return // what is removed is no news
	}
	first := !m.known
	m.known, m.doubt, m.sandbox = true, false, s.Sandbox
	before := map[string]*node.ContainerState{}
	for name, b := range m.boxes {
		before[name], b.runs = b.run(), nil
	}
	for _, c := range s.Containers {
		if c.Phase != node.PhaseCreated { // the start of such a one was interrupted, and is made again
			b := m.box(c.Name)
			b.runs = append(b.runs, c)
		}
	}
	for name, b := range m.boxes {
		b.settle(before[name], now)
	}
	if m.adopted && first {
		m.recall(pod, now)
	}
}

// settle puts what the engine told of the runs in order, with the run that counted before.
func (b *box) settle(before *node.ContainerState, now time.Time) {
	slices.SortFunc(b.runs, func(x, y node.ContainerState) int { return int(x.Attempt - y.Attempt) })
	if before != nil && (len(b.runs) == 0 || b.run().Attempt < before.Attempt) {
		b.ghost = vanished(*before, now) // a restart counts, also when the engine has forgotten it
		b.runs = append(b.runs, b.ghost)
	} else if len(b.runs) == 1 && b.ghost.Attempt == b.runs[0].Attempt-1 && b.ghost.Name != "" {
		b.runs = slices.Insert(b.runs, 0, b.ghost)
	}
	if r := b.run(); b.exited() && (b.ended.seen.IsZero() || b.ended.attempt != r.Attempt) {
		b.ended = ended{attempt: r.Attempt, seen: now}
	}
	if b.stopping != nil && (!b.running() || b.run().ID != b.stopping.run) {
		b.stopping = nil
	}
}

// recall takes from the stored status what the engine does not tell: runs that it has nothing of any more, readiness,
// and how often a container has crashed.
func (m *memory) recall(pod *corev1.Pod, now time.Time) {
	for _, list := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for _, s := range list {
			b := m.box(s.Name)
			switch r := b.run(); {
			case r == nil && s.ContainerID != "":
				b.ghost = vanished(recalledRun(s), now)
				b.runs = []node.ContainerState{b.ghost}
			case r != nil && r.Phase == node.PhaseRunning && s.RestartCount == r.Attempt:
				b.recallProbes(s, now)
			}
			if r := b.run(); r != nil && r.Attempt > 0 {
				b.crash = recalled(r.Attempt, r.Started)
			}
		}
	}
}

// recalled is the back-off of a container that was restarted so often, the last time at started.
func recalled(restarts int32, started time.Time) backOff {
	b := backOff{wait: minBackOff, updated: started}
	for i := int32(1); i < restarts && b.wait < maxBackOff; i++ {
		b.wait = min(2*b.wait, maxBackOff)
	}
	return b
}

// recalledRun is a run as a stored status tells it.
func recalledRun(s corev1.ContainerStatus) node.ContainerState {
	r := node.ContainerState{Name: s.Name, Attempt: s.RestartCount, Ref: s.Image, Digest: s.ImageID, Phase: node.PhaseRunning}
	switch {
	case s.State.Terminated != nil:
		r.Phase, r.Exit, r.Message = node.PhaseExited, s.State.Terminated.ExitCode, s.State.Terminated.Message
		r.Started, r.Finished = s.State.Terminated.StartedAt.Time, s.State.Terminated.FinishedAt.Time
	case s.State.Running != nil:
		r.Started = s.State.Running.StartedAt.Time
	}
	return r
}

// vanished is a run of which the engine has nothing any more.
func vanished(r node.ContainerState, now time.Time) node.ContainerState {
	r.ID = ""
	if r.Phase != node.PhaseExited {
		r.Phase, r.Exit, r.Finished = node.PhaseExited, 137, now
		r.Message = "The container could not be located"
	}
	return r
}
