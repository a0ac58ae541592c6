package app

import (
	"fmt"
	"time"

	"github.com/belay-dev/belay/reconciler"
	"github.com/belay-dev/belay/source/trigger"
)

// WindowConfig is a stretch of time that begins at every moment of a schedule: [start, start + duration).
type WindowConfig struct {
	Kind     WindowKind    `yaml:"kind"`
	Schedule string        `yaml:"schedule"`
	Duration time.Duration `yaml:"duration"`
}

// WindowKind says what a window does to changes.
type WindowKind string

// The kinds a configuration may name.
const (
	WindowAllow WindowKind = "allow"
	WindowDeny  WindowKind = "deny"
)

// Bounds of a window's duration.
const (
	minWindow = time.Minute
	maxWindow = 366 * 24 * time.Hour
)

func (v *validator) windows(at string, windows []WindowConfig) {
	for i, w := range windows {
		at := fmt.Sprintf("%s.windows[%d]", at, i)
		if w.Kind != WindowAllow && w.Kind != WindowDeny {
			v.add(at+".kind", "want allow or deny, not %q", string(w.Kind))
		}
		if w.Schedule == "" {
			v.add(at+".schedule", "required")
		} else {
			v.schedule(at+".schedule", w.Schedule)
		}
		if w.Duration < minWindow || w.Duration > maxWindow {
			v.add(at+".duration", "must be from %s to %s", minWindow, maxWindow)
		}
	}
}

// windowsOf makes valid windows what the plan wants.
func windowsOf(windows []WindowConfig) []reconciler.Window {
	var out []reconciler.Window
	for _, w := range windows {
		if s, err := trigger.ParseSchedule(w.Schedule); err == nil {
			out = append(out, reconciler.Window{Deny: w.Kind == WindowDeny, Schedule: s, Duration: w.Duration, Text: w.Schedule})
		}
	}
	return out
}
