package reconciler

import (
	"cmp"
	"slices"
	"time"

	"github.com/belay-dev/belay/reconciler/engine"
	"github.com/belay-dev/belay/reconciler/ledger"
	"github.com/belay-dev/belay/state"
)

// workset is what the loop remembers of rows between passes, so that a pass costs what changed: the rollouts that
// take a slot, the Deployments that wait for one, the failures of each commit, and the prunes that wait. It follows
// from the ledger and is loaded from there at the start.
type workset struct {
	rolling map[engine.Key]string          // key → row that replaces running pods
	waiting map[engine.Key]int64           // key → number of the row that waits for a slot
	failed  map[string]map[string]struct{} // commit → rows that failed
	prune   map[engine.Key]struct{}        // objects that wait to be pruned
	opens   map[engine.Key]time.Time       // objects that wait for a window, and when it opens
	wakes   map[engine.Key]time.Time       // Deployments whose failure is decided on, and when
	missed  map[engine.Key]missed          // when Deployments passed their deadline last
}

func newWorkset() workset {
	return workset{
		rolling: map[engine.Key]string{}, waiting: map[engine.Key]int64{},
		failed: map[string]map[string]struct{}{}, prune: map[engine.Key]struct{}{},
		opens: map[engine.Key]time.Time{}, wakes: map[engine.Key]time.Time{}, missed: map[engine.Key]missed{},
	}
}

// load fills the set from the ledger with what is configured: nothing else moves, and must not keep others waiting.
func (w *workset) load(s *state.Store, configured func(engine.Key, string) bool) {
	commits := map[[2]string]bool{}
	for _, r := range s.OpenRows() {
		if !configured(rowKey(r), r.Source) {
			continue
		}
		if r.Outcome == ledger.Progressing && !r.StartedAt.IsZero() && r.Revision != 1 && r.Operation == "" {
			w.rolling[rowKey(r)] = r.ID
		}
		commits[[2]string{r.Source, r.Commit}] = true
		w.note(r)
	}
	for c := range commits {
		for _, commit := range s.FindCommits(c[0], c[1]) {
			for _, r := range s.RowsOf(c[0], commit.Step) {
				w.note(r)
			}
		}
	}
}

func rowKey(r state.Row) engine.Key {
	return engine.Key{Kind: state.KindDeployment, Namespace: r.Namespace, Name: r.Name}
}

// note takes in a row as it now stands.
func (w *workset) note(r state.Row) {
	key := rowKey(r)
	w.missedBy(r)
	if w.rolling[key] == r.ID && r.Outcome != ledger.Progressing {
		delete(w.rolling, key)
	}
	if r.Outcome == ledger.Waiting && r.Reason == string(ReasonSlot) {
		w.waiting[key] = r.Number
	} else if n, ok := w.waiting[key]; ok && n == r.Number {
		delete(w.waiting, key)
	}
	// A failure that somebody took back is still one of its commit: the rest of that commit does not begin for it.
	if r.Outcome == ledger.Failed || r.Outcome == ledger.RolledBack && !r.MissedAt.IsZero() {
		if w.failed[r.Commit] == nil {
			w.failed[r.Commit] = map[string]struct{}{}
		}
		w.failed[r.Commit][r.ID] = struct{}{}
	} else if f := w.failed[r.Commit]; f != nil {
		delete(f, r.ID)
		if len(f) == 0 {
			delete(w.failed, r.Commit)
		}
	}
}

// hold remembers that an object waits for its prune, or for a window; nothing is held: it does not.
func (w *workset) hold(k engine.Key, held Withheld) {
	delete(w.prune, k)
	delete(w.opens, k)
	if !held.Until.IsZero() {
		w.opens[k] = held.Until
	}
	if held.Reason == ReasonPruneWaits && !pruneForever[held.Detail] {
		w.prune[k] = struct{}{}
	}
}

// next lists the Deployments that have waited longest for a slot, as many as there are free slots.
func (w *workset) next(maxRollouts int) []engine.Key {
	free := maxRollouts - len(w.rolling)
	if free <= 0 || len(w.waiting) == 0 {
		return nil
	}
	older := func(a, b engine.Key) int { return cmp.Compare(w.waiting[a], w.waiting[b]) }
	keys := make([]engine.Key, 0, free+1) // sorted; thousands may wait, and few have their turn
	for k := range w.waiting {
		if len(keys) == free && older(k, keys[free-1]) > 0 {
			continue
		}
		at, _ := slices.BinarySearchFunc(keys, k, older)
		keys = slices.Insert(keys, at, k)
		keys = keys[:min(free, len(keys))]
	}
	return keys
}

// failures counts the failed Deployments of each commit.
func (w *workset) failures() map[string]int {
	out := make(map[string]int, len(w.failed))
	for c, rows := range w.failed {
		out[c] = len(rows)
	}
	return out
}
