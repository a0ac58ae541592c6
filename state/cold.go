package state

import (
	"go.etcd.io/bbolt"
)

// cold holds values that never change and are seldom read: those on disk stay there, and only their keys are in
// memory. It has no lock of its own.
type cold[T any] struct {
	bucket bucket
	keys   map[string]struct{}
	fresh  map[string]*T // not known to be on disk; all, where there is none
}

func newCold[T any](b bucket) cold[T] {
	return cold[T]{bucket: b, keys: map[string]struct{}{}, fresh: map[string]*T{}}
}

// put keeps a value under its key, unless one is there.
func (c *cold[T]) put(key string, value *T) (func(), diskChange, error) {
	if _, ok := c.keys[key]; ok {
		return nil, diskChange{}, nil
	}
	return put(func(_, after *T) { c.set(key, after) }, nil, value, c.bucket, key)
}

func (c *cold[T]) set(key string, value *T) {
	setOrDelete(c.fresh, key, value)
	if value == nil {
		delete(c.keys, key)
	} else {
		c.keys[key] = struct{}{}
	}
}

// readCold finds a value by its key, on disk where it is not in memory. A value that the disk does not give is not
// found.
func readCold[T any](s *Store, c *cold[T], key string) *T {
	s.mu.RLock()
	value := c.fresh[key]
	_, known := c.keys[key]
	s.mu.RUnlock()
	if value != nil || !known || s.file == nil {
		return value
	}
	var found *T
	err := guard(func() error { // damage shows itself as a panic
		return s.file.db.View(func(tx *bbolt.Tx) error {
			content, err := verified([]byte(key), tx.Bucket([]byte(c.bucket)).Get([]byte(key)))
			if err != nil {
				return err
			}
			found, err = decodeText[T](content)
			return err
		})
	})
	if err != nil {
		return nil
	}
	return found
}

// chilling is a cold value on its way to the disk.
type chilling struct {
	version int64
	forget  func(*ledger)
}

// chill notes which values of a transaction need not be in memory once its version is durable, and drops those whose
// version is.
func (l *ledger) chill(changes []diskChange, version, durable int64) {
	for _, c := range changes {
		if c.bucket == bucketTemplates {
			l.chilling = append(l.chilling, chilling{version, func(l *ledger) { delete(l.templates.fresh, c.key) }})
		}
		if c.bucket == bucketConfigs {
			l.chilling = append(l.chilling, chilling{version, func(l *ledger) { delete(l.configs.fresh, c.key) }})
		}
	}
	n := 0
	for n < len(l.chilling) && l.chilling[n].version <= durable {
		l.chilling[n].forget(l)
		l.chilling[n] = chilling{}
		n++
	}
	l.chilling = l.chilling[n:]
}
