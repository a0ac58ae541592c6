package scenario

import (
	"context"
	"fmt"
	"strings"

	"golang.org/x/tools/txtar"
)

// Step is one verb of a script with the report expected after it.
type Step struct {
	Verb string // with its arguments
	Want string
}

// Script is one scenario file.
type Script struct {
	Comment string
	Steps   []Step
}

// Parse reads a scenario: a txtar archive whose file names are the verbs and whose files are the reports.
func Parse(data []byte) Script {
	archive := txtar.Parse(data)
	s := Script{Comment: string(archive.Comment)}
	for _, f := range archive.Files {
		s.Steps = append(s.Steps, Step{Verb: f.Name, Want: strings.TrimSpace(string(f.Data))})
	}
	return s
}

// Format is the inverse of Parse.
func (s Script) Format() []byte {
	archive := txtar.Archive{Comment: []byte(strings.TrimSpace(s.Comment) + "\n\n")}
	for _, step := range s.Steps {
		data := step.Want + "\n\n"
		if step.Want == "" {
			data = "\n"
		}
		archive.Files = append(archive.Files, txtar.File{Name: step.Verb, Data: []byte(data)})
	}
	return []byte(strings.TrimRight(string(txtar.Format(&archive)), "\n") + "\n")
}

// Run carries out the verbs on w and returns the script with what was seen in place of what was expected. With
// restart the engine forgets everything after each verb, which must not change anything.
func (s Script) Run(ctx context.Context, w *World, restart bool) (Script, error) {
	seen := Script{Comment: s.Comment}
	for _, step := range s.Steps {
		report, err := w.Do(ctx, step.Verb)
		if err != nil {
			return seen, fmt.Errorf("%s: %w", step.Verb, err)
		}
		seen.Steps = append(seen.Steps, Step{Verb: step.Verb, Want: report})
		if restart {
			if err := w.Restart(ctx); err != nil {
				return seen, fmt.Errorf("restart after %s: %w", step.Verb, err)
			}
		}
	}
	return seen, nil
}
