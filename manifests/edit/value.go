package edit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	sigsyaml "sigs.k8s.io/yaml"
)

// value is what a node means, with the order of its keys.
type value struct {
	kind  valueKind
	text  string   // of a string its content, of another scalar its JSON
	keys  []string // of a mapping
	items []*value // of a list, or the values of a mapping
}

type valueKind int

const (
	scalarString valueKind = iota
	scalarOther            // number, boolean, null
	mapping
	list
)

func (v *value) get(key string) *value {
	if i := slices.Index(v.keys, key); v.kind == mapping && i >= 0 {
		return v.items[i]
	}
	return nil
}

func (v *value) isScalar() bool { return v.kind == scalarString || v.kind == scalarOther }

func (v *value) isNull() bool { return v.kind == scalarOther && v.text == "null" }

// same tells whether two values mean the same; the order of keys does not
// count.
func (v *value) same(o *value) bool {
	if v.kind != o.kind || v.text != o.text || len(v.items) != len(o.items) {
		return false
	}
	for i, item := range v.items {
		other := o.items[i]
		if v.kind == mapping {
			if other = o.get(v.keys[i]); other == nil {
				return false
			}
		}
		if !item.same(other) {
			return false
		}
	}
	return true
}

// valueFrom takes what encoding/json can write. Structs keep the order of their
// fields.
func valueFrom(v any) (*value, error) {
	if already, ok := v.(*value); ok {
		return already, nil
	}
	data, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("value to write: %w", err)
	}
	return valueOfJSON(data)
}

func valueOfJSON(data []byte) (*value, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	return decodeJSON(dec)
}

func decodeJSON(dec *json.Decoder) (*value, error) {
	t, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch t := t.(type) {
	case json.Delim:
		out := &value{kind: list}
		if t == '{' {
			out.kind = mapping
		}
		for dec.More() {
			if out.kind == mapping {
				key, err := dec.Token()
				if err != nil {
					return nil, err
				}
				out.keys = append(out.keys, key.(string)) // what else JSON does not have
			}
			item, err := decodeJSON(dec)
			if err != nil {
				return nil, err
			}
			out.items = append(out.items, item)
		}
		_, err := dec.Token()
		return out, err
	case string:
		return &value{text: t}, nil
	case json.Number:
		return &value{kind: scalarOther, text: t.String()}, nil
	case bool:
		return &value{kind: scalarOther, text: fmt.Sprint(t)}, nil
	default:
		return &value{kind: scalarOther, text: "null"}, nil
	}
}

// valueOf is what a node means to Kubernetes.
func valueOf(n *yaml.Node) (*value, error) {
	switch n.Kind {
	case yaml.ScalarNode:
		return scalarOf(n)
	case yaml.MappingNode:
		out := &value{kind: mapping}
		for i := 0; i+1 < len(n.Content); i += 2 {
			item, err := valueOf(n.Content[i+1])
			if err != nil {
				return nil, err
			}
			out.keys = append(out.keys, n.Content[i].Value)
			out.items = append(out.items, item)
		}
		return out, nil
	case yaml.SequenceNode:
		out := &value{kind: list}
		for _, c := range n.Content {
			item, err := valueOf(c)
			if err != nil {
				return nil, err
			}
			out.items = append(out.items, item)
		}
		return out, nil
	default:
		return nil, fmt.Errorf("line %d: neither scalar nor mapping nor list", n.Line)
	}
}

var plainWord = regexp.MustCompile(`^[A-Za-z]([A-Za-z0-9._/:@-]*[A-Za-z0-9._/@-])?$`)

// words that some version of YAML takes for something else than a string.
var words = []string{"y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"}

func scalarOf(n *yaml.Node) (*value, error) {
	const quoted = yaml.SingleQuotedStyle | yaml.DoubleQuotedStyle | yaml.LiteralStyle | yaml.FoldedStyle
	if n.Style&quoted != 0 || n.Style == 0 && isWord(n.Value) {
		return &value{text: n.Value}, nil
	}
	if n.Style != 0 { // an explicit tag decides
		return &value{text: n.Value}, nil
	}
	if n.Value == "" {
		return &value{kind: scalarOther, text: "null"}, nil
	}
	return resolve(n.Value)
}

func isWord(s string) bool {
	return plainWord.MatchString(s) && !slices.Contains(words, strings.ToLower(s))
}

// resolve reads a plain scalar by the rules that Kubernetes reads it by.
func resolve(plain string) (*value, error) {
	if strings.ContainsAny(plain, "\n") {
		return &value{text: plain}, nil
	}
	data, err := sigsyaml.YAMLToJSON([]byte("- " + plain + "\n"))
	if err != nil {
		return nil, fmt.Errorf("plain scalar: %w", err)
	}
	v, err := valueOfJSON(data)
	if err != nil || len(v.items) != 1 {
		return nil, fmt.Errorf("plain scalar: %w", err)
	}
	return v.items[0], nil
}

// mergeKeys are Kubernetes' merge keys of the lists in a pod template, and of
// the lists of a kustomization.
var mergeKeys = []string{"name", "containerPort", "mountPath", "devicePath", "ip", "topologyKey"}

// keyed finds the merge key by which the elements of all lists can be told
// apart; "" when there is none.
func keyed(lists ...*value) string {
	for _, key := range mergeKeys {
		if !slices.ContainsFunc(lists, func(l *value) bool { return !keyedBy(l, key) }) {
			return key
		}
	}
	return ""
}

func keyedBy(l *value, key string) bool {
	seen := map[string]bool{}
	for _, item := range l.items {
		k := item.get(key)
		if k == nil || !k.isScalar() || seen[k.text] {
			return false
		}
		seen[k.text] = true
	}
	return true
}

func keyTexts(l *value, key string) []string {
	out := make([]string, len(l.items))
	for i, item := range l.items {
		out[i] = item.get(key).text
	}
	return out
}
