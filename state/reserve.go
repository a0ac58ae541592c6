package state

import (
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// ReserveName is the name of the file, beside that of the state, that keeps space on the disk for what must be written
// when it is full.
const ReserveName = "state.db.reserve"

// UseReserve writes nothing: the transaction that has it is taken although the disk refuses writes. When the disk is
// full, the space that was kept for this is freed for it; until that space is back, ordinary transactions are refused,
// so that none but others of this kind use it. WaitDurable says whether even that was not enough: the transaction is
// then in force, and not durable. Once the lease of versions is used up, it is refused like any other.
func UseReserve() Write { return Write{op: opReserve} }

// reserver keeps space on a disk.
type reserver interface {
	// release frees the space, and says whether there was any.
	release() bool
	// refill keeps the space again, if it does not.
	refill() error
}

func (d *disk) reservePath() string { return filepath.Join(filepath.Dir(d.path), ReserveName) }

func (d *disk) release() bool {
	if os.Remove(d.reservePath()) != nil {
		return false
	}
	d.at.pass(ReserveFreed)
	return true
}

func (d *disk) refill() error {
	path := d.reservePath()
	if info, err := os.Stat(path); d.reserve == 0 || err == nil && info.Size() == d.reserve {
		return nil
	}
	err := fillFile(path, d.reserve)
	if err != nil {
		_ = os.Remove(path) // half of it is of no use, and in the way
		return d.writeError(err)
	}
	d.at.pass(ReserveKept)
	return nil
}

// fillFile makes the file with content that no file system makes smaller.
func fillFile(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.CopyN(f, rand.NewChaCha8([32]byte{}), size)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// prepareReserve keeps the space at the start. A disk that has not as much is no reason not to start.
func (d *disk) prepareReserve(size int64) error {
	d.reserve = size
	err := d.refill()
	if errors.Is(err, fs.ErrPermission) || full(err) {
		return nil
	}
	return err
}

// refillReserve keeps space again where it was freed; an error keeps ordinary writes out until it could.
func (c *committer) refillReserve() error {
	r, ok := c.disk.(reserver)
	if !ok || !c.owed {
		return nil
	}
	err := r.refill()
	c.owed = err != nil
	return err
}

// writeReserved writes a batch, with the space that is kept where the disk is full and the batch may use it.
func (c *committer) writeReserved(b batch) error {
	err := c.disk.write(b)
	r, ok := c.disk.(reserver)
	if err == nil || !b.spare || !full(err) || !ok || !r.release() {
		return err
	}
	c.owed = true
	return c.disk.write(b)
}
