package state

import "errors"

var (
	// ErrExpired says that the changes asked for are no longer kept: list again, and watch from there.
	ErrExpired = errors.New("changes are no longer kept")
	// ErrClosed says that the store has been closed.
	ErrClosed = errors.New("state is closed")
	// ErrDisk says that the disk refuses what is written: nothing is taken until it does again.
	ErrDisk = errors.New("disk refuses writes")

	// ErrLocked says that another process has the state open.
	ErrLocked = errors.New("in use by another process")
	// ErrForeign says that the file is not Belay's.
	ErrForeign = errors.New("not a state file of belay")
	// ErrNewer says that a newer Belay wrote the file.
	ErrNewer = errors.New("written by a newer belay")
	// ErrDamaged says that the file cannot be trusted.
	ErrDamaged = errors.New("damaged")
)

// Error is trouble with the file of the state, for people. It wraps one of the errors above where one fits.
type Error struct {
	Op   string // "open" or "write"
	Path string
	Err  error

	hint string
}

func (e *Error) Error() string { return e.Op + " " + e.Path + ": " + e.Err.Error() }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Hint says what to do now; it may be empty.
func (e *Error) Hint() string { return e.hint }
