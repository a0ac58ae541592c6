package app

import (
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing wrong with a configuration.
type Problem struct {
	Key     string // path of the key, such as sources[0].apps[1].path, or the flag; empty for the file as a whole
	Line    int    // in the file, from 1; 0 when there is none
	Message string
	Hint    string // what to do about it; may be empty
}

// InvalidError holds everything that is wrong with a configuration, in the order of the file.
type InvalidError struct {
	File     string // empty when the configuration came from flags
	Problems []Problem
}

// Error has one line for each problem: file:line: key: message.
func (e *InvalidError) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		var b strings.Builder
		if e.File != "" {
			b.WriteString(e.File)
			if p.Line > 0 {
				fmt.Fprintf(&b, ":%d", p.Line)
			}
			b.WriteString(": ")
		}
		if p.Key != "" {
			b.WriteString(p.Key + ": ")
		}
		b.WriteString(p.Message)
		lines[i] = b.String()
	}
	return strings.Join(lines, "\n")
}

// Hint says what to do: the hints of the problems, each once, or where the keys are explained.
func (e *InvalidError) Hint() string {
	var hints []string
	for _, p := range e.Problems {
		if p.Hint != "" && !slices.Contains(hints, p.Hint) {
			hints = append(hints, p.Hint)
		}
	}
	if len(hints) == 0 && e.File != "" {
		return "`belay config` prints every key with its default"
	}
	return strings.Join(hints, "; ")
}

// invalid returns the problems as an error, or nil when there are none.
func invalid(file string, problems []Problem) error {
	if len(problems) == 0 {
		return nil
	}
	return &InvalidError{File: file, Problems: problems}
}

// hinted is an error with a hint for the person who reads it.
type hinted struct {
	error
	hint string
}

func (e *hinted) Hint() string  { return e.hint }
func (e *hinted) Unwrap() error { return e.error }
