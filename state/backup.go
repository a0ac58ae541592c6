package state

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/uuid"
	"go.etcd.io/bbolt"
)

// FileName is the file of the state in its directory, CopyName the copy of it that Copy leaves there.
const (
	FileName = "state.db"
	CopyName = "state.db.copy"
)

// restoredGap is how far versions jump when a file is restored: further than those that were given out since it was
// copied, which nobody knows any more.
const restoredGap = 1 << 32

// ErrInMemory says that a store without a disk has nothing to copy.
var ErrInMemory = errors.New("state is in memory alone")

// Backup writes the file as it is on disk at one moment, with everything that was durable when it was called, while
// the store goes on. A writer that is slow can keep the file from growing, and with it all writes from ending: bound
// the time that each Write takes.
func (s *Store) Backup(w io.Writer) error {
	if s.file == nil {
		return ErrInMemory
	}
	if err := copyTo(s.file.db, w); err != nil {
		return &Error{Op: "copy", Path: s.file.path, Err: bare(err)}
	}
	return nil
}

func copyTo(db *bbolt.DB, w io.Writer) error {
	return guard(func() error {
		return db.View(func(tx *bbolt.Tx) error {
			_, err := tx.WriteTo(w)
			return err
		})
	})
}

// Copy replaces the copy beside the file by one of now, whole and verified; a crash leaves the old one or the new one.
func (s *Store) Copy() error {
	if s.file == nil {
		return ErrInMemory
	}
	return writeFile(filepath.Join(filepath.Dir(s.file.path), CopyName), s.Backup, s.file.at)
}

// WriteFile makes a file that holds a state out of what fill writes: complete, verified, durable and under its name,
// or not at all. A file of that name is replaced.
func WriteFile(path string, fill func(io.Writer) error) error { return writeFile(path, fill, nil) }

func writeFile(path string, fill func(io.Writer) error, at watcher) error {
	return writeAs(path, fill, func(fresh string) error {
		if err := Check(fresh); err != nil {
			return err
		}
		at.pass(BeforeCopy)
		if err := replaceFile(fresh, path); err != nil {
			return err
		}
		at.pass(AfterCopy)
		return nil
	})
}

func replaceFile(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return syncDirectory(filepath.Dir(to))
}

// openRead opens a file to read it. Several may, and nobody else may write meanwhile.
func openRead(path string) (*disk, error) {
	d := &disk{path: path, schema: schemaVersion, migrations: migrations}
	if _, err := os.Stat(path); err != nil {
		return nil, d.openError(err)
	}
	err := d.guard(func() error {
		db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockTimeout, ReadOnly: true})
		d.db = db
		return err
	})
	if err != nil {
		return nil, errors.Join(d.openError(err), d.close())
	}
	return d, nil
}

// Check reads a whole file and says what is wrong with it: an *Error, as Open's.
func Check(path string) error {
	d, err := openRead(path)
	if err != nil {
		return err
	}
	err = d.guard(func() error { return d.db.View(d.checkAll) })
	if err != nil {
		err = d.openError(err)
	}
	return errors.Join(err, d.close())
}

func (d *disk) checkAll(tx *bbolt.Tx) error {
	if _, _, err := d.check(tx); err != nil {
		return err
	}
	if tx.Bucket(metaBucket) == nil {
		return fmt.Errorf("%w: empty", ErrForeign)
	}
	for _, b := range buckets {
		bucket := tx.Bucket([]byte(b.name))
		if bucket == nil {
			continue
		}
		err := bucket.ForEach(func(key, stored []byte) error {
			_, err := verified(key, stored)
			return err
		})
		if err != nil {
			return fmt.Errorf("%w: %s: %w", ErrDamaged, b.name, err)
		}
	}
	return nil
}

// BackupFile writes the file of a directory that no store has open.
func BackupFile(dir string, w io.Writer) error {
	d, err := openRead(filepath.Join(dir, FileName))
	if err != nil {
		return err
	}
	if err = d.guard(func() error { return d.db.View(d.checkAll) }); err != nil {
		err = d.openError(err)
	} else if err = copyTo(d.db, w); err != nil {
		err = &Error{Op: "copy", Path: d.path, Err: bare(err)}
	}
	return errors.Join(err, d.close())
}

// Restore makes a copy of a file the state of a directory that no store has open, with an instance of its own, and
// versions above all that were ever given out there. A file that is there already is kept under another name, which
// is returned.
func Restore(file, dir string) (kept string, err error) { return restore(file, dir, nil) }

func restore(file, dir string, at watcher) (kept string, err error) {
	if err := Check(file); err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	path := filepath.Join(dir, FileName)
	fresh := path + ".restored.tmp"
	if err := copyFile(file, fresh); err != nil {
		return "", err
	}
	if err := rebirth(fresh); err != nil {
		return "", errors.Join(err, os.Remove(fresh))
	}
	kept, err = keep(path)
	if err != nil {
		return "", errors.Join(err, os.Remove(fresh))
	}
	at.pass(BeforeRestore)
	if err := replaceFile(fresh, path); err != nil {
		return kept, err
	}
	at.pass(AfterRestore)
	return kept, nil
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err == nil {
		err = out.Sync()
	}
	return errors.Join(err, out.Close())
}

// rebirth gives a file a lease beyond all others, and has the next Open give it an instance.
func rebirth(path string) error {
	d := &disk{path: path}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockTimeout})
	if err != nil {
		return d.openError(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		meta := tx.Bucket(metaBucket)
		lease, err := number(meta, metaLease)
		if err != nil {
			return err
		}
		return errors.Join(putNumber(meta, metaLease, lease+restoredGap), meta.Delete(metaInstance))
	})
	return errors.Join(err, db.Close())
}

// keep gives a file a second name, a free one, so that there is a state whenever the process ends; nothing is there to be
// kept when it gives none.
func keep(path string) (string, error) {
	for n := 1; ; n++ {
		kept := fmt.Sprintf("%s.replaced-%d", path, n)
		if _, err := os.Lstat(kept); err == nil {
			continue
		}
		err := os.Link(path, kept)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return "", nil
		case err != nil: // a file system that gives a file one name alone
			return kept, copyFile(path, kept)
		}
		return kept, syncDirectory(filepath.Dir(path))
	}
}

// instance reads who the file belongs to; empty: nobody yet.
func instance(meta *bbolt.Bucket) (string, error) {
	if meta.Get(metaInstance) == nil {
		return "", nil
	}
	value, err := verified(metaInstance, meta.Get(metaInstance))
	if err != nil {
		return "", fmt.Errorf("%w: %s: %w", ErrDamaged, metaInstance, err)
	}
	return string(value), nil
}

func putInstance(meta *bbolt.Bucket, id string) error {
	value := []byte(id)
	stored := binary.BigEndian.AppendUint32(nil, checksum(metaInstance, value))
	return meta.Put(metaInstance, append(stored, value...))
}

// newInstance draws the name of an instance.
func newInstance(random io.Reader) (string, error) {
	id, err := uuid.NewRandomFromReader(random)
	if err != nil {
		return "", fmt.Errorf("draw an instance: %w", err)
	}
	return id.String(), nil
}
