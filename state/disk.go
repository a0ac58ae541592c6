package state

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

const (
	fileName      = "state.db"
	schemaVersion = 1
	lockTimeout   = 500 * time.Millisecond
)

var (
	metaBucket = []byte("meta")
	metaSchema = []byte("belay-schema")
	metaLease  = []byte("lease")   // versions up to this one may have been given out
	metaLast   = []byte("version") // last version that is on disk
)

// batch is a run of whole transactions: everything from the end of the batch before it to version.
type batch struct {
	changes []diskChange
	version int64
	lease   int64
}

// disk is the bbolt file. Each batch is one bbolt transaction, so the file holds a prefix of what was committed, by the
// version of its last batch, wherever it is cut off: bbolt writes to unused pages, syncs, and only then makes them
// current with one checked page, which it syncs too.
type disk struct {
	path string
	db   *bbolt.DB
	// start is the version to begin with: the end of the lease of the process before. The lease of this one is
	// on disk already.
	start int64
}

func openDisk(dir string) (*disk, error) {
	d := &disk{path: filepath.Join(dir, fileName)}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, d.openError(err)
	}
	_, statErr := os.Stat(d.path)
	created := errors.Is(statErr, fs.ErrNotExist)
	err := guard(func() error {
		db, err := bbolt.Open(d.path, 0o600, &bbolt.Options{Timeout: lockTimeout, FreelistType: bbolt.FreelistMapType})
		d.db = db
		return err
	})
	if err != nil {
		return nil, d.openError(err)
	}
	if created {
		err = syncDirectory(dir)
	}
	if err == nil {
		err = guard(d.check)
	}
	if err != nil {
		return nil, errors.Join(d.openError(err), d.db.Close())
	}
	return d, nil
}

// syncDirectory makes the entry of a new file durable.
func syncDirectory(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// guard turns a panic into an error. A damaged file shows itself as one: bbolt trusts its pages, and a page beyond the
// end of the file is a memory fault.
func guard(do func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", ErrDamaged, r)
		}
	}()
	return do()
}

// check looks whether the file is ours, whole, and of a schema that is known, and takes the first lease; an empty file
// becomes ours.
func (d *disk) check() error {
	return d.db.Update(func(tx *bbolt.Tx) error {
		info, err := os.Stat(d.path)
		if err != nil {
			return err
		}
		if info.Size() < tx.Size() {
			return fmt.Errorf("%w: has %d of %d bytes", ErrDamaged, info.Size(), tx.Size())
		}
		meta := tx.Bucket(metaBucket)
		if meta == nil {
			if name, _ := tx.Cursor().First(); name != nil {
				return ErrForeign
			}
			if meta, err = tx.CreateBucket(metaBucket); err != nil {
				return err
			}
			if err := putNumber(meta, metaSchema, schemaVersion); err != nil {
				return err
			}
		}
		switch schema, ok := number(meta, metaSchema); {
		case !ok:
			return ErrForeign
		case schema > schemaVersion:
			return fmt.Errorf("%w: schema %d, this one knows %d", ErrNewer, schema, schemaVersion)
		case schema < schemaVersion:
			return fmt.Errorf("%w: schema %d is unknown", ErrDamaged, schema)
		}
		d.start, _ = number(meta, metaLease)
		return errors.Join(putNumber(meta, metaLease, d.start+leaseBlock), createBuckets(tx))
	})
}

func createBuckets(tx *bbolt.Tx) error {
	for _, b := range buckets {
		if _, err := tx.CreateBucketIfNotExists([]byte(b.name)); err != nil {
			return err
		}
	}
	return nil
}

func number(b *bbolt.Bucket, key []byte) (int64, bool) {
	stored := b.Get(key)
	value, err := content(key, stored)
	if err != nil || len(value) != 8 {
		return 0, false
	}
	return int64(binary.BigEndian.Uint64(value)), true
}

func putNumber(b *bbolt.Bucket, key []byte, n int64) error {
	value := binary.BigEndian.AppendUint64(nil, uint64(n))
	stored := binary.BigEndian.AppendUint32(nil, checksum(key, value))
	return b.Put(key, append(stored, value...))
}

// write makes a batch durable, all or nothing.
func (d *disk) write(b batch) error {
	changes, err := encodeAll(latest(b.changes))
	if err != nil {
		return err
	}
	err = guard(func() error {
		return d.db.Update(func(tx *bbolt.Tx) error {
			for _, c := range changes {
				target := tx.Bucket([]byte(c.bucket))
				var err error
				if c.stored == nil {
					err = target.Delete([]byte(c.key))
				} else {
					err = target.Put([]byte(c.key), c.stored)
				}
				if err != nil {
					return fmt.Errorf("%s %q: %w", c.bucket, c.key, err)
				}
			}
			meta := tx.Bucket(metaBucket)
			return errors.Join(putNumber(meta, metaLease, b.lease), putNumber(meta, metaLast, b.version))
		})
	})
	if err != nil {
		return d.writeError(err)
	}
	return nil
}

// latest leaves the last change of each key, sorted.
func latest(changes []diskChange) []diskChange {
	slices.SortStableFunc(changes, func(a, b diskChange) int {
		if a.bucket != b.bucket {
			return strings.Compare(string(a.bucket), string(b.bucket))
		}
		return strings.Compare(a.key, b.key)
	})
	kept := changes[:0:0]
	for i, c := range changes {
		if i+1 == len(changes) || changes[i+1].bucket != c.bucket || changes[i+1].key != c.key {
			kept = append(kept, c)
		}
	}
	return kept
}

type encoded struct {
	bucket bucket
	key    string
	stored []byte // nil: taken away
}

func encodeAll(changes []diskChange) ([]encoded, error) {
	all := make([]encoded, len(changes))
	for i, c := range changes {
		all[i] = encoded{bucket: c.bucket, key: c.key}
		if c.value == nil {
			continue
		}
		var err error
		if all[i].stored, err = encode(c); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func (d *disk) close() error { return d.db.Close() }

func (d *disk) openError(err error) error {
	e := &Error{Op: "open", Path: d.path, Err: bare(err)}
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		e.Err = ErrLocked
		e.Hint = "stop the other belay, or give this one a data directory of its own"
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrVersionMismatch):
		e.Err = fmt.Errorf("%w: %w", ErrForeign, err)
	case errors.Is(err, bolterrors.ErrChecksum):
		e.Err = fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	switch {
	case errors.Is(e.Err, ErrForeign):
		e.Hint = "check the data directory, or move the file away to begin with an empty state"
	case errors.Is(e.Err, ErrDamaged):
		e.Hint = "restore a backup, or move the file away to begin with an empty state: " +
			"what runs is found again, the history is not"
	case full(err):
		e.Hint = "free some space"
	case errors.Is(e.Err, ErrNewer):
		e.Hint = "run the belay that wrote it or a later one, or restore a backup"
	}
	return e
}

func (d *disk) writeError(err error) error {
	e := &Error{Op: "write", Path: d.path, Err: fmt.Errorf("%w: %w", ErrDisk, bare(err))}
	switch {
	case full(err):
		e.Hint = "free some space: it goes on by itself"
	case errors.Is(err, ErrDamaged):
		e.Hint = "stop, and restore a backup"
	}
	return e
}

func full(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

// bare takes the path out of an error that will be said with a path.
func bare(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
