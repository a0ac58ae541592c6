package verbs

import (
	"bufio"
	"errors"
	"fmt"
	"strings"
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
