package edit

import (
	"strings"

	"go.yaml.in/yaml/v3"
)

// end returns the offset after the last byte of a node. indent is the column,
// from 0, of what the node belongs to: of its key, or of its dash.
func (d *document) end(n *yaml.Node, indent int) (int, error) {
	from := d.start(n)
	switch {
	case n.Style&yaml.TaggedStyle != 0:
		return 0, d.refuse(Tag, n.Line, "has the tag %s", n.Tag)
	case n.Kind == yaml.ScalarNode:
		return d.scalarEnd(n, from, indent)
	case n.Style&yaml.FlowStyle != 0 || len(n.Content) == 0:
		return d.flowEnd(n, from)
	case n.Kind == yaml.MappingNode:
		return d.end(n.Content[len(n.Content)-1], n.Column-1)
	default:
		return d.end(n.Content[len(n.Content)-1], n.Column-1)
	}
}

func (d *document) scalarEnd(n *yaml.Node, from, indent int) (int, error) {
	rest := d.text[from:]
	switch {
	case n.Style&yaml.DoubleQuotedStyle != 0:
		for i := 1; i < len(rest); i++ {
			switch rest[i] {
			case '\\':
				i++
			case '"':
				return from + i + 1, nil
			}
		}
	case n.Style&yaml.SingleQuotedStyle != 0:
		for i := 1; i < len(rest); i++ {
			if rest[i] != '\'' {
				continue
			}
			if i+1 < len(rest) && rest[i+1] == '\'' {
				i++
				continue
			}
			return from + i + 1, nil
		}
	case n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		return d.blockEnd(from, indent), nil
	default:
		if length, ok := plainLength(rest, n.Value); ok {
			return from + length, nil
		}
	}
	return 0, d.refuse(Layout, n.Line, "the end of the value is not found")
}

// plainLength is how many bytes of text spell a plain scalar, which may run
// over several lines.
func plainLength(text, value string) (int, bool) {
	i := 0
	for j := 0; j < len(value); {
		if i >= len(text) {
			return 0, false
		}
		blank := strings.IndexByte(" \t\r\n", text[i]) >= 0
		switch {
		case text[i] == value[j]:
			i++
			j++
		case blank && (value[j] == ' ' || value[j] == '\n'): // a fold
			i = len(text) - len(strings.TrimLeft(text[i:], " \t\r\n"))
			j = len(value) - len(strings.TrimLeft(value[j:], " \n"))
		case blank: // the fold of a single line end after a space of the value
			i++
		default:
			return 0, false
		}
	}
	return i, true
}

// blockEnd finds the end of a literal or folded scalar: of its last line that
// is not blank, or with "+" of its last line.
func (d *document) blockEnd(from, indent int) int {
	header := d.text[from:]
	if i := strings.IndexByte(header, '\n'); i >= 0 {
		header = header[:i]
	}
	if i := strings.IndexByte(header, '#'); i >= 0 {
		header = header[:i]
	}
	keep := strings.Contains(header, "+")
	end := from + len(strings.TrimRight(header, " \t\r"))
	least := indent + 1
	for at := d.nextLine(from); at < len(d.text); at = d.nextLine(at) {
		line := strings.TrimRight(d.text[at:d.nextLine(at)], "\r\n")
		blank := strings.TrimLeft(line, " ") == ""
		if !blank && len(line)-len(strings.TrimLeft(line, " ")) < least {
			break
		}
		if !blank || keep {
			end = at + len(line)
		}
	}
	return end
}

// flowEnd finds the bracket that closes a flow collection.
func (d *document) flowEnd(n *yaml.Node, from int) (int, error) {
	if from >= len(d.text) || d.text[from] != '{' && d.text[from] != '[' {
		return 0, d.refuse(Layout, n.Line, "the beginning of the collection is not found")
	}
	at := from + 1
	if len(n.Content) > 0 {
		var err error
		if at, err = d.end(n.Content[len(n.Content)-1], n.Column-1); err != nil {
			return 0, err
		}
	}
	for ; at < len(d.text); at++ {
		switch d.text[at] {
		case '}', ']':
			return at + 1, nil
		case '#':
			at = d.nextLine(at) - 1
		case ' ', '\t', '\r', '\n', ',', ':':
		default:
			return 0, d.refuse(Layout, d.lineOf(at), "the end of the collection is not found")
		}
	}
	return 0, d.refuse(Layout, n.Line, "the end of the collection is not found")
}

// tail checks that nothing but a comment follows on the line where a node ends,
// and returns where the next line begins.
func (d *document) tail(end int) (int, error) {
	next := d.nextLine(end)
	rest := strings.TrimSpace(d.text[end:next])
	if rest != "" && rest[0] != '#' {
		return 0, d.refuse(Layout, d.lineOf(end), "something else follows on the same line")
	}
	return next, nil
}

// aloneOnLine checks that only spaces stand before an offset on its line.
func (d *document) aloneOnLine(at int) error {
	if strings.Trim(d.text[d.lineStart(at):at], " ") != "" {
		return d.refuse(Layout, d.lineOf(at), "something else stands before it on the same line")
	}
	return nil
}

// cutLines removes the whole lines from the one where from lies to the one
// where end lies. A file without a final newline stays without one.
func (d *document) cutLines(from, end int) error {
	if err := d.aloneOnLine(from); err != nil {
		return err
	}
	to, err := d.tail(end)
	if err != nil {
		return err
	}
	start := d.lineStart(from)
	if to == len(d.text) && !strings.HasSuffix(d.text, "\n") && strings.HasSuffix(d.text[:start], d.eol) {
		start -= len(d.eol)
	}
	d.cuts = append(d.cuts, splice{from: start, to: to})
	return nil
}

// addLines puts whole lines after the line where end lies.
func (d *document) addLines(end int, text string) error {
	to, err := d.tail(end)
	if err != nil {
		return err
	}
	if !strings.HasSuffix(d.text[:to], "\n") {
		text = d.eol + text
	} else {
		text += d.eol
	}
	d.cuts = append(d.cuts, splice{from: to, to: to, text: text})
	return nil
}
