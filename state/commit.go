package state

import (
	"fmt"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Receipt is the answer to a transaction.
type Receipt struct {
	// Version is the last version of the transaction, or of the store when it changed nothing: what to hand to
	// WaitDurable.
	Version int64
	// Objects has one entry for each write of an object, in their order: the object as stored, nil when the write
	// removed it.
	Objects []Object
	// Removed has one entry for each write of an object: the last state of the object that the write removed, in
	// the version of its removal; else nil.
	Removed []Object
}

// Commit carries out the writes in their order, all or none, and makes them visible at once. Each changed object
// gets a version of its own; a write that changes nothing gets none and causes no event. It does not wait for the
// disk. Errors about an object are those of k8s.io/apimachinery/pkg/api/errors, in Kubernetes' words.
func (s *Store) Commit(writes ...Write) (Receipt, error) {
	creates, spare := 0, false
	for i := range writes {
		if writes[i].err != nil {
			return Receipt{}, writes[i].err
		}
		if writes[i].op == opCreate {
			creates++
		}
		spare = spare || writes[i].op == opReserve
	}
	chance, err := s.draw(creates)
	if err != nil {
		return Receipt{}, err
	}
	now := s.options.Now()

	if err := s.lockForWrite(int64(len(writes)), spare); err != nil {
		return Receipt{}, err
	}
	defer s.mu.Unlock()
	t := transaction{store: s, spare: spare, version: s.version, now: time.Unix(now.Unix(), 0), chance: chance}
	for i := range writes {
		if err := t.apply(&writes[i]); err != nil {
			t.rollBack()
			return Receipt{}, err
		}
	}
	s.publish(&t)
	return Receipt{Version: s.version, Objects: t.objects, Removed: t.removed}, nil
}

// transaction is a Commit at work, under the lock: it changes the store in place and knows how to undo that.
type transaction struct {
	store   *Store
	version int64
	now     time.Time // whole seconds
	chance  []chance  // one a create
	objects []Object
	removed []Object
	events  []Event
	ledger  []diskChange
	undo    []func()
	spare   bool // it may use the reserve
}

func (t *transaction) apply(w *Write) error {
	if w.op == opReserve {
		return nil
	}
	if w.op == opLedger {
		return t.applyLedger(w)
	}
	info := kindByName[w.key.Kind]
	var after, removed Object
	var err error
	switch w.op {
	case opCreate:
		after, err = t.create(info, w)
	case opUpdate, opUpdateStatus:
		after, removed, err = t.update(info, w)
	case opDelete:
		after, removed, err = t.delete(info, w)
	case opPlace:
		after, err = t.place(info, w)
	case opRemove:
		removed, err = t.removeNow(info, w)
	case opLedger, opReserve:
	}
	if err != nil {
		return err
	}
	t.objects = append(t.objects, after)
	t.removed = append(t.removed, removed)
	return nil
}

func (t *transaction) applyLedger(w *Write) error {
	undo, change, err := w.ledger(&t.store.ledger)
	if err != nil || undo == nil {
		return err
	}
	t.undo = append(t.undo, undo)
	t.ledger = append(t.ledger, change)
	return nil
}

// put stores after, which must be the transaction's own, in the next version.
func (t *transaction) put(key Key, before, after Object) {
	t.version++
	after.SetResourceVersion(strconv.FormatInt(t.version, 10))
	kind := Added
	if before != nil {
		kind = Modified
	}
	t.change(Event{Type: kind, Object: after, Old: before, Version: t.version}, key, after)
}

// remove takes the object away; last is the transaction's own copy of it, and gets the version of the removal.
func (t *transaction) remove(key Key, before, last Object) {
	t.version++
	last.SetResourceVersion(strconv.FormatInt(t.version, 10))
	t.change(Event{Type: Deleted, Object: last, Old: before, Version: t.version}, key, nil)
}

func (t *transaction) change(e Event, key Key, after Object) {
	e.key = key
	x := &t.store.index
	x.set(key, e.Old, after)
	t.events = append(t.events, e)
	t.undo = append(t.undo, func() { x.set(key, after, e.Old) })
}

// diskChanges is what the transaction leaves to be written.
func (t *transaction) diskChanges() []diskChange {
	changes := make([]diskChange, 0, len(t.events)+len(t.ledger))
	for _, e := range t.events {
		c := diskChange{bucket: bucket(e.key.Kind), key: nameKey(e.key.Namespace, e.key.Name)}
		if e.Type != Deleted {
			c.value = e.Object
		}
		changes = append(changes, c)
	}
	return append(changes, t.ledger...)
}

func (t *transaction) rollBack() {
	for i := len(t.undo) - 1; i >= 0; i-- {
		t.undo[i]()
	}
}

// get is the object to write to, once the preconditions of the write hold.
func (t *transaction) get(info *kindInfo, w *Write) (Object, error) {
	stored := t.store.index.get(w.key)
	if stored == nil {
		return nil, apierrors.NewNotFound(info.groupResource(), w.key.Name)
	}
	uid, version := w.delete.UID, w.delete.ResourceVersion
	if w.object != nil {
		uid, version = w.object.GetUID(), w.object.GetResourceVersion()
	}
	if uid != "" && uid != stored.GetUID() && w.op != opPlace {
		return nil, apierrors.NewConflict(info.groupResource(), w.key.Name, fmt.Errorf(
			"the UID in the precondition (%s) does not match the UID in record (%s). "+
				"The object might have been deleted and then recreated", uid, stored.GetUID()))
	}
	if version == "" || version == "0" || version == stored.GetResourceVersion() {
		return stored, nil
	}
	if w.object == nil {
		return nil, apierrors.NewConflict(info.groupResource(), w.key.Name, fmt.Errorf(
			"the ResourceVersion in the precondition (%s) does not match the ResourceVersion in record (%s). "+
				"The object might have been modified", version, stored.GetResourceVersion()))
	}
	return nil, apierrors.NewConflict(info.groupResource(), w.key.Name, errModified)
}
