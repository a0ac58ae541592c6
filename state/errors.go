package state

import "errors"

var (
	// ErrExpired says that the changes asked for are no longer kept: list again, and watch from there.
	ErrExpired = errors.New("changes are no longer kept")
	// ErrClosed says that the store has been closed.
	ErrClosed = errors.New("state is closed")
)
