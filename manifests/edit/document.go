package edit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/belay-dev/belay/manifests"
)

// document is one document of a file, ready to be edited. Offsets are into its
// text.
type document struct {
	file   string
	before int // lines of the file above it
	text   string
	top    *yaml.Node
	lines  []int // where each line begins
	eol    string
	style  layout
	isJSON bool
	cuts   []splice
}

// layout is how the document indents.
type layout struct {
	step int // of a mapping within a mapping
	list int // of a list below its key
}

// splice replaces the bytes [from, to).
type splice struct {
	from, to int
	text     string
}

func (d *document) refuse(reason Reason, line int, format string, args ...any) *Refusal {
	if line > 0 {
		line += d.before
	}
	return &Refusal{Reason: reason, File: d.file, Line: line, Message: fmt.Sprintf(format, args...)}
}

// open parses one document of a file and refuses what cannot be edited at all.
func open(file string, src manifests.Document) (*document, error) {
	d := &document{file: file, before: src.Before, text: string(src.Text), eol: "\n", style: layout{step: 2}}
	if !utf8.ValidString(d.text) {
		return nil, d.refuse(Encoding, 0, "is not UTF-8")
	}
	if line, bad := oddBreak(d.text); bad {
		return nil, d.refuse(LineBreaks, line, "has a line end that is neither LF nor CRLF")
	}
	for i := range len(d.text) {
		if i == 0 || d.text[i-1] == '\n' {
			d.lines = append(d.lines, i)
		}
	}
	if i := strings.IndexByte(d.text, '\n'); i > 0 && d.text[i-1] == '\r' {
		d.eol = "\r\n"
	}
	d.isJSON = json.Valid(src.Text)
	top, err := parse(src.Text)
	if err != nil {
		return nil, d.syntax(err)
	}
	if top.Kind != yaml.MappingNode && top.Kind != yaml.SequenceNode {
		return nil, d.refuse(WrongShape, top.Line, "is neither mapping nor list")
	}
	d.top = top
	if err := d.inspect(top); err != nil {
		return nil, err
	}
	d.measure()
	return d, nil
}

var (
	lineInText  = regexp.MustCompile(`^yaml: line (\d+): `)
	valueInText = regexp.MustCompile("`[^`]*`|: map\\[.*")
)

// syntax refuses what the parser did, without the values that it quotes.
func (d *document) syntax(err error) *Refusal {
	text, line := err.Error(), 0
	if m := lineInText.FindStringSubmatch(text); m != nil {
		line, _ = strconv.Atoi(m[1]) // digits only
		text = "yaml: " + text[len(m[0]):]
	}
	if strings.Contains(d.text, "{{") {
		return d.refuse(Template, line, "is a template: %s", valueInText.ReplaceAllString(text, ""))
	}
	return d.refuse(Syntax, line, "%s", valueInText.ReplaceAllString(text, ""))
}

// parse reads the one document of a text.
func parse(data []byte) (top *yaml.Node, err error) {
	defer func() {
		if r := recover(); r != nil {
			top, err = nil, fmt.Errorf("yaml: cannot be read: %v", r)
		}
	}()
	var doc, more yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(data))
	if err := dec.Decode(&doc); err != nil {
		return nil, err
	}
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, errors.New("yaml: more than one document")
	}
	if len(doc.Content) != 1 {
		return nil, errors.New("yaml: empty document")
	}
	return doc.Content[0], nil
}

// oddBreak finds what a YAML parser counts as a line end and hardly anybody
// else does.
func oddBreak(text string) (line int, bad bool) {
	line = 1
	for i, r := range text {
		switch r {
		case '\n':
			line++
		case '\r':
			if i+1 >= len(text) || text[i+1] != '\n' {
				return line, true
			}
		case '\u0085', '\u2028', '\u2029':
			return line, true
		}
	}
	return 0, false
}

const maxDepth = 100

// inspect refuses documents in which one place stands for several.
func (d *document) inspect(top *yaml.Node) error {
	var walk func(n *yaml.Node, depth int) error
	walk = func(n *yaml.Node, depth int) error {
		switch {
		case n.Kind == yaml.AliasNode:
			return d.refuse(Anchors, n.Line, "an alias stands for another place of the document")
		case n.Anchor != "":
			return d.refuse(Anchors, n.Line, "an anchor makes one value stand in several places")
		case depth > maxDepth:
			return d.refuse(Layout, n.Line, "nested more than %d deep", maxDepth)
		case n.Kind == yaml.MappingNode:
			seen := map[string]bool{}
			for i := 0; i < len(n.Content); i += 2 {
				k := n.Content[i]
				if k.Tag == "!!merge" {
					return d.refuse(Anchors, k.Line, "a merge key takes its values from another place")
				}
				if k.Kind == yaml.ScalarNode && seen[k.Value] {
					return d.refuse(Duplicate, k.Line, "key %q is already set in this mapping", k.Value)
				}
				seen[k.Value] = true
			}
		}
		for _, c := range n.Content {
			if err := walk(c, depth+1); err != nil {
				return err
			}
		}
		return nil
	}
	return walk(top, 0)
}

// measure learns the indentation from the first places that show it.
func (d *document) measure() {
	stepKnown, listKnown := false, false
	var walk func(n *yaml.Node)
	walk = func(n *yaml.Node) {
		if n.Style&yaml.FlowStyle != 0 || stepKnown && listKnown {
			return
		}
		for i, c := range n.Content {
			if n.Kind == yaml.MappingNode && i%2 == 1 && c.Style&yaml.FlowStyle == 0 && c.Line > n.Content[i-1].Line {
				key := n.Content[i-1]
				switch {
				case c.Kind == yaml.MappingNode && !stepKnown && c.Column > key.Column:
					d.style.step, stepKnown = c.Column-key.Column, true
				case c.Kind == yaml.SequenceNode && !listKnown:
					d.style.list, listKnown = max(0, c.Column-key.Column), true
				}
			}
			walk(c)
		}
	}
	walk(d.top)
}

// offset turns a position of the parser, lines and characters from 1, into
// bytes.
func (d *document) offset(line, column int) int {
	if line < 1 || line > len(d.lines) {
		return len(d.text)
	}
	at := d.lines[line-1]
	for ; column > 1 && at < len(d.text); column-- {
		_, size := utf8.DecodeRuneInString(d.text[at:])
		at += size
	}
	return at
}

func (d *document) start(n *yaml.Node) int { return d.offset(n.Line, n.Column) }

// lineStart is where the line of an offset begins.
func (d *document) lineStart(at int) int {
	return strings.LastIndexByte(d.text[:at], '\n') + 1
}

// nextLine is where the line after an offset begins, or the end of the text.
func (d *document) nextLine(at int) int {
	if i := strings.IndexByte(d.text[at:], '\n'); i >= 0 {
		return at + i + 1
	}
	return len(d.text)
}

// lineOf is the number of an offset's line.
func (d *document) lineOf(at int) int { return strings.Count(d.text[:at], "\n") + 1 }
