package edit

import (
	"fmt"
	"strings"

	"pgregory.net/rapid"
)

// node is what the generator wrote: where, and how it is reached.
type node struct {
	path     Path
	from, to int  // of the value
	line     int  // where the first line of its entry begins
	next     int  // where the line after its entry begins
	scalar   bool // a scalar
	null     bool // nothing at all
	mapping  bool // a block mapping
	first    bool // first entry of a mapping behind a dash
	only     bool // the only entry of its mapping or list
	key      bool // an entry of a mapping
	flow     bool // within braces
}

// text writes random YAML and keeps where things are.
type text struct {
	*rapid.T
	b       strings.Builder
	eol     string
	step    int
	compact bool
	nodes   []node
	n       int
}

func (t *text) chance(percent int) bool { return rapid.IntRange(1, 100).Draw(t.T, "chance") <= percent }

func (t *text) write(s string) { t.b.WriteString(s) }

func (t *text) at() int { return t.b.Len() }

func (t *text) pick(list ...string) string { return rapid.SampledFrom(list).Draw(t.T, "pick") }

// document writes a whole document.
func (t *text) document() {
	t.comment(0)
	t.mapping(nil, 0, 0)
}

// comment writes a line that must stay.
func (t *text) comment(indent int) {
	switch {
	case t.chance(15):
		t.write(strings.Repeat(" ", indent) + "# é: {a} - \"b" + t.eol)
	case t.chance(10):
		t.write(t.eol)
	}
}

// name gives every key another name.
func (t *text) name() (written, key string) {
	t.n++
	key = fmt.Sprintf("k%d", t.n)
	switch {
	case t.chance(10):
		key = fmt.Sprintf("app.example/k%d", t.n)
	case t.chance(10):
		return fmt.Sprintf("%q", key), key
	}
	return key, key
}

// mapping writes a block mapping; behind a dash its first line is begun already.
func (t *text) mapping(path Path, indent, depth int) {
	count := rapid.IntRange(1, 4).Draw(t.T, "entries")
	for i := range count {
		begun := i == 0 && strings.HasSuffix(t.b.String(), "- ")
		if !begun {
			if i > 0 && !t.dashAbove(path) || len(path) == 0 {
				t.comment(indent)
			}
		}
		written, key := t.name()
		n := node{path: path.With(Key(key)), line: t.lineStart(), key: true, first: begun, only: count == 1}
		if !begun {
			t.write(strings.Repeat(" ", indent))
		}
		t.write(written + ":")
		t.value(n, indent, depth)
	}
}

// dashAbove tells whether the mapping is an element: a comment before its second
// entry would keep the first from being taken out.
func (t *text) dashAbove(path Path) bool {
	return len(path) > 0 && path[len(path)-1].kind != stepKey
}

func (t *text) lineStart() int {
	s := t.b.String()
	if i := strings.LastIndexByte(s, '\n'); i >= 0 {
		return i + 1
	}
	return len(s) - len(strings.TrimPrefix(s, "\ufeff"))
}

// value writes what follows a colon or a dash, and the end of its line.
func (t *text) value(n node, indent, depth int) {
	kind := rapid.IntRange(0, 9).Draw(t.T, "kind")
	switch {
	case depth < 3 && kind < 3 && n.key:
		n.mapping = true
		t.write(t.trailing() + t.eol)
		n.from = t.at()
		at := len(t.nodes)
		t.nodes = append(t.nodes, n)
		t.mapping(n.path, indent+t.step, depth+1)
		t.nodes[at].to, t.nodes[at].next = t.at(), t.at()
		return
	case depth < 3 && kind < 5 && n.key:
		t.write(t.trailing() + t.eol)
		n.from = t.at()
		at := len(t.nodes)
		t.nodes = append(t.nodes, n)
		t.list(n.path, indent, depth+1)
		t.nodes[at].to, t.nodes[at].next = t.at(), t.at()
		return
	case kind == 5:
		t.block(n, indent)
		return
	case kind == 6:
		t.flow(n)
		return
	}
	if n.key && t.chance(10) {
		n.null, n.from, n.to = true, t.at(), t.at()
	} else {
		t.write(" " + strings.Repeat(" ", rapid.IntRange(0, 1).Draw(t.T, "space")))
		n.from = t.at()
		t.write(t.scalar(false))
		n.scalar, n.to = true, t.at()
	}
	t.write(t.trailing() + t.eol)
	n.next = t.at()
	t.nodes = append(t.nodes, n)
}

func (t *text) trailing() string { return t.pick("", "", "", " # why: [x", "   #", " ") }

