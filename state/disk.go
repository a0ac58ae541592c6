package state

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
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
	schemaVersion = 2
	lockTimeout   = 500 * time.Millisecond
)

var (
	metaBucket   = []byte("meta")
	metaSchema   = []byte("belay-schema")
	metaLease    = []byte("lease")    // versions up to this one may have been given out
	metaLast     = []byte("version")  // last version that is on disk
	metaInstance = []byte("instance") // whose file it is; a restored one gets another
)

// batch is a run of whole transactions: everything from the end of the batch before it to version.
type batch struct {
	changes []diskChange
	version int64
	lease   int64
	spare   bool // it may use the reserve
}

// disk is the bbolt file. Each batch is one bbolt transaction, so the file holds a prefix of what was committed, by the
// version of its last batch, wherever it is cut off: bbolt writes to unused pages, syncs, and only then makes them
// current with one checked page, which it syncs too.
type disk struct {
	path   string
	db     *bbolt.DB
	at     watcher
	broken bool // bbolt gave up inside: it cannot be closed any more

	reserve int64 // bytes kept for when the disk is full

	schema     int64 // the one that is written
	migrations map[int64]migration
}

// mapped is how much of the file is mapped from the beginning, whatever its size: addresses alone, no memory. A file that
// outgrows its mapping is mapped anew, and where the system refuses that, as it does for a file system that it has made
// read-only after an error, nothing that is in the file can be read any more. growth is by how much the file grows at once.
const (
	mapped = 1 << (20 + 10*(math.MaxInt>>32&1)) // 1 MiB where addresses are scarce, else 1 GiB
	growth = 1 << 20
)

func openDisk(dir string, at watcher) (*disk, error) {
	d := &disk{path: filepath.Join(dir, FileName), at: at, schema: schemaVersion, migrations: migrations}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, d.openError(err)
	}
	_, err := os.Stat(d.path)
	created := errors.Is(err, fs.ErrNotExist)
	err = d.guard(func() error {
		db, err := bbolt.Open(d.path, 0o600, &bbolt.Options{
			Timeout: lockTimeout, FreelistType: bbolt.FreelistMapType, InitialMmapSize: mapped,
		})
		if err == nil {
			db.AllocSize = growth
		}
		d.db = db
		return err
	})
	if err == nil && created {
		err = syncDirectory(dir)
	}
	if err != nil {
		return nil, errors.Join(d.openError(err), d.close())
	}
	return d, nil
}

// sweep removes what a process left that was killed while it copied the file: each may be as large as the file.
func (d *disk) sweep() error { return Files(nil).Clear("", d.path) }

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
func (d *disk) guard(do func() error) error {
	err := guard(do)
	var p *panicked
	if errors.As(err, &p) {
		d.broken = true
		if !errors.Is(err, ErrDamaged) {
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
	}
	return err
}

type panicked struct{ reason any }

func (p *panicked) Error() string { return fmt.Sprint(p.reason) }

func guard(do func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = &panicked{r}
		}
	}()
	return do()
}

// check looks whether the file is whole, ours, and of a schema that is known or can be migrated, and gives the end of
// the lease in it, and the schema. An empty file is ours: its schema is 0.
func (d *disk) check(tx *bbolt.Tx) (lease, schema int64, err error) {
	info, err := os.Stat(d.path)
	if err != nil {
		return 0, 0, err
	}
	if info.Size() < tx.Size() {
		return 0, 0, fmt.Errorf("%w: has %d of %d bytes", ErrDamaged, info.Size(), tx.Size())
	}
	meta := tx.Bucket(metaBucket)
	if meta == nil {
		if name, _ := tx.Cursor().First(); name != nil {
			return 0, 0, ErrForeign
		}
		return 0, 0, nil
	}
	if meta.Get(metaSchema) == nil {
		return 0, 0, ErrForeign
	}
	schema, err = number(meta, metaSchema)
	switch {
	case err != nil:
		return 0, 0, err
	case schema > d.schema:
		return 0, 0, fmt.Errorf("%w: schema %d, this one knows %d", ErrNewer, schema, d.schema)
	case schema < d.schema && d.migrations[schema] == nil:
		return 0, 0, fmt.Errorf("%w: schema %d never was", ErrDamaged, schema)
	}
	lease, err = number(meta, metaLease)
	return lease, schema, err
}

