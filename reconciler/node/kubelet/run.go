package kubelet

import (
	"context"
	"errors"
	"reflect"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/belay-dev/belay/reconciler/node"
)

// Run does what Sync decided, and keeps up with the engine, until ctx ends.
func (k *Kubelet) Run(ctx context.Context, changed func(types.NamespacedName)) {
	k.mu.Lock()
	k.news = changed
	k.mu.Unlock()
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { k.follow(ctx) })
	if c, ok := k.Runtime.(node.Collector); ok && k.Keep != nil && k.Dir != "" {
		running.Go(func() { k.collect(ctx, c) })
	}
	for {
		select {
		case j := <-k.jobs:
			running.Go(func() { k.one(ctx, j) })
		case <-ctx.Done():
			return
		}
	}
}

// one does a job, unless its pod is gone by now.
func (k *Kubelet) one(ctx context.Context, j job) {
	defer j.w.jobs.done()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	j.w.mu.Lock()
	if j.w.dead {
		j.w.mu.Unlock()
		return
	}
	id := j.w.next
	j.w.next++
	j.w.cancels[id] = cancel{j.kind, stop}
	j.w.mu.Unlock()
	j.do(ctx)
	j.w.mu.Lock()
	defer j.w.mu.Unlock()
	delete(j.w.cancels, id)
}

