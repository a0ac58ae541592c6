package state

import (
	"fmt"
	"runtime"
	"sync"

	"go.etcd.io/bbolt"
)

// storedBucket describes a bucket: how one of its values is read, and where it belongs in the memory.
type storedBucket struct {
	name   bucket
	decode func(key, content []byte) (any, error)
	insert func(s *Store, value any)
	// recode turns a ledger value of the first schema into one of the second; nil: it is the same.
	recode func(content []byte) ([]byte, error)
}

var buckets = func() []storedBucket {
	all := []storedBucket{
		ledgerBucket(bucketRows, func(l *ledger, r *Row) { l.setRow(nil, r) }),
		ledgerBucket(bucketCommits, func(l *ledger, c *Commit) { l.setCommit(nil, c) }),
		ledgerBucket(bucketCursors, func(l *ledger, c *Cursor) { l.cursors[c.Source] = c }),
		coldBucket(bucketTemplates, func(l *ledger) map[string]struct{} { return l.templates.keys }),
		coldBucket(bucketConfigs, func(l *ledger) map[string]struct{} { return l.configs.keys }),
		ledgerBucket(bucketManaged, func(l *ledger, m *Managed) {
			l.managed[m.Key] = m
			l.inventory.ReplaceOrInsert(m)
		}),
		ledgerBucket(bucketHolds, func(l *ledger, h *Hold) { l.holds.ReplaceOrInsert(h) }),
		ledgerBucket(bucketMarks, func(l *ledger, m *Mark) { l.marks.ReplaceOrInsert(m) }),
		ledgerBucket(bucketOverrides, func(l *ledger, o *Override) { l.overrides.ReplaceOrInsert(o) }),
		ledgerBucket(bucketDeparted, func(l *ledger, d *Departed) { l.departed.ReplaceOrInsert(d) }),
		ledgerBucket(bucketGitChanges, func(l *ledger, c *GitChange) { l.gitChanges.ReplaceOrInsert(c) }),
	}
	for _, info := range kinds {
		all = append(all, storedBucket{
			name:   bucket(info.kind),
			decode: func(_, content []byte) (any, error) { return decodeObject(info, content) },
			insert: func(s *Store, value any) {
				o := value.(Object)
				s.index.set(KeyOf(o), nil, o)
			},
		})
	}
	return all
}()

func ledgerBucket[T any](name bucket, insert func(*ledger, *T)) storedBucket {
	return storedBucket{
		name:   name,
		decode: func(_, content []byte) (any, error) { return decodeValue[T](content) },
		insert: func(s *Store, value any) { insert(&s.ledger, value.(*T)) },
		recode: func(content []byte) ([]byte, error) {
			v, err := decodeText[T](content)
			if err != nil {
				return nil, err
			}
			return encodeValue(v)
		},
	}
}

// coldBucket is read for its keys alone.
func coldBucket(name bucket, keys func(*ledger) map[string]struct{}) storedBucket {
	return storedBucket{
		name:   name,
		decode: func(key, _ []byte) (any, error) { return string(key), nil },
		insert: func(s *Store, key any) { keys(&s.ledger)[key.(string)] = struct{}{} },
	}
}

// load fills an empty store with what is on disk, and gives the end of the lease.
func (d *disk) load(s *Store) (lease int64, err error) {
	err = d.guard(func() error {
		return d.db.View(func(tx *bbolt.Tx) error {
			if lease, _, err = d.check(tx); err != nil {
				return err
			}
			for _, b := range buckets {
				if err := loadBucket(tx, b, s); err != nil {
					return fmt.Errorf("%w: %s: %w", ErrDamaged, b.name, err)
				}
			}
			return nil
		})
	})
	if err != nil {
		return 0, d.openError(err)
	}
	return lease, nil
}

type pair struct{ key, stored []byte }

// loadBucket reads a bucket in its order and decodes it on all processors.
func loadBucket(tx *bbolt.Tx, b storedBucket, s *Store) error {
	var pairs []pair
	bucket := tx.Bucket([]byte(b.name))
	if bucket == nil { // of an empty file, or of a kind that came later
		return nil
	}
	err := bucket.ForEach(func(key, stored []byte) error {
		pairs = append(pairs, pair{key, stored})
		return nil
	})
	if err != nil {
		return err
	}
	values := make([]any, len(pairs))
	if err := decodePairs(b, pairs, values); err != nil {
		return err
	}
	for _, v := range values {
		b.insert(s, v)
	}
	return nil
}

func decodePairs(b storedBucket, pairs []pair, values []any) error {
	workers := min(runtime.GOMAXPROCS(0), 1+len(pairs)/256)
	errs := make([]error, workers)
	var wait sync.WaitGroup
	for w := range workers {
		wait.Go(func() {
			errs[w] = guard(func() error {
				for i := w; i < len(pairs); i += workers {
					stored, err := verified(pairs[i].key, pairs[i].stored)
					if err == nil {
						values[i], err = b.decode(pairs[i].key, stored)
					}
					if err != nil {
						return fmt.Errorf("%q: %w", pairs[i].key, err)
					}
				}
				return nil
			})
		})
	}
	wait.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
