package state

import (
	"fmt"
	"io"

	"go.etcd.io/bbolt"
)

// migration turns a file of one schema into one of the next, in one transaction with all that follow.
type migration func(*bbolt.Tx) error

// migrations are by the schema that they begin with. There is none yet: the first schema is the only one.
var migrations = map[int64]migration{}

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
	return nil
}
