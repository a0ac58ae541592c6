package reconciler

import (
	"github.com/rs/zerolog"

	"github.com/belay-dev/belay/manifests"
)

// unrendered are the problems of a commit that keep something of it from being rendered, also where that is no root yet: those
// that came up at it, and an app without its directory, which no commit renders.
func unrendered(problems []manifests.Problem, commit string) []manifests.Problem {
	var out []manifests.Problem
	for _, p := range problems {
		if p.Reason.Blocks() && p.Commit == commit || p.Reason == manifests.AppPathMissing {
			out = append(out, p)
		}
	}
	return out
}

// synced logs what a look took up: a warning with the first problem where commits did not render.
func synced(log zerolog.Logger, source, commit string, rendered []Rendered, changed int) {
	level, problem := zerolog.InfoLevel, ""
	for _, r := range rendered {
		if len(r.Unrendered) > 0 && problem == "" {
			level, problem = zerolog.WarnLevel, r.Unrendered[0].String()
		}
	}
	line := log.WithLevel(level)
	if problem != "" {
		line = line.Str("problem", problem)
	}
	line.Str("source", source).Str("commit", short(commit)).Int("steps", len(rendered)).Int("changed", changed).Msg("synced")
}
