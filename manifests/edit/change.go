package edit

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// context is where a node stands: behind a key, or behind a dash.
type context struct {
	after  int  // offset after the colon or the dash
	indent int  // column, from 0, of the key or the dash
	dash   bool // an element of a block list
	flow   bool // within braces or brackets
}

// become makes a node mean a value with as few cuts as possible.
func (d *document) become(n *yaml.Node, want *value, in context) error {
	is, err := valueOf(n)
	if err != nil {
		return d.refuse(Syntax, n.Line, "%v", err)
	}
	switch {
	case is.same(want):
		return nil
	case is.isScalar() && want.isScalar() && n.Value+d.quoteOf(n) != "":
		return d.setScalar(n, want, in)
	case is.kind != want.kind || is.isScalar() || len(is.items) == 0 || len(want.items) == 0:
		return d.replace(n, want, in)
	case is.kind == mapping:
		return d.becomeMapping(n, is, want, in)
	default:
		return d.becomeList(n, is, want, in)
	}
}

// quoteOf tells an empty string from nothing at all.
func (d *document) quoteOf(n *yaml.Node) string {
	if n.Style != 0 {
		return "quoted"
	}
	return ""
}

// templateMarks are what fills a file in before it is read, elsewhere.
var templateMarks = []string{"{{", "}}", "${", "<%", "%>"}

func (d *document) setScalar(n *yaml.Node, want *value, in context) error {
	from := d.start(n)
	to, err := d.end(n, in.indent)
	if err != nil {
		return err
	}
	for _, mark := range templateMarks {
		if strings.Contains(d.text[from:to], mark) {
			return d.refuse(Template, n.Line, "the value is filled in by a template (%s)", mark)
		}
	}
	text := ""
	switch block := n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0; {
	case block && want.kind == scalarString && literalFits(want.text):
		text = d.literal(want.text, d.blockIndent(from, to, in.indent))
	case block:
		text = d.inline(want, true)
	case d.isJSON:
		text = jsonText(want)
	default:
		text = styled(want, n.Style, in.flow)
	}
	d.cuts = append(d.cuts, splice{from: from, to: to, text: text})
	return nil
}

// blockIndent is how far the content of a block scalar is indented.
func (d *document) blockIndent(from, to, indent int) int {
	for at := d.nextLine(from); at < to; at = d.nextLine(at) {
		line := d.text[at:min(to, d.nextLine(at))]
		if trimmed := strings.TrimLeft(line, " "); strings.TrimSpace(trimmed) != "" {
			return len(line) - len(trimmed)
		}
	}
	return indent + d.style.step
}

// replace writes a value anew where another kind of value stood.
func (d *document) replace(n *yaml.Node, want *value, in context) error {
	to, err := d.end(n, in.indent)
	if err != nil {
		return err
	}
	from := d.start(n)
	nothing := from == to
	blockStyle := n.Style&yaml.FlowStyle == 0 && n.Kind != yaml.ScalarNode && len(n.Content) > 0
	if in.flow || !blockStyle && !nothing && n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) == 0 && (want.isScalar() || len(want.items) == 0) {
		text := d.inline(want, in.flow)
		if nothing {
			text = " " + text
		}
		d.cuts = append(d.cuts, splice{from: from, to: to, text: text})
		return nil
	}
	if in.indent < 0 {
		return d.refuse(Layout, n.Line, "nothing of the document would be left")
	}
	if _, err := d.tail(to); err != nil {
		return err
	}
	text := d.blockValue(want, in.indent, in.dash)
	d.cuts = append(d.cuts, splice{from: in.after, to: to, text: text})
	return nil
}

// entry returns where a key ends, colon included.
func (d *document) afterKey(key *yaml.Node, indent int) (int, error) {
	if key.Kind != yaml.ScalarNode {
		return 0, d.refuse(ComplexKey, key.Line, "a key is no plain word")
	}
	at, err := d.end(key, indent)
	if err != nil {
		return 0, err
	}
	for at < len(d.text) && d.text[at] == ' ' {
		at++
	}
	if at >= len(d.text) || d.text[at] != ':' {
		return 0, d.refuse(ComplexKey, key.Line, "no colon follows the key")
	}
	return at + 1, nil
}

