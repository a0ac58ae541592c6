package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/belay-dev/belay/state"
)

// copyInterval is how often the state is copied beside itself, for the day on which its file is damaged.
const copyInterval = time.Hour

// Backup makes a file of the state of a data directory: stream writes it where a service runs, and is nil where none
// does. The file is complete and verified, or not there. One that is there already is replaced only when forced.
func Backup(dir, file string, force bool, stream func(io.Writer) error) error {
	if _, err := os.Lstat(file); err == nil && !force {
		return &hinted{fmt.Errorf("%s is there already", file), "name another file, or replace it with --force"}
	}
	if stream == nil {
		if _, err := os.Stat(filepath.Join(dir, state.FileName)); errors.Is(err, fs.ErrNotExist) {
			return &hinted{fmt.Errorf("no state in data directory %s", dir), "name the directory with --data-dir or " + dataDirVariable}
		}
		lock, err := LockDataDir(dir)
		if err != nil {
			return err
		}
		defer func() { _ = lock.Release() }() // the process ends soon, and the lock with it
		stream = func(w io.Writer) error { return state.BackupFile(dir, w) }
	}
	return state.WriteFile(file, stream)
}

// Restore makes a backup the state of a data directory that no service uses. What was there before is kept under the
// name that is returned, empty when nothing was; it takes force to go over it.
func Restore(dir, file string, force bool) (kept string, err error) {
	lock, err := LockDataDir(dir)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, lock.Release()) }()
	if _, err := os.Lstat(filepath.Join(dir, state.FileName)); err == nil && !force {
		return "", &hinted{fmt.Errorf("data directory %s has a state already", dir),
			"restore into another --data-dir, or over this one with --force: it is kept under another name"}
	}
	return state.Restore(file, dir)
}

// keepCopy copies the state beside itself, at the start and every hour in which it changed, until ctx ends. That it
// cannot is told, and no reason to stop.
func (a *App) keepCopy(ctx context.Context, store *state.Store) error {
	tick := time.NewTicker(copyInterval)
	defer tick.Stop()
	copied := int64(-1)
	for {
		version := store.Version()
		if version != copied {
			if err := store.Copy(); err != nil {
				a.log.Warn().Err(err).Msg("state not copied")
			} else {
				copied = version
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}
