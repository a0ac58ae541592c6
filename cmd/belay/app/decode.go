package app

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// parseConfig decodes one YAML document over the defaults, refuses what the types do not name, cleans paths and
// validates. It goes on after a problem, so that one run shows all of them.
func parseConfig(file string, data []byte) (Config, error) {
	c := DefaultConfig()
	d := decoder{lines: map[string]int{}}
	d.document(data, &c)

	for i := range c.Sources {
		for j := range c.Sources[i].Apps {
			a := &c.Sources[i].Apps[j]
			a.Path = cleanPath(a.Path)
		}
	}
	undecoded := d.problems
	for _, p := range c.problems() {
		if slices.ContainsFunc(undecoded, func(u Problem) bool { return u.covers(p.Key) }) {
			continue
		}
		p.Line = d.line(p.Key)
		d.problems = append(d.problems, p)
	}
	slices.SortStableFunc(d.problems, func(a, b Problem) int { return a.Line - b.Line })
	return c, invalid(file, d.problems)
}

// covers says whether a problem found while decoding makes one at key, found later, an echo of itself.
func (p Problem) covers(key string) bool {
	return p.Key == "" || key == p.Key || strings.HasPrefix(key, p.Key+".") || strings.HasPrefix(key, p.Key+"[")
}

// decoder fills values from YAML nodes, directed by the type: a key that the type does not have is a problem.
// The recursion follows the type and not the document, so a document that contains itself ends too.
type decoder struct {
	problems []Problem
	lines    map[string]int // key path → line
}

func (d *decoder) problem(key string, line int, format string, args ...any) {
	d.problems = append(d.problems, Problem{Key: key, Line: line, Message: fmt.Sprintf(format, args...)})
}

// line finds the line of a key, or of the nearest key around it that the file has.
func (d *decoder) line(key string) int {
	for key != "" {
		if line, ok := d.lines[key]; ok {
			return line
		}
		key = key[:max(0, strings.LastIndexAny(key, ".["))]
	}
	return 0
}

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

func (d *decoder) document(data []byte, c *Config) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, second yaml.Node
	err := dec.Decode(&doc)
	if errors.Is(err, io.EOF) {
		return
	}
	if err == nil {
		d.value(doc.Content[0], "", reflect.ValueOf(c).Elem())
		if err = dec.Decode(&second); errors.Is(err, io.EOF) {
			return
		}
		if err == nil {
			d.problem("", second.Line, "a second document: one file holds one configuration")
			return
		}
	}
	m := yamlLine.FindStringSubmatch(err.Error())
	line := 0
	if m != nil {
		line, _ = strconv.Atoi(m[1]) // an absent line number stays 0
	}
	d.problem("", line, "%s", yamlLine.ReplaceAllString(err.Error(), ""))
}

// value decodes n into v, which holds the default.
func (d *decoder) value(n *yaml.Node, key string, v reflect.Value) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	switch elem := v.Addr().Interface().(type) {
	case *SourceConfig:
		*elem = DefaultSource()
	case *AppConfig:
		*elem = DefaultApp()
	}
	if isNull(n) {
		if v.Kind() != reflect.Slice && key != "" {
			d.problem(key, n.Line, "has no value")
		}
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.value(n, key, v.Elem())
	case reflect.Struct:
		d.mapping(n, key, v)
	case reflect.Slice:
		if n.Kind != yaml.SequenceNode {
			d.problem(key, n.Line, "want a list, not %s", kindOf(n))
			return
		}
		for i, item := range n.Content {
			elem := reflect.New(v.Type().Elem()).Elem()
			at := fmt.Sprintf("%s[%d]", key, i)
			d.lines[at] = item.Line
			d.value(item, at, elem)
			v.Set(reflect.Append(v, elem))
		}
	default:
		d.scalar(n, key, v)
	}
}

func (d *decoder) mapping(n *yaml.Node, key string, v reflect.Value) {
	if n.Kind != yaml.MappingNode {
		d.problem(key, n.Line, "want keys and values, not %s", kindOf(n))
		return
	}
	fields := map[string]int{}
	var names []string
	for i := range v.NumField() {
		name := v.Type().Field(i).Tag.Get("yaml")
		fields[name] = i
		names = append(names, name)
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, val := n.Content[i], n.Content[i+1]
		at := join(key, name.Value)
		field, known := fields[name.Value]
		first, again := seen[name.Value]
		switch {
		case !known || name.Kind != yaml.ScalarNode:
			d.problem(at, name.Line, "unknown key%s", suggest(name.Value, names))
		case again:
			d.problem(at, name.Line, "set twice, first on line %d", first)
		default:
			seen[name.Value] = name.Line
			d.lines[at] = name.Line
			d.value(val, at, v.Field(field))
		}
	}
}

func (d *decoder) scalar(n *yaml.Node, key string, v reflect.Value) {
	if n.Kind != yaml.ScalarNode {
		d.problem(key, n.Line, "want one value, not %s", kindOf(n))
		return
	}
	if v.Type() == reflect.TypeFor[time.Duration]() {
		t, err := time.ParseDuration(n.Value)
		if err != nil {
			d.problem(key, n.Line, "want a duration with its unit, such as 15s, not %q", n.Value)
			return
		}
		v.SetInt(int64(t))
		return
	}
	if err := n.Decode(v.Addr().Interface()); err != nil {
		want := map[reflect.Kind]string{reflect.Bool: "true or false", reflect.Int: "a whole number", reflect.Int64: "a size such as 512Mi"}[v.Kind()]
		d.problem(key, n.Line, "want %s, not %q", orDefault(want, "text"), n.Value)
	}
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "keys and values"
	case yaml.SequenceNode:
		return "a list"
	default:
		return fmt.Sprintf("%q", n.Value)
	}
}

var plainKey = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

func join(key, name string) string {
	if !plainKey.MatchString(name) {
		name = strconv.Quote(name)
	}
	if key == "" {
		return name
	}
	return key + "." + name
}

// suggest names the key that was probably meant, if one is near.
func suggest(name string, names []string) string {
	best, distance := "", 3
	for _, candidate := range names {
		n := editDistance(strings.ToLower(name), strings.ToLower(candidate))
		if n < distance && n < len(candidate)/2+1 {
			best, distance = candidate, n
		}
	}
	if best == "" {
		return ""
	}
	return ", did you mean " + best
}

// editDistance counts the insertions, deletions and replacements that turn a into b.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
