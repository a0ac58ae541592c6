package merge

// group is a stretch of changed lines of one file, [start, end). Between any two neighbouring lines that both files
// have lies one group, often an empty one: the groups of two files that are compared correspond one to one.
type group struct{ start, end int }

// side walks over the groups of one file.
type side struct {
	lines []int32
	gone  []bool
	group
}

func (s *side) changed(i int) bool { return i >= 0 && i < len(s.gone) && s.gone[i] }

func (s *side) rewind() {
	s.group = group{}
	for s.changed(s.end) {
		s.end++
	}
}

func (s *side) forward() bool {
	if s.end >= len(s.lines) {
		return false
	}
	s.start = s.end + 1
	for s.end = s.start; s.changed(s.end); s.end++ {
	}
	return true
}

func (s *side) back() {
	s.end = s.start - 1
	for s.start = s.end; s.changed(s.start - 1); s.start-- {
	}
}

// down slides the group by one line towards the end when that means the same change. A group that it meets becomes
// part of it.
func (s *side) down() bool {
	if s.end >= len(s.lines) || s.lines[s.start] != s.lines[s.end] {
		return false
	}
	s.gone[s.start], s.gone[s.end] = false, true
	s.start++
	for s.end++; s.changed(s.end); s.end++ {
	}
	return true
}

// up slides the group by one line towards the beginning.
func (s *side) up() bool {
	if s.start == 0 || s.lines[s.start-1] != s.lines[s.end-1] {
		return false
	}
	s.start--
	s.end--
	s.gone[s.start], s.gone[s.end] = true, false
	for s.changed(s.start - 1) {
		s.start--
	}
	return true
}

// compact slides every group of changed lines of one file to where git puts it: in line with a group of the other file
// where it can be, else as far down as it goes.
func compact(lines, otherLines []int32, gone, otherGone []bool) {
	s := &side{lines: lines, gone: gone}
	other := &side{lines: otherLines, gone: otherGone}
	s.rewind()
	other.rewind()
	for {
		if s.start < s.end {
			settle(s, other)
		}
		if !s.forward() {
			return
		}
		other.forward()
	}
}

func settle(s, other *side) {
	for {
		size := s.end - s.start
		aligned := false
		for s.up() {
			other.back()
		}
		highest := s.end
		if other.start < other.end {
			aligned = true
		}
		for s.down() {
			other.forward()
			if other.start < other.end {
				aligned = true
			}
		}
		if size != s.end-s.start {
			continue // it met another group
		}
		if s.end != highest && aligned {
			for other.start == other.end {
				s.up()
				other.back()
			}
		}
		return
	}
}
