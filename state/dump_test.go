package state

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"testing"
)

// dump is all that a store holds, in the form in which it is written to disk, one line a value.
func dump(t testing.TB, s *Store) []string {
	t.Helper()
	var lines []string
	add := func(v any) {
		if reflect.ValueOf(v).IsNil() {
			t.Error("a value that is on disk alone cannot be read")
		}
		content, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, fmt.Sprintf("%T %s", v, content))
	}
	for key := range s.ledger.templates.keys {
		add(readCold(s, &s.ledger.templates, key))
	}
	for key := range s.ledger.configs.keys {
		add(readCold(s, &s.ledger.configs, key))
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, info := range kinds {
		for o := range s.index.list(info.kind, "") {
			content, err := encodeObject(o)
			if err != nil {
				t.Fatal(err)
			}
			lines = append(lines, fmt.Sprint(KeyOf(o), " ", o.GetResourceVersion(), " ", hex.EncodeToString(content)))
		}
	}
	s.ledger.byName.Ascend(func(r *Row) bool { add(r); return true })
	s.ledger.commits.Ascend(func(c *Commit) bool { add(c); return true })
	s.ledger.inventory.Ascend(func(m *Managed) bool { add(m); return true })
	s.ledger.holds.Ascend(func(h *Hold) bool { add(h); return true })
	s.ledger.marks.Ascend(func(m *Mark) bool { add(m); return true })
	s.ledger.overrides.Ascend(func(o *Override) bool { add(o); return true })
	s.ledger.departed.Ascend(func(d *Departed) bool { add(d); return true })
	for _, c := range s.ledger.cursors {
		add(c)
	}
	slices.Sort(lines)
	return lines
}

// tester is what testing's T and rapid's T have in common.
type tester interface {
	Helper()
	Errorf(format string, args ...any)
}

// checkIndexes finds every value in each index where it belongs, and nothing else there.
func checkIndexes(t tester, s *Store) {
	t.Helper()
	s.mu.RLock()
	defer s.mu.RUnlock()
	owned, ips, ports := 0, 0, 0
	s.index.objects.Ascend(func(e entry) bool {
		if KeyOf(e.object) != e.key {
			t.Errorf("%s lies at %s", KeyOf(e.object), e.key)
		}
		seen := map[string]bool{}
		for _, ref := range e.object.GetOwnerReferences() {
			if !seen[string(ref.UID)] {
				seen[string(ref.UID)] = true
				owned++
			}
			if !s.index.owned.Has(ownedBy{ref.UID, e.key}) {
				t.Errorf("%s is not found by its owner %s", e.key, ref.UID)
			}
		}
		for _, ip := range addressesOf(e.object) {
			ips++
			if s.index.ips[ip] != e.key {
				t.Errorf("%s is not found by its address %s", e.key, ip)
			}
		}
		for _, port := range nodePortsOf(e.object) {
			ports++
			if s.index.nodePorts[port] != e.key {
				t.Errorf("%s is not found by its node port %d", e.key, port)
			}
		}
		return true
	})
	if s.index.owned.Len() != owned || len(s.index.ips) != ips || len(s.index.nodePorts) != ports {
		t.Errorf("%d owners for %d, %d addresses for %d, %d node ports for %d",
			s.index.owned.Len(), owned, len(s.index.ips), ips, len(s.index.nodePorts), ports)
	}
	l := &s.ledger
	open, hashes := 0, 0
	for id, r := range l.rows {
		if !l.byName.Has(r) || r.ID != id || l.open.Has(r) != r.Open || r.Number > l.number {
			t.Errorf("row %+v", r)
		}
		if r.Open {
			open++
		}
	}
	l.commits.Ascend(func(c *Commit) bool {
		for hash := range hashesOf(c) {
			hashes++
			if got, _ := l.hashes.Get(hashed{hash, c}); got.commit != c {
				t.Errorf("commit %+v is not found by %s", c, hash)
			}
		}
		return true
	})
	if l.byName.Len() != len(l.rows) || l.open.Len() != open || l.hashes.Len() != hashes || l.inventory.Len() != len(l.managed) {
		t.Errorf("rows %d by name %d, open %d by number %d, hashes %d of %d, managed %d of %d", len(l.rows), l.byName.Len(),
			open, l.open.Len(), hashes, l.hashes.Len(), len(l.managed), l.inventory.Len())
	}
}
