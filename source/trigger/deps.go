//go:build deps

package trigger

// Required from the first commit on: see state/api/deps.go. fsnotify watches local repositories, cron
// parses schedules.
import (
	_ "github.com/fsnotify/fsnotify"
	_ "github.com/robfig/cron/v3"
)
