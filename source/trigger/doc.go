// Package trigger decides when to look at a repository: after an interval with jitter or at the moments of a schedule, when
// a branch of a local repository moves, and at once when asked.
//
// A trigger says look, never what: many reasons at once are one signal, and whoever receives it finds out himself
// what changed. Nothing here reads Git.
package trigger
