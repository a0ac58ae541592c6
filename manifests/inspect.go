package manifests

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"
)

// declared is a document of a file that names an object.
type declared struct {
	kind, name, namespace string
	line                  int
}

// inspection is what is known of a file before kustomize sees it. It depends on
// the file's bytes alone.
type inspection struct {
	refusal   *pathError // too much to decode
	line      int        // of the refusal
	syntax    string     // why it is no YAML; no refusal, as it may be data
	syntaxAt  int
	duplicate *duplicateKey
	documents []declared
	builtin   bool // may hold the configuration of a generator or transformer
}

// inspect looks at a file as YAML without expanding anything.
func inspect(data []byte) inspection {
	in := inspection{builtin: bytes.Contains(data, []byte("builtin"))}
	if bytes.IndexByte(data, 0) >= 0 && !bytes.HasPrefix(data, []byte("\xff\xfe")) && !bytes.HasPrefix(data, []byte("\xfe\xff")) {
		return in // binary: kustomize cannot read it as YAML either
	}
	if crowded(data) {
		in.refusal, in.line = &pathError{reason: TooComplex, text: fmt.Sprintf("holds more than %d separators", maxSeparators)}, 1
		return in
	}
	docs, err := nodes(data)
	for _, n := range docs {
		if in.refusal, in.line = complexity(n, 0); in.refusal != nil {
			return in
		}
		if in.duplicate == nil {
			if dups := duplicateKeys(n, ""); len(dups) > 0 {
				in.duplicate = &dups[0]
			}
		}
		in.declare(n)
	}
	if err != nil {
		in.syntax, in.syntaxAt = syntaxError(err, 0)
	}
	return in
}

// nodes parses all documents of a file up to the first that is no YAML.
func nodes(data []byte) (docs []*yaml.Node, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("yaml: cannot be read: %v", r)
		}
	}()
	dec := yaml.NewDecoder(bytes.NewReader(data))
	for {
		n := new(yaml.Node)
		if err := dec.Decode(n); errors.Is(err, io.EOF) {
			return docs, nil
		} else if err != nil {
			return docs, err
		}
		docs = append(docs, n)
	}
}

// maxEmbedded bounds YAML in the strings of YAML, such as inline patches.
const maxEmbedded = 3

// complexity measures a document, and the strings in it that would expand when
// they are read as YAML themselves.
func complexity(n *yaml.Node, level int) (*pathError, int) {
	if bad := tooComplex(n); bad != nil {
		return bad, n.Line
	}
	if level == maxEmbedded {
		return nil, 0
	}
	return embedded(n, level)
}

func embedded(n *yaml.Node, level int) (*pathError, int) {
	if n.Kind == yaml.ScalarNode {
		if !suspicious(n.Value) {
			return nil, 0
		}
		docs, _ := nodes([]byte(n.Value)) // a string that is no YAML is only a string
		for _, d := range docs {
			if bad, _ := complexity(d, level+1); bad != nil {
				return bad, n.Line
			}
		}
		return nil, 0
	}
	if n.Kind == yaml.AliasNode {
		return nil, 0 // measured where the anchor is
	}
	for _, c := range n.Content {
		if bad, line := embedded(c, level); bad != nil {
			return bad, line
		}
	}
	return nil, 0
}

// suspicious tells whether a string could be YAML that expands or nests much.
func suspicious(s string) bool {
	if strings.Contains(s, "*") && strings.Contains(s, "&") {
		return true
	}
	return strings.Count(s, "[")+strings.Count(s, "{")+strings.Count(s, "- ")+strings.Count(s, "? ") > maxNodeDepth
}

func (in *inspection) declare(n *yaml.Node) {
	if n.Kind == yaml.DocumentNode && len(n.Content) == 1 {
		n = n.Content[0]
	}
	kind := child(n, "kind")
	meta := child(n, "metadata")
	name := child(meta, "name")
	if kind == nil || name == nil {
		if items := child(n, "items"); items != nil && target(items).Kind == yaml.SequenceNode {
			for _, item := range target(items).Content {
				in.declare(item)
			}
		}
		return
	}
	d := declared{kind: kind.Value, name: name.Value, line: n.Line}
	if namespace := child(meta, "namespace"); namespace != nil {
		d.namespace = namespace.Value
	}
	in.documents = append(in.documents, d)
}

// syntaxError is the text of a YAML error with the line counted from the start
// of the file, and without the values that parsers quote.
func syntaxError(err error, before int) (text string, line int) {
	text = strings.TrimPrefix(err.Error(), "error converting YAML to JSON: ")
	line = before + 1
	if m := lineInText.FindStringSubmatchIndex(text); m != nil {
		var n int
		if _, scanErr := fmt.Sscan(text[m[2]:m[3]], &n); scanErr == nil {
			line = before + n
			text = fmt.Sprintf("%sline %d: %s", text[:m[0]], line, text[m[1]:])
		}
	}
	text = valueInText.ReplaceAllStringFunc(text, func(s string) string {
		if strings.HasPrefix(s, "anchor") {
			return "anchor"
		}
		return "`...`"
	})
	return text, line
}

// inspections keeps what is known of files by their hash, so that a base that
// thousands of roots share is looked at once.
type inspections struct {
	mu    sync.Mutex
	known map[string]*inspection
}

const maxInspections = 50_000

func (c *inspections) of(hash string, data []byte) *inspection {
	c.mu.Lock()
	in := c.known[hash]
	c.mu.Unlock()
	if in != nil && hash != "" {
		return in
	}
	fresh := inspect(data)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known == nil || len(c.known) >= maxInspections {
		c.known = map[string]*inspection{}
	}
	c.known[hash] = &fresh
	return &fresh
}

// yamlName tells whether a name is that of a YAML file.
func yamlName(name string) bool {
	ext := path.Ext(name)
	return ext == ".yaml" || ext == ".yml" || isKustomization(path.Base(name))
}
