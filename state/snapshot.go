package state

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
	x, l := &s.index, &s.ledger
	return &Snapshot{
		version: s.version,
		index:   index{objects: x.objects.Clone(), owned: x.owned.Clone()},
		ledger: ledger{
			byName: l.byName.Clone(), open: l.open.Clone(), commits: l.commits.Clone(), hashes: l.hashes.Clone(),
			inventory: l.inventory.Clone(), holds: l.holds.Clone(), marks: l.marks.Clone(), overrides: l.overrides.Clone(),
		},
	}
}

func (s *Snapshot) reading() (*index, *ledger, func()) { return &s.index, &s.ledger, func() {} }

// Version is the version of the last transaction that the snapshot shows.
func (s *Snapshot) Version() int64 { return s.version }

// LastRow gives the newest row of a Deployment whose outcome is not the given one, nil for none: it costs what it passes
// over. The row is as it is kept, which nobody changes, and another one when anything of it changed.
func (s *Snapshot) LastRow(namespace, name string, not Outcome) *Row {
	var last *Row
	s.ledger.byName.DescendLessOrEqual(&Row{Namespace: namespace, Name: name, Number: maxNumber}, func(r *Row) bool {
		if r.Namespace != namespace || r.Name != name {
			return false
		}
		if r.Outcome == not {
			return true
		}
		last = r
		return false
	})
	return last
}

// Inventory gives the objects of a kind that Git manages, sorted by source and key: as they are kept, which nobody changes,
// and another one when anything of it changed.
func (s *Snapshot) Inventory(kind Kind) []*Managed {
	var list []*Managed
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
