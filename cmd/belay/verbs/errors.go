package verbs

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// Exit codes that mean the same for every verb.
const (
	exitFailure = 1
	exitUsage   = 2
)

// ExitError ends the program with a code of the verb's choice. Without an Err nothing is printed: the verb has said
// all there is to say.
type ExitError struct {
	Code int
	Err  error
}

func (e *ExitError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit status %d", e.Code)
	}
	return e.Err.Error()
}

// Unwrap returns the cause.
func (e *ExitError) Unwrap() error { return e.Err }

// usageError is a command line that cannot be understood.
type usageError struct {
	error
	command string
}

func (e *usageError) Unwrap() error { return e.error }

// Hint names the help of the command.
func (e *usageError) Hint() string { return "`" + e.command + " --help` shows its arguments and flags" }

// UsageError returns err as a mistake on the command line of command, such as "belay status": exit code 2, with
// the command's help as the hint.
func UsageError(command string, err error) error {
	return &ExitError{Code: exitUsage, Err: &usageError{error: err, command: command}}
}

// ExitCode returns what the program ends with after err: 0 without one, the code of an ExitError, else 1.
func ExitCode(err error) int {
	var exit *ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.Code
	default:
		return exitFailure
	}
}

// PrintError tells a person about err: a line "belay: ..." for each line of the message, then a line "hint: ..."
// when err, or what it wraps, has a method Hint() string that says something; the outermost hint counts.
func PrintError(w io.Writer, err error) {
	if exit := (*ExitError)(nil); err == nil || errors.As(err, &exit) && exit.Err == nil {
		return
	}
	var b strings.Builder
	for line := range strings.Lines(visible(err.Error(), true)) {
		b.WriteString("belay: " + strings.TrimSuffix(line, "\n") + "\n")
	}
	if hint := hintOf(err); hint != "" {
		b.WriteString("hint: " + Line(hint) + "\n")
	}
	// There is nobody left to tell when standard error is gone.
	_, _ = io.WriteString(w, b.String())
}

// hintOf returns the outermost hint that says something.
func hintOf(err error) string {
	var h interface {
		error
		Hint() string
	}
	for errors.As(err, &h) {
		if hint := h.Hint(); hint != "" {
			return hint
		}
		err = errors.Unwrap(h)
	}
	return ""
}
