package manifests

import (
	"fmt"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// child returns the value node of a key in a mapping.
func child(n *yaml.Node, key string) *yaml.Node {
	n = target(n)
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// target follows an alias to what it stands for.
func target(n *yaml.Node) *yaml.Node {
	if n != nil && n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// tooComplex refuses a document that would be too much to decode: aliases that
// multiply (each is counted as often as it expands), aliases within themselves,
// and deep nesting. It takes time proportional to the document as written.
func tooComplex(n *yaml.Node) *pathError {
	m := measure{nodes: map[*yaml.Node]int{}, depths: map[*yaml.Node]int{}, open: map[*yaml.Node]bool{}}
	count, depth, err := m.of(n, 0)
	switch {
	case err != nil:
		return err
	case depth > maxNodeDepth:
		return &pathError{reason: TooDeep, text: fmt.Sprintf("nested more than %d deep", maxNodeDepth)}
	case count > maxNodes:
		return &pathError{reason: TooComplex, text: fmt.Sprintf("expands to more than %d nodes", maxNodes)}
	}
	return nil
}

// maxSeparators bounds what is parsed at all: every node of a document takes a
// separator, and some hundred bytes of memory.
const maxSeparators = 1_000_000

// crowded tells whether text could hold more nodes than are worth parsing.
func crowded(data []byte) bool {
	if len(data) <= maxSeparators {
		return false
	}
	n := 0
	for _, c := range data {
		switch c {
		case ',', '\n', '[', '{', '-', '?', ':':
			n++
		}
	}
	return n > maxSeparators
}

type measure struct {
	nodes, depths map[*yaml.Node]int // of anchored nodes, once known
	open          map[*yaml.Node]bool
}

func (m *measure) of(n *yaml.Node, level int) (count, depth int, err *pathError) {
	n = target(n)
	if n == nil {
		return 1, 1, nil
	}
	if level > maxNodeDepth {
		return 0, 0, &pathError{reason: TooDeep, text: fmt.Sprintf("nested more than %d deep", maxNodeDepth)}
	}
	if len(n.Content) == 0 {
		return 1, 1, nil
	}
	if n.Anchor != "" {
		if m.open[n] {
			return 0, 0, &pathError{reason: TooComplex, text: fmt.Sprintf("anchor '%s' value contains itself", n.Anchor)}
		}
		if known, ok := m.nodes[n]; ok {
			return known, m.depths[n], nil
		}
		m.open[n] = true
		defer delete(m.open, n)
	}
	count, depth = 1, 1
	for _, c := range n.Content {
		below, deep, err := m.of(c, level+1)
		if err != nil {
			return 0, 0, err
		}
		if count += below; count > maxNodes {
			count = maxNodes + 1
		}
		depth = max(depth, deep+1)
	}
	if n.Anchor != "" {
		m.nodes[n], m.depths[n] = count, depth
	}
	return count, depth, nil
}

// duplicateKey is a key given twice in one mapping.
type duplicateKey struct {
	path string
	key  string
	line int
}

// duplicateKeys finds keys given twice anywhere in a document, in the order of
// the document. Merge keys are not keys.
func duplicateKeys(n *yaml.Node, at string) []duplicateKey {
	var out []duplicateKey
	switch n.Kind {
	case yaml.MappingNode:
		var seen map[string]bool
		if len(n.Content) > 2 {
			seen = make(map[string]bool, len(n.Content)/2)
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			k := n.Content[i]
			here := join(at, k.Value)
			if k.Kind == yaml.ScalarNode && seen != nil && k.Tag != "!!merge" {
				if seen[k.Value] {
					out = append(out, duplicateKey{path: here, key: k.Value, line: k.Line})
				}
				seen[k.Value] = true
			}
			out = append(out, duplicateKeys(n.Content[i+1], here)...)
		}
	case yaml.SequenceNode:
		for i, c := range n.Content {
			out = append(out, duplicateKeys(c, at+"["+strconv.Itoa(i)+"]")...)
		}
	case yaml.DocumentNode:
		for _, c := range n.Content {
			out = append(out, duplicateKeys(c, at)...)
		}
	default: // a scalar has no keys, and an alias those of its anchor
	}
	return out
}

func join(at, key string) string {
	if at == "" {
		return key
	}
	return at + "." + key
}

// lineOf returns the line of the field at a path as Kubernetes writes it
// (spec.containers[0].image, data[some.key], or without the indices of lists).
// Of a path that is not there it is the line of the nearest field above.
func lineOf(n *yaml.Node, p string) int {
	line, _ := locate(n, p, func(*yaml.Node) bool { return true })
	return line
}

// locate walks down a path and returns the line where it ends, and whether it
// ended at a value that fits. Where the path leaves out an index, the first
// element with a fitting value is taken.
func locate(n *yaml.Node, p string, fits func(*yaml.Node) bool) (line int, ok bool) {
	n = target(n)
	if n == nil {
		return 0, false
	}
	if n.Kind == yaml.DocumentNode && len(n.Content) > 0 {
		return locate(n.Content[0], p, fits)
	}
	p = strings.TrimPrefix(p, ".")
	if p == "" {
		return n.Line, fits(n)
	}
	switch n.Kind {
	case yaml.MappingNode:
		return locateKey(n, p, fits)
	case yaml.SequenceNode:
		return locateIndex(n, p, fits)
	default:
		return n.Line, false
	}
}

func locateKey(n *yaml.Node, p string, fits func(*yaml.Node) bool) (int, bool) {
	best, rest := -1, ""
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i].Value
		after, ok := cutKey(p, key)
		// A key may hold dots: the longest that fits is meant. Of a key given
		// twice the last counts, as it does when decoding.
		if ok && (best < 0 || len(key) >= len(n.Content[best].Value)) {
			best, rest = i, after
		}
	}
	if best < 0 {
		// The validation of pod templates leaves "metadata" out of some paths.
		if meta := child(n, "metadata"); meta != nil && (strings.HasPrefix(p, "labels") || strings.HasPrefix(p, "annotations")) {
			return locate(meta, p, fits)
		}
		return n.Line, false
	}
	key, value := n.Content[best], n.Content[best+1]
	line, ok := locate(value, rest, fits)
	if rest == "" || !ok && line == value.Line && value.Kind == yaml.MappingNode {
		line = key.Line
	}
	return line, ok
}

// cutKey takes one key off the front of a path.
func cutKey(p, key string) (rest string, ok bool) {
	if after, found := strings.CutPrefix(p, "["+key+"]"); found {
		return after, true
	}
	after, found := strings.CutPrefix(p, key)
	if !found || after != "" && after[0] != '.' && after[0] != '[' {
		return "", false
	}
	return after, true
}

func locateIndex(n *yaml.Node, p string, fits func(*yaml.Node) bool) (int, bool) {
	if p[0] == '[' {
		if end := strings.IndexByte(p, ']'); end > 0 {
			if i, err := strconv.Atoi(p[1:end]); err == nil {
				if i < 0 || i >= len(n.Content) {
					return n.Line, false
				}
				return locate(n.Content[i], p[end+1:], fits)
			}
		}
	}
	first := n.Line
	for i, c := range n.Content {
		line, ok := locate(c, p, fits)
		if ok {
			return line, true
		}
		if i == 0 {
			first = line
		}
	}
	return first, false
}