// claim makes the file ours, and takes the first lease. A file that has no instance gets this one; the file's own is
// returned.
func (d *disk) claim(lease int64, fresh string) (id string, err error) {
	err = d.guard(func() error {
		return d.db.Update(func(tx *bbolt.Tx) error {
			meta, err := tx.CreateBucketIfNotExists(metaBucket)
			if err != nil {
				return err
			}
			for _, b := range buckets {
				if _, err := tx.CreateBucketIfNotExists([]byte(b.name)); err != nil {
					return err
				}
			}
			if id, err = instance(meta); err != nil {
				return err
			}
			if id == "" {
				id = fresh
				err = putInstance(meta, id)
			}
			return errors.Join(err, putNumber(meta, metaSchema, d.schema), putNumber(meta, metaLease, lease))
		})
	})
	if err != nil {
		return "", d.openError(err)
	}
	d.at.pass(AfterClaim)
	return id, nil
}

func number(b *bbolt.Bucket, key []byte) (int64, error) {
	value, err := verified(key, b.Get(key))
	if err != nil || len(value) != 8 {
		return 0, fmt.Errorf("%w: %s: %w", ErrDamaged, key, errChecksum)
	}
	return int64(binary.BigEndian.Uint64(value)), nil
}

func putNumber(b *bbolt.Bucket, key []byte, n int64) error {
	value := binary.BigEndian.AppendUint64(nil, uint64(n))
	stored := binary.BigEndian.AppendUint32(nil, checksum(key, value))
	return b.Put(key, append(stored, value...))
}

// write makes a batch durable, all or nothing.
func (d *disk) write(b batch) error {
	if err := d.at.ask(BeforeWrite); err != nil {
		return d.writeError(err)
	}
	changes, err := encodeAll(latest(b.changes))
	if err != nil {
		return err
	}
	err = d.guard(func() error {
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
	d.at.pass(AfterWrite)
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

func (d *disk) close() error {
	if d.db == nil || d.broken {
		return nil
	}
	return d.db.Close()
}

func (d *disk) openError(err error) error {
	e := &Error{Op: "open", Path: d.path, Err: bare(err)}
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		e.Err = ErrLocked
		e.hint = "stop the other belay, or give this one a data directory of its own"
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrVersionMismatch):
		e.Err = fmt.Errorf("%w: %w", ErrForeign, err)
	case errors.Is(err, bolterrors.ErrChecksum), strings.HasPrefix(err.Error(), "file size too small"):
		e.Err = fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	switch {
	case errors.Is(e.Err, ErrForeign):
		e.hint = "check the data directory, or move the file away to begin with an empty state"
	case errors.Is(e.Err, ErrDamaged):
		e.hint = d.restoreHint() + ", or move the file away to begin with an empty state: " +
			"what runs is found again, the history is not"
	case full(err):
		e.hint = "free some space"
	case errors.Is(e.Err, ErrNewer):
		e.hint = "run the belay that wrote it or a later one, or restore a backup"
	}
	return e
}

func (d *disk) writeError(err error) error {
	e := &Error{Op: "write", Path: d.path, Err: fmt.Errorf("%w: %w", ErrDisk, bare(err))}
	switch {
	case full(err):
		e.hint = "free some space: it goes on by itself"
	case errors.Is(err, ErrDamaged):
		e.hint = "stop, and restore a backup"
	case errors.Is(err, bolterrors.ErrInvalidMapping):
		e.hint = "the system did not map the file anew: repair the disk, and start again"
	}
	return e
}

func full(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

// restoreHint says how to get back a state that was damaged: from the copy that is made by itself, if there is one.
func (d *disk) restoreHint() string {
	dir, name := filepath.Split(d.path)
	kept := filepath.Join(dir, CopyName)
	info, err := os.Stat(kept)
	if err != nil || name != FileName {
		return "restore a backup"
	}
	return fmt.Sprintf("`belay restore --force %s` goes back to the copy of %s", kept, info.ModTime().UTC().Format(time.RFC3339))
}

// bare takes the path out of an error that will be said with a path.
func bare(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
