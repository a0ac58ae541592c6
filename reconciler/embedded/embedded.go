package embedded

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"

	"github.com/belay-dev/belay/reconciler/engine"
	"github.com/belay-dev/belay/reconciler/rollout"
	"github.com/belay-dev/belay/state"
)

// Pods says what the runner of pods cannot honour.
type Pods interface {
	// Supports lists fields below the spec of a pod, in the order in which they stand.
	Supports(*corev1.PodSpec) []engine.Unsupported
}

// Engine applies changes to a store that the controllers of the same process work on.
type Engine struct {
	store *state.Store
	pods  Pods

	mu    sync.Mutex // guards known
	known map[types.UID]*known
}

// known is how a rollout stood, which nobody changes, for as long as the Deployment and its ReplicaSets are the same objects.
type known struct {
	deployment *appsv1.Deployment
	sets       []*appsv1.ReplicaSet
	rollout    engine.Rollout // but for what its pods wait for
	asked      types.UID      // the ReplicaSet whose pods say what they wait for; empty: nobody asks them
	serving    []string
	digests    []string
}

// New makes an engine over a store. With nil pods everything that a pod says is honoured.
func New(store *state.Store, pods Pods) *Engine {
	return &Engine{store: store, pods: pods, known: map[types.UID]*known{}}
}

// kinds are what the engine can apply.
var kinds = map[state.Kind]bool{
	state.KindDeployment: true, state.KindService: true, state.KindConfigMap: true, state.KindSecret: true, state.KindNamespace: true,
}

// Live returns the stored object and, for a Deployment, how its rollout stands.
func (e *Engine) Live(key engine.Key) engine.Live {
	o, ok := e.store.Get(key)
	if !ok {
		return engine.Live{}
	}
	if d, ok := o.(*appsv1.Deployment); ok {
		return e.live(e.store, d, state.OwnedBy[*appsv1.ReplicaSet](e.store, d.UID))
	}
	return engine.Live{Object: o}
}

// Deployments is what Live returns for every Deployment at the moment of a snapshot of the engine's store, sorted by
// namespace and name: read in one run, for a fraction of what asking for one after the other costs.
func (e *Engine) Deployments(view *state.Snapshot) []engine.Live {
	all := state.List[*appsv1.Deployment](view, "")
	sets := setsOf(all, state.List[*appsv1.ReplicaSet](view, ""))
	out := make([]engine.Live, len(all))
	for i, d := range all {
		out[i] = e.live(view, d, sets[i])
	}
	return out
}

// Deployment is what Live returns for a Deployment at the moment of a snapshot of the engine's store.
func (e *Engine) Deployment(view *state.Snapshot, namespace, name string) engine.Live {
	d, ok := state.Get[*appsv1.Deployment](view, namespace, name)
	if !ok {
		return engine.Live{}
	}
	return e.live(view, d, state.OwnedBy[*appsv1.ReplicaSet](view, d.UID))
}

// setsOf are the ReplicaSets that each Deployment owns, in the order in which they are given.
func setsOf(all []*appsv1.Deployment, sets []*appsv1.ReplicaSet) [][]*appsv1.ReplicaSet {
	at := make(map[types.UID]int, len(all))
	for i, d := range all {
		at[d.UID] = i
	}
	type owned struct {
		owner int
		set   *appsv1.ReplicaSet
	}
	pairs, counts := make([]owned, 0, len(sets)), make([]int, len(all))
	for _, rs := range sets {
		for i := range rs.OwnerReferences {
			if owner, ok := at[rs.OwnerReferences[i].UID]; ok {
				pairs = append(pairs, owned{owner, rs})
				counts[owner]++
			}
		}
	}
	out, room := make([][]*appsv1.ReplicaSet, len(all)), make([]*appsv1.ReplicaSet, len(pairs)) // one room for all
	for i, n := range counts {
		if n > 0 {
			out[i], room = room[:0:n], room[n:]
		}
	}
	for _, p := range pairs {
		out[p.owner] = append(out[p.owner], p.set)
	}
	return out
}

// live is a Deployment and how its rollout stands.
func (e *Engine) live(view state.Reading, d *appsv1.Deployment, sets []*appsv1.ReplicaSet) engine.Live {
	k := e.progress(view, d, sets)
	live := engine.Live{Object: d, Rollout: k.rollout, Asked: k.asked, Serving: k.serving, Digests: k.digests}
	if k.asked != "" {
		live.Rollout.Waits = waits(state.OwnedBy[*corev1.Pod](view, k.asked))
	}
	return live
}

// rolloutOf is a rollout but for what its pods wait for, and the ReplicaSet whose pods say that; empty: nobody asks them.
func rolloutOf(d *appsv1.Deployment, sets []*appsv1.ReplicaSet, p rollout.Progress) (r engine.Rollout, asked types.UID) {
	r = engine.Rollout{
		Phase: phaseOf(p.Phase), Reason: p.Reason, Message: p.Message, Template: p.Template, ReplicaSet: p.ReplicaSet,
	}
	// The controller gives a re-used ReplicaSet its new number one sync before the Deployment: until both agree the
	// number may be the old one.
	if n, ok := rollout.Revision(d.Annotations); ok && p.Observed && n == p.Revision {
		r.Revision = p.Revision
	}
	if r.Phase == engine.PhaseComplete && r.Revision == 0 {
		r.Phase = engine.PhaseProgressing
	}
	for _, rs := range sets {
		if rs.Name == p.ReplicaSet && (r.Phase != engine.PhaseComplete || d.Status.AvailableReplicas < *d.Spec.Replicas) {
			asked = rs.UID
		}
	}
	return r, asked
}

