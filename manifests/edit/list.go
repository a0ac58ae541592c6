package edit

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// pairing says what becomes of the elements of a list: which element of the
// wanted list each one becomes, -1 for one that goes, and which wanted ones are
// new.
type pairing struct {
	to    []int // by existing element
	added []int // wanted elements, in order
}

// pairUp pairs elements by merge key, else by position between the equal ones at
// both ends. Elements that would have to change places are not paired: ok is
// false.
func pairUp(is, want *value) (p pairing, ok bool) {
	p.to = make([]int, len(is.items))
	taken := make([]bool, len(want.items))
	if key := keyed(is, want); key != "" {
		wanted, last := keyTexts(want, key), -1
		for i, k := range keyTexts(is, key) {
			p.to[i] = slices.Index(wanted, k)
			if p.to[i] < 0 {
				continue
			}
			if p.to[i] < last {
				return pairing{}, false
			}
			last = p.to[i]
			taken[last] = true
		}
	} else {
		pairByPlace(is, want, p.to, taken)
	}
	for j, is := range taken {
		if !is {
			p.added = append(p.added, j)
		}
	}
	return p, len(p.added) < len(want.items) // something stays to add to
}

func pairByPlace(is, want *value, to []int, taken []bool) {
	head, tail := 0, 0
	least := min(len(is.items), len(want.items))
	for head < least && is.items[head].same(want.items[head]) {
		head++
	}
	for tail < least-head && is.items[len(is.items)-1-tail].same(want.items[len(want.items)-1-tail]) {
		tail++
	}
	for i := range is.items {
		switch {
		case i >= len(is.items)-tail:
			to[i] = len(want.items) - (len(is.items) - i)
		case i < len(want.items)-tail:
			to[i] = i
		default:
			to[i] = -1
		}
		if to[i] >= 0 {
			taken[to[i]] = true
		}
	}
}

func (d *document) becomeList(n *yaml.Node, is, want *value, in context) error {
	p, ok := pairUp(is, want)
	if !ok {
		return d.replace(n, want, in)
	}
	if in.flow || n.Style&yaml.FlowStyle != 0 {
		return d.becomeFlowList(n, want, p)
	}
	indent := n.Column - 1
	dashes := make([]int, len(n.Content))
	ends := make([]int, len(n.Content))
	for i, c := range n.Content {
		var err error
		if dashes[i], err = d.dash(n, c); err != nil {
			return err
		}
		if ends[i], err = d.end(c, indent); err != nil {
			return err
		}
	}
	for i, c := range n.Content {
		if p.to[i] < 0 {
			if err := d.cutLines(dashes[i], ends[i]); err != nil {
				return err
			}
			continue
		}
		if err := d.become(c, want.items[p.to[i]], context{after: dashes[i] + 1, indent: indent, dash: true}); err != nil {
			return err
		}
	}
	for _, j := range p.added {
		if err := d.addElement(want.items[j], placeFor(p.to, j), indent, dashes, ends); err != nil {
			return err
		}
	}
	return nil
}

// addElement writes an element after an existing one, or with -1 before all.
func (d *document) addElement(v *value, at, indent int, dashes, ends []int) error {
	text := strings.Repeat(" ", indent) + "-" + d.blockValue(v, indent, true)
	if at >= 0 {
		return d.addLines(ends[at], text)
	}
	if err := d.aloneOnLine(dashes[0]); err != nil {
		return err
	}
	start := d.lineStart(dashes[0])
	d.cuts = append(d.cuts, splice{from: start, to: start, text: text + d.eol})
	return nil
}

// placeFor is the existing element after which a wanted one goes, -1 for the
// front.
func placeFor(to []int, j int) int {
	at := -1
	for i, t := range to {
		if t >= 0 && t < j {
			at = i
		}
	}
	return at
}

// dash finds the dash of an element.
func (d *document) dash(n, item *yaml.Node) (int, error) {
	for line := item.Line; line >= n.Line; line-- {
		at := d.offset(line, n.Column)
		if at < len(d.text) && d.text[at] == '-' && (line < item.Line || at < d.start(item)) {
			return at, nil
		}
	}
	return 0, d.refuse(Layout, item.Line, "the dash of the element is not found")
}

func (d *document) becomeFlowList(n *yaml.Node, want *value, p pairing) error {
	spans := make([][2]int, len(n.Content))
	for i, c := range n.Content {
		end, err := d.end(c, n.Column-1)
		if err != nil {
			return err
		}
		spans[i] = [2]int{d.start(c), end}
	}
	for i, c := range n.Content {
		var err error
		if p.to[i] < 0 {
			err = d.removeFlow(spans, i, func(j int) bool { return p.to[j] >= 0 })
		} else {
			err = d.become(c, want.items[p.to[i]], context{after: spans[i][0], indent: n.Column - 1, flow: true})
		}
		if err != nil {
			return err
		}
	}
	for _, j := range p.added {
		text := d.inline(want.items[j], true)
		if at := placeFor(p.to, j); at >= 0 {
			d.cuts = append(d.cuts, splice{from: spans[at][1], to: spans[at][1], text: ", " + text})
			continue
		}
		d.cuts = append(d.cuts, splice{from: spans[0][0], to: spans[0][0], text: text + ", "})
	}
	return nil
}
