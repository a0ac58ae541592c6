// Package edit changes single fields of YAML files in place, byte for byte: a
// scalar, an entry of a mapping, an element of a list, a whole document.
// Comments, quotes, indentation, line ends, a byte order mark and a missing
// final newline stay as they are. It never formats a file anew, and never
// reads or writes one itself: bytes go in and come out.
//
// It finds bytes by the positions that a YAML parser gives, cuts and pastes
// there, reads the result again and compares it with what was asked: the value
// must be as asked and everything else must mean what it meant. What cannot be
// edited surely is a *Refusal with a reason, a file and a line; nothing is
// guessed.
//
// It also knows where a field of a rendered object may come from: the manifest
// itself, or the images, replicas and patches of a kustomization. It only
// proposes: whether a proposal has the effect that was wanted, and no other, is
// for the caller to find out by rendering.
package edit