// follow keeps up with the engine: hints while it answers, everything every now and then, and again when it is back.
func (k *Kubelet) follow(ctx context.Context) {
	for ctx.Err() == nil {
		err := k.session(ctx)
		if ctx.Err() != nil {
			return
		}
		k.lose(err)
		timer := time.NewTimer(reconnect)
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// session goes on while the engine answers.
func (k *Kubelet) session(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	defer watching.Wait()
	defer cancel()
	ended := make(chan error, 1)
	watching.Go(func() { ended <- k.Runtime.Watch(ctx, func(uid types.UID) { k.hint(ctx, uid) }) })
	tick := time.NewTicker(relistEvery)
	defer tick.Stop()
	for {
		if err := k.list(ctx); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case err := <-ended:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// lose notes that the engine does not answer.
func (k *Kubelet) lose(err error) {
	k.mu.Lock()
	if k.down.IsZero() {
		k.down = k.Now()
		k.Log.Warn().Err(err).Msg("the engine does not answer")
	}
	k.mu.Unlock()
	k.lookAtAll()
}

func (k *Kubelet) lookAtAll() {
	k.mu.Lock()
	var all []*worker
	for _, w := range k.workers {
		all = append(all, w)
	}
	k.mu.Unlock()
	for _, w := range all {
		k.changed(w)
	}
}

// hint asks about one pod beside.
func (k *Kubelet) hint(ctx context.Context, uid types.UID) {
	k.mu.Lock()
	w := k.workers[uid]
	k.mu.Unlock()
	if w == nil {
		return
	}
	// An error says that all ends.
	_ = k.beside(ctx, w, "", func(ctx context.Context) {
		k.ask(ctx, w, nil)
		k.changed(w)
	})
}

// list takes in everything the engine has. What was asked about one pod meanwhile is newer, and counts.
func (k *Kubelet) list(ctx context.Context) error {
	k.mu.Lock()
	versions := map[types.UID]int{}
	for uid, w := range k.workers {
		w.mu.Lock()
		versions[uid] = w.version
		w.mu.Unlock()
	}
	k.mu.Unlock()
	asked, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	all, err := k.Runtime.List(asked)
	if err != nil {
		return err
	}
	states := map[types.UID]node.PodState{}
	for _, s := range all {
		states[s.Pod.UID] = s
	}
	var news, doubtful []*worker
	k.mu.Lock()
	back := !k.down.IsZero()
	k.down = time.Time{}
	for uid, version := range versions {
		w := k.workers[uid]
		if w == nil {
			continue
		}
		s, found := states[uid]
		w.mu.Lock()
		switch {
		case w.version == version && !w.m.same(s, found) || w.m.doubt:
			doubtful = append(doubtful, w) // to be asked about, in its turn
		case back:
			news = append(news, w)
		}
		w.mu.Unlock()
	}
	stray := k.strays(states)
	k.mu.Unlock()
	if back {
		k.Log.Info().Msg("the engine answers again")
	}
	for _, w := range doubtful {
		k.hint(ctx, w.uid)
	}
	for _, w := range news {
		k.changed(w)
	}
	for _, s := range stray {
		k.endStray(ctx, s)
	}
	return nil
}

// same says whether the engine still has of a pod what it had.
func (m *memory) same(s node.PodState, found bool) bool {
	if !found {
		return m.sandbox.ID == "" && len(m.told.Containers) == 0
	}
	return reflect.DeepEqual(m.told.Sandbox, s.Sandbox) && reflect.DeepEqual(m.told.Containers, s.Containers)
}

// strays are the pods of this state that it does not have any more. The lock is held.
func (k *Kubelet) strays(states map[types.UID]node.PodState) []node.PodState {
	if k.Instance == "" {
		return nil
	}
	var out []node.PodState
	for uid, s := range states {
		if s.Pod.Origin.Instance == k.Instance && k.workers[uid] == nil && !k.orphans[uid] {
			k.orphans[uid] = true
			out = append(out, s)
		}
	}
	return out
}

// strayGrace is what containers get that nobody remembers.
const strayGrace = 30 * time.Second

// endStray stops a pod whose object went while nobody was here.
func (k *Kubelet) endStray(ctx context.Context, s node.PodState) {
	w := &worker{uid: s.Pod.UID, cancels: map[int]cancel{}}
	// An error says that all ends.
	_ = k.beside(ctx, w, removePod, func(ctx context.Context) {
		err := k.end(ctx, s)
		k.mu.Lock()
		defer k.mu.Unlock()
		delete(k.orphans, s.Pod.UID) // if it is there still, the next list has it again
		if err != nil && ctx.Err() == nil {
			k.Log.Warn().Str("pod", s.Pod.Name).Err(err).Msg("pod without object not removed")
		}
	})
}

// end stops all containers of a pod and removes all of it.
func (k *Kubelet) end(ctx context.Context, s node.PodState) error {
	if err := k.stopAll(ctx, s); err != nil {
		return err
	}
	return k.volumes.remove(s.Pod.UID)
}

// stopAll stops all containers of a pod with grace and removes it from the engine.
func (k *Kubelet) stopAll(ctx context.Context, s node.PodState) error {
	errs := make([]error, len(s.Containers))
	var stopping sync.WaitGroup
	for i, c := range s.Containers {
		if c.Phase == node.PhaseRunning {
			stopping.Go(func() { errs[i] = k.Runtime.Stop(ctx, c.ID, strayGrace) })
		}
	}
	stopping.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return k.Runtime.RemovePod(ctx, s.Pod.UID)
}

// groupOf is the group that a pod's volumes belong to; nil: none of its own.
func groupOf(pod *corev1.Pod) *int64 {
	if s := pod.Spec.SecurityContext; s != nil {
		return s.FSGroup
	}
	return nil
}

// sandbox is what a pod's sandbox is made of.
func (k *Kubelet) sandbox(pod *corev1.Pod) node.Sandbox {
	s := node.Sandbox{
		UID: pod.UID, Namespace: pod.Namespace, Name: pod.Name, Hostname: orElse(pod.Spec.Hostname, pod.Name),
		HostNetwork: pod.Spec.HostNetwork,
	}
	const maxHostname = 63
	s.Hostname = s.Hostname[:min(len(s.Hostname), maxHostname)]
	if o := pod.Spec.HostnameOverride; o != nil {
		s.Hostname = *o
	}
	if k.Origin != nil {
		s.Origin = k.Origin(pod)
	}
	s.Origin.Instance = k.Instance
	s.DNS = dns(pod, k.Names)
	for _, a := range pod.Spec.HostAliases {
		s.Hosts = append(s.Hosts, node.HostAlias{IP: a.IP, Names: a.Hostnames})
	}
	if c := pod.Spec.SecurityContext; c != nil && len(c.Sysctls) > 0 {
		s.Sysctls = map[string]string{}
		for _, y := range c.Sysctls {
			s.Sysctls[y.Name] = y.Value
		}
	}
	for i := range pod.Spec.Volumes {
		if v := &pod.Spec.Volumes[i]; inMemory(v) {
			m := node.MemoryVolume{Name: v.Name, GID: groupOf(pod)}
			if v.EmptyDir.SizeLimit != nil {
				m.Size = v.EmptyDir.SizeLimit.Value()
			}
			s.Memory = append(s.Memory, m)
		}
	}
	each(pod, func(c *corev1.Container, _ bool) {
		for _, p := range c.Ports {
			if p.Protocol == "" || p.Protocol == corev1.ProtocolTCP {
				s.Ports = append(s.Ports, p.ContainerPort)
			}
		}
	})
	return s
}
