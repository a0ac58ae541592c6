package kubelet

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"sync"
	"time"

	"github.com/rs/zerolog"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"

	"github.com/belay-dev/belay/reconciler/node"
)

// Options are what a Kubelet works with.
type Options struct {
	Runtime node.Runtime
	// Type is what container IDs begin with in statuses, as TYPE://ID; empty: they are the runtime's own.
	Type    string
	Objects Objects
	// Dir holds the volumes of pods; it is made when it is needed.
	Dir string
	// HostPaths are the paths of the machine that pods may mount, with all below them.
	HostPaths []string
	// Instance is the state whose pods these are: what runs of it without an object is ended. Empty: nothing is.
	Instance string
	// Origin says where a pod comes from; nil: nobody wants to know.
	Origin func(*corev1.Pod) node.Origin
	// DockerConfig reads the machine's docker configuration at each pull; nil: there is none.
	DockerConfig func() ([]byte, error)
	// Names is where pods ask for the names of Services; the zero value: nowhere.
	Names netip.Addr
	// Keep lists the images that are never taken off the machine, whether they are in use or not: by names as pods have them,
	// by digest or by ID. Nil: none ever is.
	Keep func() []string
	// Ran says what the images of a pod's revision were when it ran before, by the names that the pod has for them: that is
	// what runs again, where it is present. Nil: nothing is known.
	Ran func(*corev1.Pod) map[string]string
	// Held says whether a process holds the data directory of a name: its pods are not for others to find. Nil: none is.
	Held func(directory string) bool
	Now  func() time.Time
	Log  zerolog.Logger
}

// How the engine is looked after.
const (
	relistEvery = 10 * time.Second // hints may be lost
	reconnect   = time.Second      // between two tries to reach an engine that does not answer
	askTimeout  = 20 * time.Second // for one question
	lastTimeout = 2 * time.Second  // for one after the end
	// unknownAfter is how long an engine may be away before its pods are Unknown.
	unknownAfter = 10 * time.Second
)

// Kubelet runs pods on a driver. Run has to run for anything to happen.
type Kubelet struct {
	Options
	volumes volumes
	stock   stock
	jobs    chan job

	mu      sync.Mutex
	workers map[types.UID]*worker
	orphans map[types.UID]bool // whose end is under way
	down    time.Time          // since when the engine does not answer; zero: it does
	news    func(types.NamespacedName)
}

var (
	_ node.PodRunner = (*Kubelet)(nil)
	_ node.Lively    = (*Kubelet)(nil)
)

// New makes a Kubelet that knows no pods.
func New(o Options) *Kubelet {
	return &Kubelet{
		Options: o, volumes: volumes{dir: o.Dir, hostPaths: o.HostPaths, objects: o.Objects},
		stock: stock{file: filepath.Join(o.Dir, "pulled.json")}, jobs: make(chan job), workers: map[types.UID]*worker{}, orphans: map[types.UID]bool{},
		news: func(types.NamespacedName) {},
	}
}

// job is something that is done beside Sync.
type job struct {
	w    *worker
	kind actionKind
	do   func(context.Context)
}

// worker is one pod.
type worker struct {
	name types.NamespacedName
	uid  types.UID

	asking sync.Mutex // one question about the pod at a time: answers do not overtake each other
	jobs   tally      // what is done about it

	mu       sync.Mutex
	pod      *corev1.Pod
	m        memory
	version  int // of m, as the engine told it
	messages map[string]string
	events   []node.Event
	sent     int              // of events, with the last report
	reported corev1.PodStatus // with the last report
	cancels  map[int]cancel
	next     int
	dead     bool // its object is gone
}

type cancel struct {
	kind actionKind
	call context.CancelFunc
}

// say notes an event of a container.
func (w *worker) say(c *corev1.Container, init bool, kind, reason, message string) {
	w.tell(node.Event{Type: kind, Reason: reason, Message: message, Field: fieldOf(c.Name, init)})
}

func (w *worker) tell(events ...node.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, events...)
}

// Adopt takes pods over: nothing is done to them before the engine was asked what of them runs.
func (k *Kubelet) Adopt(pods []*corev1.Pod) {
	for _, pod := range pods {
		w := k.worker(pod, time.Time{})
		w.m.adopted, w.m.doubt = true, true
		if pod.Status.StartTime != nil {
			w.m.arrived = pod.Status.StartTime.Time
		}
	}
}

// worker finds a pod's worker, or makes it.
func (k *Kubelet) worker(pod *corev1.Pod, now time.Time) *worker {
	k.mu.Lock()
	defer k.mu.Unlock()
	w := k.workers[pod.UID]
	if w == nil {
		w = &worker{
			name: types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}, uid: pod.UID, pod: pod,
			m: memory{arrived: now, boxes: map[string]*box{}}, messages: map[string]string{}, cancels: map[int]cancel{},
		}
		k.workers[pod.UID] = w
	}
	return w
}

