package edit

import (
	"strconv"
	"strings"
)

// Step is one step down into a document. Make one with Key, Element or At.
type Step struct {
	key   string
	value string
	index int
	kind  stepKind
}

type stepKind int

const (
	stepKey stepKind = iota
	stepElement
	stepAt
)

// Key is the entry of a mapping.
func Key(name string) Step { return Step{key: name} }

// Element is the element of a list whose merge key has a value, such as name:
// web.
func Element(mergeKey, value string) Step {
	return Step{kind: stepElement, key: mergeKey, value: value}
}

// At is the element of a list at a position, from 0.
func At(i int) Step { return Step{kind: stepAt, index: i} }

// Path leads from the top of a document to a node.
type Path []Step

// Keys is a path of mapping keys.
func Keys(names ...string) Path {
	p := make(Path, len(names))
	for i, n := range names {
		p[i] = Key(n)
	}
	return p
}

// With is the path with more steps; p is not changed.
func (p Path) With(steps ...Step) Path {
	return append(append(make(Path, 0, len(p)+len(steps)), p...), steps...)
}

// String is the path as Kubernetes writes it: spec.containers[web].image.
func (p Path) String() string {
	var b strings.Builder
	for _, s := range p {
		switch {
		case s.kind == stepElement:
			b.WriteString("[" + s.value + "]")
		case s.kind == stepAt:
			b.WriteString("[" + strconv.Itoa(s.index) + "]")
		case strings.ContainsAny(s.key, ".[]/ "):
			b.WriteString("[" + s.key + "]")
		default:
			if b.Len() > 0 {
				b.WriteByte('.')
			}
			b.WriteString(s.key)
		}
	}
	return b.String()
}