func (t *text) scalar(flow bool) string {
	list := []string{"1", "web:1", "registry.example:5000/a/b:1.2@sha256:00ff", "true", "~", "'it''s'", `"a \"b\" # no"`, "ünï", "1.20", `"1.20"`, "10Gi", `""`, "a-b", "'x: y'"}
	if !flow {
		list = append(list, "a, b [c]", "two  words", "a#b", "http://x/?y={z}")
	}
	return rapid.SampledFrom(list).Draw(t.T, "scalar")
}

// block writes a literal or folded scalar.
func (t *text) block(n node, indent int) {
	t.write(" ")
	n.from, n.scalar = t.at(), true
	t.write(t.pick("|", "|-", ">", ">-", "| # note"))
	pad := strings.Repeat(" ", indent+2)
	for i := range rapid.IntRange(1, 3).Draw(t.T, "lines") {
		if i > 0 && t.chance(20) {
			t.write(t.eol)
		}
		words := []string{"text", "a: b", "- é", "# none", "\tx"}
		if i == 0 {
			words = words[:3]
		}
		t.write(t.eol + pad + t.pick(words...))
	}
	n.to = t.at()
	t.write(t.eol)
	n.next = t.at()
	t.nodes = append(t.nodes, n)
}

// flow writes a collection on one line.
func (t *text) flow(n node) {
	t.write(" ")
	n.from = t.at()
	inner := []node{}
	if t.chance(50) {
		t.write("{")
		count := rapid.IntRange(0, 3).Draw(t.T, "count")
		for i := range count {
			if i > 0 {
				t.write(t.pick(", ", ",", " , "))
			}
			_, key := t.name()
			t.write(key + ": ")
			in := node{path: n.path.With(Key(key)), from: t.at(), scalar: true, key: true, flow: true, only: count == 1}
			t.write(t.scalar(true))
			in.to = t.at()
			inner = append(inner, in)
		}
		t.write("}")
	} else {
		t.write("[")
		for i := range rapid.IntRange(0, 3).Draw(t.T, "count") {
			if i > 0 {
				t.write(", ")
			}
			in := node{path: n.path.With(At(i)), from: t.at(), scalar: true, flow: true}
			t.write(t.scalar(true))
			in.to = t.at()
			inner = append(inner, in)
		}
		t.write("]")
	}
	n.to = t.at()
	t.write(t.trailing() + t.eol)
	n.next = t.at()
	t.nodes = append(append(t.nodes, n), inner...)
}

// list writes a block list of scalars, or of mappings with or without a merge
// key.
func (t *text) list(path Path, indent, depth int) {
	if !t.compact {
		indent += t.step
	}
	count := rapid.IntRange(1, 3).Draw(t.T, "elements")
	kind := t.pick("scalars", "named", "mappings")
	for i := range count {
		if i > 0 {
			t.comment(indent)
		}
		n := node{line: t.at(), only: count == 1}
		t.write(strings.Repeat(" ", indent) + "-")
		switch kind {
		case "scalars":
			n.path = path.With(At(i))
			t.value(n, indent, 9)
			continue
		case "named":
			t.n++
			name := fmt.Sprintf("n%d", t.n)
			n.path = path.With(Element("name", name))
			t.write(" ")
			n.from = t.at()
			t.write("name: " + name + t.trailing() + t.eol)
			t.mapping(n.path, indent+2, depth+1)
		default:
			n.path = path.With(At(i))
			t.write(" ")
			n.from = t.at()
			t.mapping(n.path, indent+2, depth+1)
		}
		n.to, n.next = t.at(), t.at()
		t.nodes = append(t.nodes, n)
	}
}

// file is a random file: some documents, of which the nodes of one are known.
type file struct {
	src   string
	doc   int
	nodes []node
	text  *text
}

func randomFile(t *rapid.T) file {
	w := &text{T: t, eol: rapid.SampledFrom([]string{"\n", "\n", "\r\n"}).Draw(t, "eol"), step: rapid.IntRange(1, 4).Draw(t, "step"), compact: rapid.Bool().Draw(t, "compact")}
	f := file{text: w}
	if w.chance(10) {
		w.write("\ufeff")
	}
	count := rapid.IntRange(1, 3).Draw(t, "documents")
	f.doc = rapid.IntRange(0, count-1).Draw(t, "document")
	for i := range count {
		if i > 0 || w.chance(20) {
			w.write("---" + w.eol)
		}
		w.nodes = nil
		w.document()
		if i == f.doc {
			f.nodes = w.nodes
		}
	}
	f.src = w.b.String()
	if w.chance(15) && f.doc < count-1 {
		f.src = strings.TrimSuffix(f.src, w.eol)
	}
	return f
}