// Sync decides what is to be done now, has it done beside, and reports how the pod is.
func (k *Kubelet) Sync(ctx context.Context, pod *corev1.Pod, now time.Time) (node.Report, error) {
	w := k.worker(pod, now)
	away := k.away()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.m.arrived.IsZero() {
		w.m.arrived = now
	}
	w.pod = pod
	w.delivered(pod)
	if !away.IsZero() {
		return w.lost(away, now), nil
	}
	d := plan(pod, &w.m, now)
	for _, a := range d.actions {
		w.begin(a, now)
		if err := k.launch(ctx, w, a); err != nil {
			return node.Report{}, err
		}
	}
	for _, name := range d.told {
		w.m.box(name).failure.told = true
	}
	w.events = append(w.events, d.events...)
	if d.gone {
		return w.report(node.Report{Status: pod.Status, Gone: true}), nil
	}
	return w.report(node.Report{Status: k.typed(status(pod, &w.m, now)), WakeAt: d.wakeAt}), nil
}

// delivered forgets the events of the last report, once its status is stored.
func (w *worker) delivered(pod *corev1.Pod) {
	if w.sent > 0 && equality.Semantic.DeepEqual(pod.Status, w.reported) {
		w.events = w.events[w.sent:]
		w.sent = 0
	}
}

func (w *worker) report(r node.Report) node.Report {
	r.Events = append([]node.Event(nil), w.events...)
	w.sent, w.reported = len(w.events), r.Status
	return r
}

// lost reports a pod while the engine does not answer.
func (w *worker) lost(since, now time.Time) node.Report {
	at := since.Add(unknownAfter)
	if now.Before(at) {
		return w.report(node.Report{Status: w.pod.Status, WakeAt: at})
	}
	if w.pod.Status.Phase != corev1.PodUnknown {
		w.events = append(w.events, node.Event{Type: corev1.EventTypeWarning, Reason: "NodeNotReady", Message: "Node is not ready"})
	}
	return w.report(node.Report{Status: unknown(w.pod, now)})
}

// begin notes that an action is under way. The lock is held.
func (w *worker) begin(a action, now time.Time) {
	switch a.kind {
	case makeSandbox:
		w.m.making = true
	case startContainer:
		w.m.starting = a.container
		if b := w.m.box(a.container); b.exited() && b.failure == nil {
			b.crash = b.crash.next(now)
		}
	case stopContainer:
		w.m.box(a.container).stopping = &stopping{run: a.run, forced: a.forced}
	case runProbe:
		c := find(w.pod, a.container)
		w.m.box(a.container).begin(c, a.probe, now)
	case removePod:
		w.m.ending = true
	case freshVolumes:
		w.m.fresh = now
	case measureVolumes:
		w.m.measured = now
	case giveUpStart:
		for _, c := range w.cancels {
			if c.kind == startContainer || c.kind == makeSandbox {
				c.call()
			}
		}
	}
}

// launch has an action done beside. The lock is held.
func (k *Kubelet) launch(ctx context.Context, w *worker, a action) error {
	if a.kind == giveUpStart {
		return nil
	}
	pod := w.pod
	return k.beside(ctx, w, a.kind, func(ctx context.Context) { k.do(ctx, w, pod, a) })
}

// beside hands a job to Run.
func (k *Kubelet) beside(ctx context.Context, w *worker, kind actionKind, do func(context.Context)) error {
	if !w.jobs.add() {
		return nil // its object is gone
	}
	select {
	case k.jobs <- job{w, kind, do}:
		return nil
	case <-ctx.Done():
		w.jobs.done()
		return ctx.Err()
	}
}

// Remove ends what is left of a pod whose object is gone.
func (k *Kubelet) Remove(ctx context.Context, uid types.UID) error {
	k.mu.Lock()
	w := k.workers[uid]
	k.mu.Unlock()
	if w != nil {
		w.jobs.close()
		w.mu.Lock()
		w.dead = true
		for _, c := range w.cancels {
			c.call()
		}
		w.mu.Unlock()
		if err := w.jobs.wait(ctx); err != nil {
			return err
		}
	}
	if err := k.Runtime.RemovePod(ctx, uid); err != nil {
		return err
	}
	if err := k.volumes.remove(uid); err != nil {
		return fmt.Errorf("remove volumes: %w", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.workers, uid)
	return nil
}

// changed tells that Sync has news of a pod.
func (k *Kubelet) changed(w *worker) {
	k.mu.Lock()
	news := k.news
	k.mu.Unlock()
	news(w.name)
}

// away is since when the engine does not answer; zero: it does.
func (k *Kubelet) away() time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.down
}
