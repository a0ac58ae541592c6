package scenario

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/belay-dev/belay/state"
)

// Engine is a pair of controllers that can be run one step at a time.
type Engine interface {
	// Settle lets the controller of a kind (Deployment or ReplicaSet) work until it has nothing left to do.
	Settle(ctx context.Context, kind state.Kind) error
	// WakeAt is when time alone gives it something to do; zero: never.
	WakeAt() time.Time
	// Events returns what was told since the last call, in order.
	Events() []Told
	// Restart forgets all but the store.
	Restart() error
}

// Told is one Event as a controller recorded it, before any aggregation.
type Told struct {
	Kind, Name            string // of the object it is about
	Type, Reason, Message string
}

// Clock is where a world's time comes from. In a test both functions run in a bubble of testing/synctest.
type Clock struct {
	Now   func() time.Time
	Sleep func(time.Duration)
}

const namespace = "default"

// World is one store, an engine and a kubelet that does as it is told.
type World struct {
	Store  *state.Store
	engine Engine
	clock  Clock

	bad     map[string]bool // images that never become ready
	lingers bool            // deleted pods stay until told
	hushed  bool            // the controllers do not look
}

// NewWorld makes an empty world. The engine is made by start, over the world's store.
func NewWorld(clock Clock, start func(*state.Store) (Engine, error)) (*World, error) {
	store, err := state.OpenMemory(state.Options{Now: clock.Now, Random: &counter{}})
	if err != nil {
		return nil, err
	}
	engine, err := start(store)
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return &World{Store: store, engine: engine, clock: clock, bad: map[string]bool{}}, nil
}

// Close releases the store.
func (w *World) Close() error { return w.Store.Close() }

// Restart lets the engine forget all it knows, and settles: nothing may happen.
func (w *World) Restart(ctx context.Context) error {
	version := w.Store.Version()
	if w.hushed {
		return nil
	}
	if err := w.engine.Restart(); err != nil {
		return err
	}
	if err := w.settle(ctx); err != nil {
		return err
	}
	if now := w.Store.Version(); now != version {
		return fmt.Errorf("%d writes after a restart", now-version)
	}
	for _, e := range w.engine.Events() {
		if e.Type != corev1.EventTypeWarning { // what was refused before may be refused again
			return fmt.Errorf("%s after a restart", e.Reason)
		}
	}
	return nil
}

// counter is a source of randomness that counts: uids come in the order of creation, so that the choices that hang
// on them are the same in every run. What is no draw of objects' names is zero: the store's own name.
type counter struct{ n uint64 }

func (c *counter) Read(p []byte) (int, error) {
	const draw = 24
	if len(p)%draw != 0 {
		clear(p)
		return len(p), nil
	}
	for i := 0; i < len(p); i += draw {
		c.n++
		clear(p[i : i+draw])
		binary.BigEndian.PutUint64(p[i+9:], c.n<<8)
		binary.BigEndian.PutUint64(p[i+16:], c.n)
	}
	return len(p), nil
}

// maxRounds bounds a settling; a world that needs more does not come to rest.
const maxRounds = 500

// settle runs the controllers and the kubelet in turn until nothing changes any more.
func (w *World) settle(ctx context.Context) error {
	if w.hushed {
		return nil
	}
	for range maxRounds {
		version := w.Store.Version()
		for _, kind := range []state.Kind{state.KindDeployment, state.KindReplicaSet} {
			if err := w.engine.Settle(ctx, kind); err != nil {
				return err
			}
		}
		if err := w.kubelet(); err != nil {
			return err
		}
		if w.Store.Version() == version {
			return nil
		}
	}
	return errors.New("the world does not come to rest")
}

// sleep lets time pass, settling whenever the engine asked to be woken.
func (w *World) sleep(ctx context.Context, d time.Duration) error {
	end := w.clock.Now().Add(d)
	for {
		now := w.clock.Now()
		next := end
		if at := w.engine.WakeAt(); !at.IsZero() && at.Before(end) && !w.hushed {
			next = at
		}
		if next.After(now) {
			w.clock.Sleep(next.Sub(now))
		}
		if err := w.settle(ctx); err != nil {
			return err
		}
		if !next.Before(end) {
			return nil
		}
	}
}

// kubelet assigns pods to a node, removes the ones that were deleted, unless they linger, and everything whose owner
// is gone.
func (w *World) kubelet() error {
	var writes []state.Write
	now := int64(0)
	for _, rs := range state.List[*appsv1.ReplicaSet](w.Store, "") {
		if orphaned(w, rs) {
			writes = append(writes, state.Delete(state.KeyOf(rs), state.DeleteOptions{}))
		}
	}
	for _, pod := range w.pods("") {
		switch {
		case orphaned(w, pod):
			writes = append(writes, state.Delete(state.KeyOf(pod), state.DeleteOptions{GracePeriodSeconds: &now}))
		case pod.DeletionTimestamp != nil && !w.lingers:
			writes = append(writes, state.Delete(state.KeyOf(pod), state.DeleteOptions{GracePeriodSeconds: &now}))
		case pod.Spec.NodeName == "":
			bound := pod.DeepCopy()
			bound.Spec.NodeName = "node"
			writes = append(writes, state.Update(bound))
		}
	}
	if len(writes) == 0 {
		return nil
	}
	_, err := w.Store.Commit(writes...)
	return err
}

// orphaned reports whether an object has owners and all of them are gone.
func orphaned(w *World, o state.Object) bool {
	refs := o.GetOwnerReferences()
	for _, ref := range refs {
		owner, ok := w.Store.Get(state.Key{Kind: state.Kind(ref.Kind), Namespace: o.GetNamespace(), Name: ref.Name})
		if ok && owner.GetUID() == ref.UID {
			return false
		}
	}
	return len(refs) > 0
}

// pods returns the pods of an image ("": all), those of older ReplicaSets first, then in the order of creation.
func (w *World) pods(image string) []*corev1.Pod {
	age := map[string]string{}
	for _, rs := range state.List[*appsv1.ReplicaSet](w.Store, "") {
		age[string(rs.UID)] = rs.CreationTimestamp.UTC().Format(time.RFC3339) + string(rs.UID)
	}
	pods := state.List[*corev1.Pod](w.Store, "")
	pods = slices.DeleteFunc(pods, func(p *corev1.Pod) bool { return image != "" && p.Spec.Containers[0].Image != image })
	ownerAge := func(p *corev1.Pod) string {
		if len(p.OwnerReferences) == 0 {
			return ""
		}
		return age[string(p.OwnerReferences[0].UID)]
	}
	slices.SortFunc(pods, func(a, b *corev1.Pod) int {
		return cmp.Or(strings.Compare(ownerAge(a), ownerAge(b)), cmp.Compare(a.UID, b.UID))
	})
	return pods
}

func ready(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}