// serving are the names of the ReplicaSets of which a pod is available, sorted.
func serving(sets []*appsv1.ReplicaSet) []string {
	var out []string
	for _, rs := range sets {
		if rs.Status.AvailableReplicas > 0 {
			out = append(out, rs.Name)
		}
	}
	slices.Sort(out)
	return out
}

// progress is rollout.State, computed once: what is asked most often has not changed.
func (e *Engine) progress(view state.Reading, d *appsv1.Deployment, sets []*appsv1.ReplicaSet) *known {
	e.mu.Lock()
	k := e.known[d.UID]
	e.mu.Unlock()
	if k != nil && k.deployment == d && slices.Equal(k.sets, sets) {
		return k
	}
	// They are kept: one that is not asked about again must not keep all others in memory.
	k = &known{deployment: d, sets: slices.Clone(sets), serving: serving(sets)}
	p := rollout.State(d, sets)
	k.rollout, k.asked = rolloutOf(d, sets, p)
	if p.Phase == rollout.PhaseComplete {
		k.digests = digests(view, d, sets, p.ReplicaSet)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.known[d.UID] = k
	return k
}

// forget drops what is known of a Deployment that is gone.
func (e *Engine) forget(o state.Object) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.known, o.GetUID())
}

// waits is the first reason that a pod, in order of names, gives for not running or not being ready.
func waits(pods []*corev1.Pod) string {
	for _, p := range pods {
		for _, c := range p.Status.Conditions {
			if c.Type == corev1.PodScheduled && c.Reason == corev1.PodReasonSchedulingGated && len(p.Spec.SchedulingGates) > 0 {
				return fmt.Sprintf("%s %s", c.Reason, p.Spec.SchedulingGates[0].Name)
			}
		}
		for _, c := range p.Status.ContainerStatuses {
			if w := c.State.Waiting; w != nil && w.Reason != "ContainerCreating" && w.Reason != "PodInitializing" {
				return fmt.Sprintf("%s %s", w.Reason, c.Image)
			}
		}
	}
	return ""
}

func phaseOf(p rollout.Phase) engine.Phase {
	switch p {
	case rollout.PhasePending:
		return engine.PhasePending
	case rollout.PhaseProgressing:
		return engine.PhaseProgressing
	case rollout.PhaseComplete:
		return engine.PhaseComplete
	case rollout.PhaseFailed:
		return engine.PhaseFailed
	case rollout.PhasePaused:
		return engine.PhasePaused
	}
	return engine.PhaseNone
}

// Apply makes the change and records its ledger writes in one transaction. A change that is there already records
// the ledger writes alone.
func (e *Engine) Apply(_ context.Context, c engine.Change) error {
	ws := append([]state.Write(nil), c.Ledger...)
	live, ok := e.store.Get(c.Key)
	switch {
	case c.Desired == nil && ok:
		ws = append(ws, state.Delete(c.Key, state.DeleteOptions{UID: live.GetUID()}))
	case c.Desired != nil && !ok:
		ws = append(ws, state.Create(engine.Merge(nil, c)))
	case c.Desired != nil:
		ws = append(ws, changing(live, engine.Merge(live, c))...)
	}
	if _, err := e.store.Commit(ws...); err != nil {
		return fmt.Errorf("apply %s: %w", c.Key, err)
	}
	return nil
}

// changing are the writes that turn one object into the other, none when they are the same. The condition of a held
// Deployment is in its status, which has a write of its own.
func changing(live, next state.Object) []state.Write {
	if engine.Equal(live, next) {
		return nil
	}
	ws := []state.Write{state.Update(next)}
	before, ok := live.(*appsv1.Deployment)
	if after, same := next.(*appsv1.Deployment); ok && same && !apiequality.Semantic.DeepEqual(before.Status, after.Status) {
		status := after.DeepCopy()
		status.ResourceVersion = "" // the write before has compared it
		ws = append(ws, state.UpdateStatus(status))
	}
	return ws
}

// Watch calls changed with every live key, then with the keys of what changes, until ctx ends.
func (e *Engine) Watch(ctx context.Context, changed func([]engine.Key)) error {
	for {
		after := e.store.Version()
		var keys []engine.Key
		for _, k := range []state.Kind{state.KindNamespace, state.KindConfigMap, state.KindSecret, state.KindService, state.KindDeployment} {
			for _, o := range e.store.List(k, "") {
				keys = append(keys, state.KeyOf(o))
			}
		}
		changed(keys)
		if err := e.stream(ctx, after, changed); !errors.Is(err, state.ErrExpired) {
			return err
		}
	}
}

// stream passes on the keys of what changed after a version; it fails with state.ErrExpired when it fell behind.
func (e *Engine) stream(ctx context.Context, after int64, changed func([]engine.Key)) error {
	w, err := e.store.Watch(after, state.KindNamespace, state.KindConfigMap, state.KindSecret, state.KindService, state.KindDeployment)
	if err != nil {
		return fmt.Errorf("watch: %w", err)
	}
	for {
		events, err := w.Next(ctx)
		if err != nil {
			return fmt.Errorf("watch: %w", err)
		}
		keys := make([]engine.Key, 0, len(events))
		for _, ev := range events {
			if ev.Type == state.Deleted {
				e.forget(ev.Object)
			}
			keys = append(keys, ev.Key())
		}
		changed(keys)
	}
}
