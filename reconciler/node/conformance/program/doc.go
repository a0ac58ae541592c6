// Package program is what the containers of the conformance suite run: one small program with verbs. The in-memory
// driver calls it as a function, real drivers run it from an image (package image beside it).
//
// It needs the standard library alone, and never more of its surroundings than a Process gives it.
package program
