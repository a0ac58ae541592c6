package image

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// Class says what kind of thing kept an image from being pulled.
type Class string

// The classes.
const (
	NotFound  Class = "NotFound"  // the registry answers and has no such image
	Denied    Class = "Denied"    // it wants to be shown something else
	RateLimit Class = "RateLimit" // it was asked too often
	Network   Class = "Network"   // it does not answer, or not well
	Corrupt   Class = "Corrupt"   // what it sent is not what its digest says, or cannot be unpacked safely
	Disk      Class = "Disk"      // there is no room, or no right, to keep it
	Unknown   Class = "Unknown"
)

// PullError says why an image could not be pulled.
type PullError struct {
	Class Class
	Err   error // in the engine's or the registry's words
}

func (e *PullError) Error() string { return e.Err.Error() }

// Unwrap is the cause.
func (e *PullError) Unwrap() error { return e.Err }

// classify makes a PullError of what the registry client says. The end of a context stays what it is.
func classify(err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if _, ok := errors.AsType[*PullError](err); ok {
		return err
	}
	class := Unknown
	if answer, ok := errors.AsType[*transport.Error](err); ok {
		switch code := answer.StatusCode; {
		case code == http.StatusNotFound:
			class = NotFound
		case code == http.StatusUnauthorized || code == http.StatusForbidden:
			class = Denied
		case code == http.StatusTooManyRequests:
			class = RateLimit
		case code >= 500:
			class = Network
		}
	} else if _, ok := errors.AsType[net.Error](err); ok {
		class = Network
	} else if strings.Contains(err.Error(), "error verifying") { // the registry client's words; its type is its own
		class = Corrupt
	}
	return &PullError{Class: class, Err: err}
}
