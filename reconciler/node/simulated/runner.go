package simulated

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/belay-dev/belay/reconciler/node"
)

// podNetwork is where the addresses of pods come from. Nothing listens there.
var podNetwork = netip.MustParsePrefix("10.64.0.0/10")

// Runner is the driver. It only remembers what objects cannot carry; all the rest is Status.
type Runner struct {
	options Options

	mu      sync.Mutex
	pods    map[types.UID]*resident
	taken   map[netip.Addr]bool
	last    netip.Addr
	present map[string]bool // images that were pulled before
}

var _ node.PodRunner = (*Runner)(nil)

type resident struct {
	Memory
	seen   time.Time // newest time at which its state is known
	ip     netip.Addr
	pulled map[string]bool // images that this pod had to pull
	gone   chan struct{}   // closed when the pod is
}

// New is a simulated node that nothing runs on yet.
func New(options Options) *Runner {
	return &Runner{
		options: options, last: podNetwork.Addr(),
		pods: map[types.UID]*resident{}, taken: map[netip.Addr]bool{}, present: map[string]bool{},
	}
}

// Adopt lets the pods keep their addresses and go on from where their status says they are.
func (r *Runner) Adopt(pods []*corev1.Pod) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, pod := range pods {
		r.see(pod.Status)
	}
	for _, pod := range pods {
		if pod.Status.StartTime != nil {
			r.catchUp(r.take(pod, pod.Status.StartTime.Time), pod)
		}
	}
}

// Sync reports how the pod is. It never fails.
func (r *Runner) Sync(_ context.Context, pod *corev1.Pod, now time.Time) (node.Report, error) {
	memory, pulled, stops := r.remember(pod, now)
	status, wakeAt, gone := Status(pod, r.options, memory, now)
	report := node.Report{Status: status, WakeAt: wakeAt, Gone: gone}
	switch {
	case stops:
		report.Events = killing(pod)
	case pod.DeletionTimestamp == nil:
		report.Events = events(pod, status, pulled, r.options.Delay)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.see(status)
	}
	return report, nil
}

// Remove forgets the pod and frees its address.
func (r *Runner) Remove(_ context.Context, uid types.UID) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if pod, ok := r.pods[uid]; ok {
		close(pod.gone)
		delete(r.taken, pod.ip)
		delete(r.pods, uid)
	}
	return nil
}

// remember is what is known of the pod beside its object, and whether it stops with this call.
func (r *Runner) remember(pod *corev1.Pod, now time.Time) (memory Memory, pulled map[string]bool, stops bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p, ok := r.pods[pod.UID]
	if !ok {
		p = r.take(pod, now)
	}
	p.pass(now)
	if pod.DeletionTimestamp != nil && p.Stopping.IsZero() {
		p.Stopping, stops = now, true
	}
	return p.Memory, p.pulled, stops
}

// pass lets time go on for a pod. When somebody set the clock back, the pod's past goes back with it: what runs goes on,
// and what was to come comes as late as it would have.
func (p *resident) pass(now time.Time) {
	if back := p.seen.Sub(now); back > 0 {
		p.Arrived = p.Arrived.Add(-back)
		if !p.Stopping.IsZero() {
			p.Stopping = p.Stopping.Add(-back)
		}
	}
	p.seen = now
}

// catchUp brings an adopted pod as far as its status says that it was: times alone do not tell when the clock was set
// back while it ran.
func (r *Runner) catchUp(p *resident, pod *corev1.Pod) {
	const steps = 100 // more often no container changes in a day
	for range steps {
		status, wakeAt, _ := Status(pod, r.options, p.Memory, p.seen)
		if !behind(status, pod.Status) || wakeAt.IsZero() {
			return
		}
		p.Arrived = p.Arrived.Add(-wakeAt.Sub(p.seen))
	}
}

// behind reports whether a status is of an earlier moment than another, as far as containers tell.
func behind(status, other corev1.PodStatus) bool {
	return slices.ContainsFunc(other.ContainerStatuses, func(o corev1.ContainerStatus) bool {
		s, ok := node.StatusOf(status.ContainerStatuses, o.Name)
		return ok && (o.RestartCount > s.RestartCount || o.RestartCount == s.RestartCount && o.Ready && !s.Ready)
	})
}

// lastKnown is the newest time of a status.
func lastKnown(status corev1.PodStatus) time.Time {
	newest := time.Time{}
	note := func(t time.Time) {
		if t.After(newest) {
			newest = t
		}
	}
	if status.StartTime != nil {
		note(status.StartTime.Time)
	}
	for _, c := range status.Conditions {
		note(c.LastTransitionTime.Time)
	}
	for _, s := range status.ContainerStatuses {
		if s.State.Running != nil {
			note(s.State.Running.StartedAt.Time)
		}
	}
	return newest
}

// take gives a pod its place. What it has to pull is decided now, as several pods may pull one image at a time.
func (r *Runner) take(pod *corev1.Pod, arrived time.Time) *resident {
	p := &resident{Memory: Memory{Arrived: arrived}, seen: lastKnown(pod.Status), gone: make(chan struct{})}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for _, c := range list {
			if c.ImagePullPolicy == corev1.PullAlways || c.ImagePullPolicy != corev1.PullNever && !r.present[c.Image] {
				if p.pulled == nil {
					p.pulled = map[string]bool{}
				}
				p.pulled[c.Image] = true
			}
		}
	}
	if ip, err := netip.ParseAddr(pod.Status.PodIP); err == nil && !r.taken[ip] {
		p.ip = ip
	} else {
		p.ip = r.free()
	}
	p.IP = p.ip.String()
	r.taken[p.ip] = true
	r.pods[pod.UID] = p
	return p
}

// free is the next address that no pod has: one that was given back comes again as late as can be. There are more
// of them than pods that fit into memory.
func (r *Runner) free() netip.Addr {
	for {
		r.last = r.last.Next()
		if !podNetwork.Contains(r.last) {
			r.last = podNetwork.Addr().Next()
		}
		if b := r.last.As4(); b[3] != 0 && b[3] != 255 && !r.taken[r.last] {
			return r.last
		}
	}
}

// see notes the images that run: they need not be pulled again.
func (r *Runner) see(status corev1.PodStatus) {
	for _, list := range [][]corev1.ContainerStatus{status.InitContainerStatuses, status.ContainerStatuses} {
		for _, s := range list {
			if s.ImageID != "" {
				r.present[s.Image] = true
			}
		}
	}
}
