package state

import (
	"fmt"
	"io"
	"maps"
	"slices"

	"go.etcd.io/bbolt"
)

// migration turns a file of one schema into one of the next, in one transaction with all that follow.
type migration func(*bbolt.Tx) error

// migrations are by the schema that they begin with.
var migrations = map[int64]migration{1: recodeValues}

// recodeValues writes the ledger's values, JSON in the first schema, as they are written since the second.
func recodeValues(tx *bbolt.Tx) error {
	for _, b := range buckets {
		from := tx.Bucket([]byte(b.name))
		if b.recode == nil || from == nil {
			continue
		}
		recoded := map[string][]byte{} // a bucket is not to be changed while it is walked
		err := from.ForEach(func(key, stored []byte) error {
			content, err := verified(key, stored)
			if err == nil {
				content, err = b.recode(content)
			}
			recoded[string(key)] = seal(key, content)
			return err
		})
		if err != nil {
			return fmt.Errorf("%w: %s: %w", ErrDamaged, b.name, err)
		}
		for _, key := range slices.Sorted(maps.Keys(recoded)) {
			if err := from.Put([]byte(key), recoded[key]); err != nil {
				return err
			}
		}
	}
	return nil
}

// migrate brings a file of an older schema up to date, after copying it to a file named after that schema.
func (d *disk) migrate() error {
	var schema int64
	err := d.guard(func() error {
		return d.db.View(func(tx *bbolt.Tx) (err error) {
			_, schema, err = d.check(tx)
			return err
		})
	})
	if err != nil || schema == 0 || schema == d.schema {
		return err
	}
	copied := fmt.Sprintf("%s.schema-%d", d.path, schema)
	if err := WriteFile(copied, func(w io.Writer) error { return copyTo(d.db, w) }); err != nil {
		return fmt.Errorf("copy it to %s before the migration: %w", copied, err)
	}
	d.at.pass(BeforeMigration)
	err = d.guard(func() error {
		return d.db.Update(func(tx *bbolt.Tx) error {
			for n := schema; n < d.schema; n++ {
				if err := d.migrations[n](tx); err != nil {
					return fmt.Errorf("from schema %d: %w", n, err)
				}
			}
			return putNumber(tx.Bucket(metaBucket), metaSchema, d.schema)
		})
	})
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	d.at.pass(AfterMigration)
	return nil
}
