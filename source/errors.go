package source

import (
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Kind is the class of an error. It alone decides what happens next: see Backoff.
type Kind string

const (
	// KindInvalid: the configuration cannot work as it is.
	KindInvalid Kind = "Invalid"
	// KindNotFound: there is no repository at the address.
	KindNotFound Kind = "NotFound"
	// KindBranchGone: the repository has no such branch (any more).
	KindBranchGone Kind = "BranchGone"
	// KindEmpty: the repository, or the mirror, has no commit yet.
	KindEmpty Kind = "Empty"
	// KindCorrupt: an object is missing or is not what its hash says.
	KindCorrupt Kind = "Corrupt"
	// KindMalformed: an object is what the remote has, and cannot be used.
	KindMalformed Kind = "Malformed"
	// KindUnsupported: the repository needs something that is not implemented.
	KindUnsupported Kind = "Unsupported"
	// KindAuth: credentials are missing or wrong.
	KindAuth Kind = "Auth"
	// KindForbidden: the credentials do not reach so far.
	KindForbidden Kind = "Forbidden"
	// KindHostKey: the host cannot prove that it is the one expected.
	KindHostKey Kind = "HostKey"
	// KindRedirect: the remote points elsewhere, and is not followed.
	KindRedirect Kind = "Redirect"
	// KindNetwork: the remote cannot be reached, or the connection broke.
	KindNetwork Kind = "Network"
	// KindTimeout: a step took longer than it may.
	KindTimeout Kind = "Timeout"
	// KindRateLimited: the remote asks to come back later.
	KindRateLimited Kind = "RateLimited"
	// KindServer: the remote failed on its own side.
	KindServer Kind = "Server"
	// KindTooLarge: a limit was met.
	KindTooLarge Kind = "TooLarge"
	// KindDisk: the mirror cannot be written or read.
	KindDisk Kind = "Disk"
	// KindConflict: changes cannot be put together, and a person has to.
	KindConflict Kind = "Conflict"
	// KindNothing: there is nothing to do.
	KindNothing Kind = "Nothing"
	// KindRace: the branch moved while something was made for it: make it anew.
	KindRace Kind = "Race"
	// KindRejected: the remote does not take what was pushed to this branch: another branch may do.
	KindRejected Kind = "Rejected"
	// KindCanceled: the caller gave up.
	KindCanceled Kind = "Canceled"
)

// Error is what every operation of this package returns when it does not succeed, except that a path which is
// not in a tree is an *fs.PathError wrapping fs.ErrNotExist.
type Error struct {
	Kind Kind
	// Op is what was being done: "poll", "fetch", "read tree".
	Op string
	// Subject is what it was done to: an address without credentials, a branch, a path.
	Subject string
	Err     error
	// Hint says what a person can do about it, or is empty.
	Hint string
	// RetryAfter is how long the remote asked to wait, or zero.
	RetryAfter time.Duration
}

// Error returns one line: the operation, its subject and the cause, without the hint.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	if e.Subject != "" {
		b.WriteString(" " + e.Subject)
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the kind of err: that of the outermost *Error in it, else one read off the cause.
func KindOf(err error) Kind {
	var e *Error
	switch {
	case err == nil:
		return ""
	case errors.As(err, &e):
		return e.Kind
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return KindTimeout
	case errors.Is(err, context.Canceled):
		return KindCanceled
	case errors.Is(err, errMissing), errors.Is(err, errDamaged):
		return KindCorrupt
	case errors.Is(err, errMalformed):
		return KindMalformed
	case errors.Is(err, errTooLarge):
		return KindTooLarge
	case isDiskError(err):
		return KindDisk
	}
	return KindNetwork
}

// wrap gives err an operation and a subject, and the kind its cause shows. An *Error keeps its own.
func wrap(op, subject string, err error) error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return err
	}
	out := &Error{Kind: KindOf(err), Op: op, Subject: subject, Err: err}
	if out.Kind == KindDisk && errors.Is(err, syscall.ENOSPC) {
		out.Hint = "free some space on the disk of the data directory"
	}
	return out
}

func isDiskError(err error) bool {
	var p *os.PathError
	var l *os.LinkError
	return errors.As(err, &p) || errors.As(err, &l) || errors.Is(err, syscall.ENOSPC)
}

// errorText is an error that is nothing but its text.
type errorText string

func (e errorText) Error() string { return string(e) }

func quote(s string) string { return strconv.Quote(s) }

const (
	errMissing   = errorText("object not found")
	errDamaged   = errorText("object damaged")
	errMalformed = errorText("malformed object")
	errTooLarge  = errorText("too large")
	errClosed    = errorText("snapshot is closed")
)
