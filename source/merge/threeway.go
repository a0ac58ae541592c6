package merge

import (
	"bytes"
	"slices"
)

// hunk replaces base[at:at+old] by side[to:to+size].
type hunk struct{ at, old, to, size int }

// hunks lists the differences of two files in order.
func hunks(base, side []int32, distinct int) ([]hunk, bool) {
	goneBase, goneSide, ok := diff(base, side, distinct)
	if !ok {
		return nil, false
	}
	compact(base, side, goneBase, goneSide)
	compact(side, base, goneSide, goneBase)
	var out []hunk
	for i, j := 0, 0; i < len(base) || j < len(side); {
		h := hunk{at: i, to: j}
		for ; i < len(base) && goneBase[i]; i++ {
			h.old++
		}
		for ; j < len(side) && goneSide[j]; j++ {
			h.size++
		}
		if h.old > 0 || h.size > 0 {
			out = append(out, h)
			continue
		}
		i++
		j++
	}
	return out, true
}

// origin says whose lines a piece of the result is made of.
type origin int

const (
	nobody origin = iota // both changed it: a conflict
	fromOurs
	fromTheirs
)

// piece is a stretch that one side or both changed: lines [ours, ours+ourSize) and [theirs, theirs+theirSize).
type piece struct {
	of                               origin
	ours, ourSize, theirs, theirSize int
}

// Outcome is what came of merging the lines of one file.
type Outcome struct {
	// Merged is the result; meaningless when there are conflicts.
	Merged []byte
	// Conflicts are the lines of our version, counted from 1, at which both sides changed the same or neighbouring
	// lines to something else.
	Conflicts []int
	// Repetitive tells that the lines that the versions share come too often to say which one is which, so that
	// nothing was merged.
	Repetitive bool
}

// Lines merges two versions of a file that both come from base, line by line. Changes of both sides that touch each
// other are a conflict unless they lead to the same lines. Every byte of the result is a byte of ours or of theirs.
func Lines(base, ours, theirs []byte) Outcome {
	in := &interner{ids: map[string]int32{}}
	b, o, t := in.lines(base), in.lines(ours), in.lines(theirs)
	mine, ok := hunks(b, o, len(in.ids))
	if !ok {
		return Outcome{Repetitive: true}
	}
	other, ok := hunks(b, t, len(in.ids))
	if !ok {
		return Outcome{Repetitive: true}
	}
	var out Outcome
	var pieces []piece
	for _, p := range interleave(mine, other, o, t) {
		switch {
		case p.of != nobody:
			pieces = append(pieces, p)
		case p.ourSize > 0 && slices.Equal(o[p.ours:p.ours+p.ourSize], t[p.theirs:p.theirs+p.theirSize]):
			// the same after all: it stays as it is in ours
		default:
			out.Conflicts = append(out.Conflicts, p.ours+1)
		}
	}
	if out.Conflicts == nil {
		out.Merged = assemble(ours, theirs, pieces)
	}
	return out
}

// interleave walks along the hunks of both sides.
func interleave(mine, other []hunk, ours, theirs []int32) []piece {
	var out []piece
	add := func(p piece) {
		if n := len(out); n > 0 {
			last := &out[n-1]
			if p.ours <= last.ours+last.ourSize || p.theirs <= last.theirs+last.theirSize {
				if p.of != last.of {
					last.of = nobody
				}
				last.ourSize = p.ours + p.ourSize - last.ours
				last.theirSize = p.theirs + p.theirSize - last.theirs
				return
			}
		}
		out = append(out, p)
	}
	shiftO, shiftT := 0, 0 // of the lines of ours, and of theirs, against base, after the hunks passed
	for len(mine) > 0 || len(other) > 0 {
		switch {
		case len(other) == 0 || len(mine) > 0 && mine[0].at+mine[0].old < other[0].at:
			h := mine[0]
			add(piece{fromOurs, h.to, h.size, h.at + shiftT, h.old})
			shiftO, mine = h.to+h.size-h.at-h.old, mine[1:]
			continue
		case len(mine) == 0 || other[0].at+other[0].old < mine[0].at:
			h := other[0]
			add(piece{fromTheirs, h.at + shiftO, h.old, h.to, h.size})
			shiftT, other = h.to+h.size-h.at-h.old, other[1:]
			continue
		}
		m, o := mine[0], other[0]
		if !same(m, o, ours, theirs) {
			add(both(m, o))
		}
		endM, endO := m.at+m.old, o.at+o.old
		if endM >= endO {
			shiftT, other = o.to+o.size-endO, other[1:]
		}
		if endO >= endM {
			shiftO, mine = m.to+m.size-endM, mine[1:]
		}
	}
	return out
}

// same tells whether two hunks do one and the same.
func same(m, o hunk, ours, theirs []int32) bool {
	return m.at == o.at && m.old == o.old && m.size == o.size && slices.Equal(ours[m.to:m.to+m.size], theirs[o.to:o.to+o.size])
}

// both makes one piece of two hunks that touch, over all that either covers.
func both(m, o hunk) piece {
	p := piece{ours: m.to, theirs: o.to}
	if ahead := m.at - o.at; ahead > 0 {
		p.ours -= ahead
	} else {
		p.theirs += ahead
	}
	p.ourSize = m.to + m.size - p.ours
	p.theirSize = o.to + o.size - p.theirs
	if short := m.at + m.old - o.at - o.old; short < 0 {
		p.ourSize -= short
	} else {
		p.theirSize += short
	}
	return p
}

// assemble copies ours, with the pieces of theirs in their places.
func assemble(ours, theirs []byte, pieces []piece) []byte {
	o, t := bytes.SplitAfter(ours, []byte{'\n'}), bytes.SplitAfter(theirs, []byte{'\n'})
	out := make([]byte, 0, len(ours)+len(theirs)/8)
	at := 0
	put := func(lines [][]byte) {
		for _, line := range lines {
			out = append(out, line...)
		}
	}
	for _, p := range pieces {
		if p.of != fromTheirs {
			continue
		}
		put(o[at:p.ours])
		put(t[p.theirs : p.theirs+p.theirSize])
		at = p.ours + p.ourSize
	}
	put(o[at:])
	return out
}
