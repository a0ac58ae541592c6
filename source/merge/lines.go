package merge

import "bytes"

// maxOccurrences is how often a line may come in a region to be used as an anchor there.
const maxOccurrences = 64

// interner numbers distinct lines, so that comparing two is comparing two numbers.
type interner struct{ ids map[string]int32 }

// lines cuts content after every newline. The last line of a file that does not end in one differs from the same line
// that does.
func (in *interner) lines(content []byte) []int32 {
	out := make([]int32, 0, bytes.Count(content, []byte{'\n'})+1)
	for len(content) > 0 {
		n := bytes.IndexByte(content, '\n') + 1
		if n == 0 {
			n = len(content)
		}
		id, ok := in.ids[string(content[:n])]
		if !ok {
			id = int32(len(in.ids)) //nolint:gosec // a file has fewer lines than bytes
			in.ids[string(content[:n])] = id
		}
		out = append(out, id)
		content = content[n:]
	}
	return out
}

// differ compares two lists of lines as git's histogram algorithm does: the longest common run that begins at the
// rarest line is taken for unchanged, and what lies before and after it is compared in the same way.
type differ struct {
	a, b         []int32
	goneA, goneB []bool
	// Of the region of a looked at: how often a line comes, where first, and where next from a place; -1: nowhere.
	count, first []int32
	next         []int32
}

// run is what two regions have in common: a[a:a+n] equals b[b:b+n].
type run struct{ a, b, n int }

// diff tells which lines of a and of b are not common to both. It returns false where git would turn to another
// algorithm, because no line that both have is rare enough to begin at.
func diff(a, b []int32, distinct int) (goneA, goneB []bool, ok bool) {
	d := &differ{
		a: a, b: b, goneA: make([]bool, len(a)), goneB: make([]bool, len(b)),
		count: make([]int32, distinct), first: make([]int32, distinct), next: make([]int32, len(a)),
	}
	ok = d.regions(0, len(a), 0, len(b))
	return d.goneA, d.goneB, ok
}

func (d *differ) regions(a0, a1, b0, b1 int) bool {
	type region struct{ a0, a1, b0, b1 int }
	for todo := []region{{a0, a1, b0, b1}}; len(todo) > 0; {
		r := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if r.a0 == r.a1 || r.b0 == r.b1 {
			fill(d.goneA[r.a0:r.a1])
			fill(d.goneB[r.b0:r.b1])
			continue
		}
		common, ok := d.anchor(r.a0, r.a1, r.b0, r.b1)
		if !ok {
			return false
		}
		if common.n == 0 {
			fill(d.goneA[r.a0:r.a1])
			fill(d.goneB[r.b0:r.b1])
			continue
		}
		todo = append(todo,
			region{r.a0, common.a, r.b0, common.b},
			region{common.a + common.n, r.a1, common.b + common.n, r.b1})
	}
	return true
}

func fill(flags []bool) {
	for i := range flags {
		flags[i] = true
	}
}

// anchor finds the common run of two regions to take for unchanged; none has length 0. It returns false when they have
// common lines, and all come too often.
func (d *differ) anchor(a0, a1, b0, b1 int) (run, bool) {
	for i := a1 - 1; i >= a0; i-- {
		id := d.a[i]
		if d.count[id] == 0 {
			d.next[i] = -1
		} else {
			d.next[i] = d.first[id]
		}
		d.first[id] = int32(i) //nolint:gosec // see lines
		d.count[id]++
	}
	defer func() {
		for _, id := range d.a[a0:a1] {
			d.count[id] = 0
		}
	}()
	best, rarest, common := run{}, int32(maxOccurrences+1), false
	for at := b0; at < b1; {
		id := d.b[at]
		if d.count[id] == 0 {
			at++
			continue
		}
		common = true
		if d.count[id] > rarest {
			at++
			continue
		}
		after := at + 1
		for i := int(d.first[id]); i >= 0; {
			found, rare := d.grow(i, at, a0, a1, b0, b1)
			after = max(after, found.b+found.n)
			// A run of one line is no longer than none: it must begin at a rarer line.
			if found.n > max(best.n, 1) || rare < rarest {
				best, rarest = found, rare
			}
			i = d.beyond(i, found.a+found.n)
		}
		at = after
	}
	return best, !common || rarest <= maxOccurrences
}

// grow returns the longest common run through a[i] and b[j], and how often its rarest line comes.
func (d *differ) grow(i, j, a0, a1, b0, b1 int) (run, int32) {
	rare := d.count[d.a[i]]
	r := run{a: i, b: j, n: 1}
	for r.a > a0 && r.b > b0 && d.a[r.a-1] == d.b[r.b-1] {
		r.a, r.b, r.n = r.a-1, r.b-1, r.n+1
		rare = min(rare, d.count[d.a[r.a]])
	}
	for r.a+r.n < a1 && r.b+r.n < b1 && d.a[r.a+r.n] == d.b[r.b+r.n] {
		rare = min(rare, d.count[d.a[r.a+r.n]])
		r.n++
	}
	return r, rare
}

// beyond returns the next place of the line at i that is not before end, or -1.
func (d *differ) beyond(i, end int) int {
	next := int(d.next[i])
	for next >= 0 && next < end {
		next = int(d.next[next])
	}
	return next
}
