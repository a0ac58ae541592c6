package app

import (
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/belay-dev/belay/reconciler/ledger"
	"github.com/belay-dev/belay/state"
)

// images are those that stay on the machine: of what runs or may be scaled up, of the revisions that completed and are not
// bad, of what waits to run, and of what is held. A rollback must not depend on a registry. Of a Deployment as many revisions
// count as its history keeps ReplicaSets; of one that is gone the last, which brings it back.
func (o *origins) images() []string {
	newest := map[types.NamespacedName]int{}
	for _, d := range state.List[*appsv1.Deployment](o.store, "") {
		const unset = 10 // as Kubernetes defaults it
		old := unset
		if d.Spec.RevisionHistoryLimit != nil {
			old = int(*d.Spec.RevisionHistoryLimit)
		}
		newest[types.NamespacedName{Namespace: d.Namespace, Name: d.Name}] = old + 1
	}
	out := o.store.ImagesOf(ledger.Complete, newest)
	add := func(spec *corev1.PodSpec) {
		for _, list := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
			for _, c := range list {
				out = append(out, c.Image)
			}
		}
	}
	for _, pod := range state.List[*corev1.Pod](o.store, "") {
		add(&pod.Spec)
	}
	for _, rs := range state.List[*appsv1.ReplicaSet](o.store, "") {
		add(&rs.Spec.Template.Spec)
	}
	for _, h := range o.store.Holds() {
		if t, ok := o.store.Template(h.Template); ok {
			add(&t.Template.Spec)
		}
		if row, ok := o.store.Row(h.Row); ok {
			out = append(out, row.Digests...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// ran is what the images of a pod's revision were when it completed, if that was under another row than the one that was
// handed over last: what is gone back to runs as it ran. While a revision runs for the first time its pull policy counts.
func (o *origins) ran(pod *corev1.Pod) map[string]string {
	m, ok := o.made(pod)
	if !ok {
		return nil
	}
	set := owner(pod, state.KindReplicaSet)
	rows := o.store.Rows(m.Key.Namespace, m.Key.Name)
	last, ok := lastStarted(rows, func(state.Row) bool { return true })
	if !ok {
		return nil
	}
	before, ok := lastStarted(rows, func(r state.Row) bool {
		return r.ID != last.ID && r.ReplicaSet == set && len(r.Digests) > 0
	})
	if !ok {
		return nil
	}
	out := map[string]string{}
	for i, name := range before.Images {
		if i < len(before.Digests) && before.Digests[i] != "" {
			out[name] = before.Digests[i]
		}
	}
	return out
}

// lastStarted is the row that began last of those to keep, the later one of two that began together.
func lastStarted(rows []state.Row, keep func(state.Row) bool) (state.Row, bool) {
	var last state.Row
	found := false
	for _, r := range rows {
		if !r.StartedAt.IsZero() && keep(r) && (!found || !r.StartedAt.Before(last.StartedAt)) {
			last, found = r, true
		}
	}
	return last, found
}
