package state

import (
	"iter"
	"maps"
)

// Reading is what can be read: a Store, which says what is now, or a Snapshot of one.
type Reading interface {
	reading() (x *index, l *ledger, done func())
}

func (s *Store) reading() (*index, *ledger, func()) {
	s.mu.RLock()
	return &s.index, &s.ledger, s.mu.RUnlock
}

// Snapshot is a store as it was at one moment. Making one costs next to nothing, whatever the store holds, and reading
// it waits for no writer and keeps none waiting: it is for answers made of many reads. As long as it is in use, what
// was replaced since cannot be freed. Its methods may be called from any goroutine.
type Snapshot struct {
	version int64
	index   index
	ledger  ledger
}

// Snapshot is the store now.
func (s *Store) Snapshot() *Snapshot {
	s.mu.Lock() // the trees take note that their nodes are shared
	defer s.mu.Unlock()
	return s.snapshot()
}

func (s *Store) snapshot() *Snapshot {
	x, l := &s.index, &s.ledger
	return &Snapshot{
		version: s.version,
		index:   index{objects: x.objects.Clone(), owned: x.owned.Clone(), moves: maps.Clone(x.moves)},
		ledger: ledger{
			byName: l.byName.Clone(), open: l.open.Clone(), commits: l.commits.Clone(), hashes: l.hashes.Clone(),
			inventory: l.inventory.Clone(), holds: l.holds.Clone(), marks: l.marks.Clone(), overrides: l.overrides.Clone(),
		},
	}
}

func (s *Snapshot) reading() (*index, *ledger, func()) { return &s.index, &s.ledger, func() {} }

// Version is the version of the last transaction that the snapshot shows.
func (s *Snapshot) Version() int64 { return s.version }

// Newest gives a function that finds the newest row of a Deployment whose outcome is not the given one, nil for none: it
// costs what it passes over. The row is as it is kept, which nobody changes, and another one when anything of it changed.
// The function is for one goroutine.
func (s *Snapshot) Newest(not Outcome) func(namespace, name string) *Row {
	at := &Row{Number: maxNumber} // one for all: rows are large
	var last *Row
	look := func(r *Row) bool {
		if r.Namespace != at.Namespace || r.Name != at.Name {
			return false
		}
		if r.Outcome == not {
			return true
		}
		last = r
		return false
	}
	return func(namespace, name string) *Row {
		at.Namespace, at.Name, last = namespace, name, nil
		s.ledger.byName.DescendLessOrEqual(at, look)
		return last
	}
}

// OpenRows yields the rows whose outcome is not final, oldest first: as they are kept, which nobody changes.
func (s *Snapshot) OpenRows() iter.Seq[*Row] {
	return func(yield func(*Row) bool) { s.ledger.open.Ascend(yield) }
}

// Aside yields the Deployments that a hold keeps or an override is set on, by namespace and name, some of them twice.
func (s *Snapshot) Aside() iter.Seq2[string, string] {
	return func(yield func(namespace, name string) bool) {
		more := true
		s.ledger.holds.Ascend(func(h *Hold) bool {
			more = yield(h.Namespace, h.Name)
			return more
		})
		if more {
			s.ledger.overrides.Ascend(func(o *Override) bool { return yield(o.Namespace, o.Name) })
		}
	}
}

// Moves counts how often an object of a kind was added or deleted since the store was opened, at least: while it stays the
// same, there are the same objects.
func (s *Snapshot) Moves(kind Kind) int64 { return s.index.moves[kind] }

// Inventory gives the objects of a kind that Git manages, sorted by source and key: as they are kept, which nobody changes,
// and another one when anything of it changed.
func (s *Snapshot) Inventory(kind Kind) []*Managed {
	list := make([]*Managed, 0, s.ledger.inventory.Len())
	s.ledger.inventory.Ascend(func(m *Managed) bool {
		if m.Key.Kind == kind {
			list = append(list, m)
		}
		return true
	})
	return list
}

// Hold is the store's Hold.
func (s *Snapshot) Hold(namespace, name string) (Hold, bool) { return s.ledger.hold(namespace, name) }

// Marks is the store's Marks.
func (s *Snapshot) Marks(namespace, name string) []Mark { return s.ledger.marksOf(namespace, name) }

// Overrides is the store's Overrides.
func (s *Snapshot) Overrides(namespace, name string) []Override {
	return s.ledger.overridesOf(namespace, name)
}

// Find finds an object.
func Find(r Reading, key Key) (Object, bool) {
	x, _, done := r.reading()
	defer done()
	o := x.get(key)
	return o, o != nil
}
