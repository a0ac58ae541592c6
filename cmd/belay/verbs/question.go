package verbs

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/belay-dev/belay/cmd/belay/control"
)

// errDeclined is what a question ends with that was not answered with yes.
var errDeclined = &ExitError{Code: exitFailure, Err: errors.New("nothing was done")}

// unasked is the error of a question that nobody is there to answer.
type unasked struct{ error }

func (unasked) Hint() string { return "look with --dry-run, then say --yes" }

// mayAsk says whether there is somebody to ask.
func (e *env) mayAsk() error {
	if isTerminal(e.in) {
		return nil
	}
	return &unasked{errors.New("it asks first, and there is no terminal to ask on")}
}

// sends is a method of the service as a function of what is asked for.
func sends[Q, R any](e *env, cmd *cobra.Command, method func(*control.Client, context.Context, Q) (R, error)) func(Q) (R, error) {
	return func(q Q) (R, error) {
		return ask(cmd.Context(), e, func(c *control.Client) (R, error) { return method(c, cmd.Context(), q) })
	}
}

// agreed shows what would be done, and asks whether it shall; without a text nothing is asked. It gives what was shown.
func agreed[Q, R any](e *env, do func(Q) (R, error), preview Q, show func(io.Writer, R) error, text func(R) string) (R, error) {
	var none R
	if err := e.mayAsk(); err != nil {
		return none, err
	}
	p, err := do(preview)
	if err != nil {
		return none, err
	}
	if err := show(e.out, p); err != nil || text(p) == "" {
		return p, err
	}
	return p, e.question(text(p))
}

// question asks on the terminal; anything but yes is an error.
func (e *env) question(text string) error {
	fmt.Fprintf(e.out, "%s [y/N] ", text)
	line, err := bufio.NewReader(e.in).ReadString('\n')
	if err != nil && line == "" {
		return errDeclined
	}
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return nil
	}
	return errDeclined
}
