package state

import (
	"slices"
	"sort"

	"k8s.io/apimachinery/pkg/types"
)

// Changes is what was written between two moments.
type Changes struct {
	Events []Event                // in their order
	Rows   []types.NamespacedName // Deployments whose rows changed, some of them often
}

// SnapshotAfter is the store now, and what was written of some kinds and of rows since it was at an earlier version. It is not
// known when too much was written since: then anything may have changed.
func (s *Store) SnapshotAfter(version int64, kinds ...Kind) (now *Snapshot, since Changes, known bool) {
	s.mu.Lock() // the trees take note that their nodes are shared
	defer s.mu.Unlock()
	now = s.snapshot()
	h := &s.history
	if version < h.start || s.touched.lost > version {
		return now, Changes{}, false
	}
	for _, k := range kinds {
		if h.lost[k].version > version {
			return now, Changes{}, false
		}
	}
	for n := h.after(version); n < h.next; n++ {
		if e := h.at(n); slices.Contains(kinds, e.key.Kind) {
			since.Events = append(since.Events, *e)
		}
	}
	since.Rows = s.touched.after(version)
	return now, since, true
}

// touched is a ring of the Deployments whose rows changed last.
type touched struct {
	ring []touch
	size int
	next int   // place of the next one, once the ring is full
	lost int64 // version of the last one that is no longer in the ring
}

type touch struct {
	version int64
	name    types.NamespacedName
}

func (t *touched) add(version int64, r *Row) {
	one := touch{version, types.NamespacedName{Namespace: r.Namespace, Name: r.Name}}
	if len(t.ring) < t.size {
		t.ring = append(t.ring, one)
		return
	}
	t.lost = t.ring[t.next].version
	t.ring[t.next] = one
	t.next = (t.next + 1) % t.size
}

// after are those with a greater version.
func (t *touched) after(version int64) []types.NamespacedName {
	at := func(i int) touch { return t.ring[(t.next+i)%len(t.ring)] }
	first := sort.Search(len(t.ring), func(i int) bool { return at(i).version > version })
	var names []types.NamespacedName
	for i := first; i < len(t.ring); i++ {
		names = append(names, at(i).name)
	}
	return names
}
