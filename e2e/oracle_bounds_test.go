package e2e

import (
	"context"
	"fmt"
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	upstream "k8s.io/kubernetes/pkg/controller"
	"k8s.io/kubernetes/pkg/controller/deployment/util"

	"github.com/belay-dev/belay/state"
)

// guard looks at every single write of a world, also at those that the next one takes back, and holds it against the
// bounds of a rollout. All arithmetic is Kubernetes' own.
//
//   - The ceiling: no ReplicaSet grows when all of them together then have more than replicas and surge. More may be
//     left over from before, when a size or a bound was changed.
//   - The floor: no old ReplicaSet shrinks when the available pods of the new one and the size of the old ones are then
//     fewer than replicas less what may be unavailable.
//   - No ReplicaSet has more pods made than its size, those left out that are on their way out or have ended.
//
// The floor says nothing of Recreate, nor of a resizing in proportion, which takes pods because fewer are allowed in all
// and is all that a paused rollout does, nor while a ReplicaSet's status still counts more available pods than it has
// replicas: Kubernetes may go below then. And while the annotation of the old rollback subresource waits, Kubernetes makes
// the new ReplicaSet at once, also under Recreate, which else makes it when no old pod is left.
type guard struct {
	watch   *state.Watch
	version int64
	d       *appsv1.Deployment
	sets    map[types.UID]*appsv1.ReplicaSet
	pods    map[types.UID]*corev1.Pod
	broken  []string
	judged  judged
}

// judged counts the writes that had to keep each bound: a guard that looks at none proves nothing.
type judged struct{ grown, shrunk, made int }

func (j *judged) add(o judged) {
	j.grown, j.shrunk, j.made = j.grown+o.grown, j.shrunk+o.shrunk, j.made+o.made
}

func newGuard(t *testing.T, store *state.Store) *guard {
	t.Helper()
	g := &guard{version: store.Version(), sets: map[types.UID]*appsv1.ReplicaSet{}, pods: map[types.UID]*corev1.Pod{}}
	var err error
	if g.watch, err = store.Watch(g.version); err != nil {
		t.Fatal(err)
	}
	return g
}

// look takes in all writes since the last call, and gives what was wrong with them.
func (g *guard) look(ctx context.Context, store *state.Store) ([]string, error) {
	g.broken = nil
	for g.version < store.Version() {
		events, err := g.watch.Next(ctx)
		if err != nil {
			return nil, err
		}
		for _, e := range events {
			g.version = e.Version
			g.see(e)
		}
	}
	return g.broken, nil
}

func (g *guard) see(e state.Event) {
	switch o := e.Object.(type) {
	case *appsv1.Deployment:
		if g.d = o; e.Type == state.Deleted {
			g.d = nil
		}
	case *appsv1.ReplicaSet:
		g.resized(o, e.Type == state.Deleted)
	case *corev1.Pod:
		if e.Type == state.Deleted {
			delete(g.pods, o.UID)
			return
		}
		g.pods[o.UID] = o
		if e.Type == state.Added {
			g.added(o)
		}
	}
}

func (g *guard) all() []*appsv1.ReplicaSet {
	var all []*appsv1.ReplicaSet
	for _, rs := range g.sets {
		if ref := rs.OwnerReferences; g.d != nil && len(ref) == 1 && ref[0].UID == g.d.UID {
			all = append(all, rs)
		}
	}
	slices.SortFunc(all, func(a, b *appsv1.ReplicaSet) int { return compareUID(a.UID, b.UID) })
	return all
}

func compareUID(a, b types.UID) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// resized takes in a ReplicaSet as it is now, and judges the change of its size.
func (g *guard) resized(rs *appsv1.ReplicaSet, gone bool) {
	before := int32(0)
	if was := g.sets[rs.UID]; was != nil {
		before = *was.Spec.Replicas
	}
	scaling := g.scaling()
	delete(g.sets, rs.UID)
	if !gone {
		g.sets[rs.UID] = rs
	}
	if g.d == nil || gone || !slices.Contains(g.all(), rs) {
		return
	}
	current := util.FindNewReplicaSet(g.d, g.all())
	switch after := *rs.Spec.Replicas; {
	case after > before && !g.rollingBack():
		g.judged.grown++
		ceiling := *g.d.Spec.Replicas + util.MaxSurge(*g.d)
		if total := util.GetReplicaCountForReplicaSets(g.all()); total > ceiling {
			g.complain("%s grows from %d to %d: %d pods are asked for, %d are allowed", rs.Name, before, after, total, ceiling)
		}
	case after < before && util.IsRollingUpdate(g.d) && !scaling && !g.lagging() && current != nil && rs.UID != current.UID:
		g.judged.shrunk++
		serving := current.Status.AvailableReplicas
		for _, other := range g.all() {
			if other.UID != current.UID {
				serving += *other.Spec.Replicas
			}
		}
		if floor := util.MinAvailable(g.d); serving < floor {
			g.complain("%s shrinks from %d to %d: %d available or old pods are left, %d must be", rs.Name, before, after, serving, floor)
		}
	}
}

// scaling says whether Kubernetes is about to resize rather than to roll out: it does when another number of replicas is
// wanted than before, and while it is paused.
func (g *guard) scaling() bool {
	return g.d != nil && g.d.Spec.Paused || g.d != nil && slices.ContainsFunc(g.all(), func(rs *appsv1.ReplicaSet) bool {
		n, ok := util.GetDesiredReplicasAnnotation(klog.Background(), rs)
		return *rs.Spec.Replicas > 0 && ok && n != *g.d.Spec.Replicas
	})
}

func (g *guard) rollingBack() bool {
	return g.d.Annotations[appsv1.DeprecatedRollbackTo] != "" && g.d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType
}

func (g *guard) lagging() bool {
	return slices.ContainsFunc(g.all(), func(rs *appsv1.ReplicaSet) bool { return rs.Status.AvailableReplicas > *rs.Spec.Replicas })
}

// added judges a new pod.
func (g *guard) added(pod *corev1.Pod) {
	for _, rs := range g.all() {
		if len(pod.OwnerReferences) != 1 || pod.OwnerReferences[0].UID != rs.UID {
			continue
		}
		g.judged.made++
		active := int32(0)
		for _, p := range g.pods {
			if len(p.OwnerReferences) == 1 && p.OwnerReferences[0].UID == rs.UID && upstream.IsPodActive(p) {
				active++
			}
		}
		if active > *rs.Spec.Replicas {
			g.complain("%s has %d pods, and is of size %d", rs.Name, active, *rs.Spec.Replicas)
		}
	}
}

func (g *guard) complain(format string, values ...any) {
	g.broken = append(g.broken, fmt.Sprintf(format, values...))
}