func (d *document) becomeMapping(n *yaml.Node, is, want *value, in context) error {
	flow := in.flow || n.Style&yaml.FlowStyle != 0
	indent := n.Column - 1
	kept := func(key string) bool { return want.get(key) != nil }
	if !slices.ContainsFunc(is.keys, kept) {
		return d.replace(n, want, in)
	}
	for i, key := range is.keys {
		k, v := n.Content[2*i], n.Content[2*i+1]
		if kept(key) {
			after, err := d.afterKey(k, indent)
			if err != nil {
				return err
			}
			if err := d.become(v, want.get(key), context{after: after, indent: indent, flow: flow}); err != nil {
				return err
			}
			continue
		}
		if err := d.removeEntry(n, i, flow, func(j int) bool { return kept(is.keys[j]) }); err != nil {
			return err
		}
	}
	for j, key := range want.keys {
		if is.get(key) != nil {
			continue
		}
		pred := predecessor(want.keys[:j], is.keys, kept)
		last := n.Content[2*pred+1]
		end, err := d.end(last, indent)
		if err != nil {
			return err
		}
		if flow {
			d.cuts = append(d.cuts, splice{from: end, to: end, text: ", " + d.inlineEntry(key, want.items[j])})
			continue
		}
		pad := strings.Repeat(" ", indent)
		if err := d.addLines(end, pad+keyText(key)+":"+d.blockValue(want.items[j], indent, false)); err != nil {
			return err
		}
	}
	return nil
}

// predecessor is the index of the entry after which a new one goes: the last of
// those before it that exists and stays, else the last that stays.
func predecessor(before, existing []string, kept func(string) bool) int {
	for i := len(before) - 1; i >= 0; i-- {
		if at := slices.Index(existing, before[i]); at >= 0 {
			return at
		}
	}
	for i := len(existing) - 1; i >= 0; i-- {
		if kept(existing[i]) {
			return i
		}
	}
	return len(existing) - 1
}

func (d *document) removeEntry(n *yaml.Node, i int, flow bool, kept func(int) bool) error {
	k, v := n.Content[2*i], n.Content[2*i+1]
	from := d.start(k)
	end, err := d.end(v, n.Column-1)
	if err != nil {
		return err
	}
	if flow {
		spans := make([][2]int, len(n.Content)/2)
		for j := range spans {
			to, err := d.end(n.Content[2*j+1], n.Column-1)
			if err != nil {
				return err
			}
			spans[j] = [2]int{d.start(n.Content[2*j]), to}
		}
		return d.removeFlow(spans, i, kept)
	}
	if d.aloneOnLine(from) == nil {
		return d.cutLines(from, end)
	}
	// The first entry behind a dash: the next one takes its place.
	if 2*i+2 >= len(n.Content) || !kept(i+1) {
		return d.refuse(Layout, k.Line, "the first entry of a list element goes and nothing takes its place")
	}
	next := d.start(n.Content[2*i+2])
	if strings.TrimSpace(d.text[end:next]) != "" {
		return d.refuse(Layout, k.Line, "a comment stands behind the first entry of a list element")
	}
	d.cuts = append(d.cuts, splice{from: from, to: next})
	return nil
}

// removeFlow cuts one of several elements between braces or brackets, with the
// comma that belongs to it.
func (d *document) removeFlow(spans [][2]int, i int, kept func(int) bool) error {
	from, to := spans[i][0], spans[i][1]
	first := true
	for j := range i {
		first = first && !kept(j)
	}
	switch {
	case !first:
		from = spans[i-1][1]
	case i+1 < len(spans):
		to = spans[i+1][0]
	}
	if strings.Contains(d.text[from:spans[i][0]], "#") || strings.Contains(d.text[spans[i][1]:to], "#") {
		return d.refuse(Layout, d.lineOf(from), "a comment stands between the elements")
	}
	d.cuts = append(d.cuts, splice{from: from, to: to})
	return nil
}
