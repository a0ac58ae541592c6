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
	say := func(line *zerolog.Event) {
		line.Str("source", source).Str("commit", short(commit)).Int("steps", len(rendered)).Int("changed", changed).Msg("synced")
	}
	for _, r := range rendered {
		if len(r.Unrendered) > 0 {
			say(log.Warn().Str("problem", r.Unrendered[0].String()))
			return
		}
	}
	say(log.Info())
}
