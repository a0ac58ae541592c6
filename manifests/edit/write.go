package edit

import (
	"encoding/json"
	"regexp"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"
)

// keyText is how a key is written.
func keyText(key string) string {
	if isWord(key) || simpleKey.MatchString(key) {
		return key
	}
	return doubleQuoted(key)
}

// simpleKey is a label's or an annotation's usual name.
var simpleKey = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]*([._/-][A-Za-z0-9]+)+$`)

// styled writes a scalar in the style of the one that it replaces, as far as
// that can hold it.
func styled(v *value, style yaml.Style, flow bool) string {
	switch {
	case v.kind == scalarOther:
		return v.text
	case style&yaml.SingleQuotedStyle != 0 && printable(v.text):
		return "'" + strings.ReplaceAll(v.text, "'", "''") + "'"
	case style&yaml.DoubleQuotedStyle != 0:
		return doubleQuoted(v.text)
	}
	return flowText(v, flow)
}

var (
	safeStart = regexp.MustCompile(`^[\pL0-9./_$(+=-]`)
	flowMarks = ",[]{}"
)

// plain tells whether a string may stand without quotes.
func plain(s string, flow bool) bool {
	switch {
	case isWord(s):
		return !flow || !strings.ContainsAny(s, flowMarks)
	case !printable(s), !safeStart.MatchString(s), strings.HasPrefix(s, "- "), s == "-", strings.HasPrefix(s, "---"),
		strings.Contains(s, ": "), strings.HasSuffix(s, ":"), strings.Contains(s, " #"), strings.TrimSpace(s) != s,
		flow && (strings.ContainsAny(s, flowMarks) || strings.Contains(s, ":")):
		return false
	}
	if v, err := resolve(s); err != nil || v.kind != scalarString || v.text != s {
		return false
	}
	var any interface{}
	if err := yaml.Unmarshal([]byte(s), &any); err != nil {
		return false
	}
	text, isString := any.(string)
	return isString && text == s && !sexagesimal.MatchString(s)
}

// sexagesimal are numbers to YAML 1.1 in base sixty, such as 12:30.
var sexagesimal = regexp.MustCompile(`^[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?$`)

func printable(s string) bool {
	for _, r := range s {
		if r != ' ' && !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}

// doubleQuoted writes a string as JSON does, which YAML reads alike.
func doubleQuoted(s string) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // a string can always be written
	return strings.ReplaceAll(strings.TrimSuffix(b.String(), "\n"), "\x7f", `\u007f`)
}

// flowText writes any value on one line.
func flowText(v *value, flow bool) string {
	switch v.kind {
	case scalarOther:
		return v.text
	case scalarString:
		if plain(v.text, flow) {
			return v.text
		}
		return doubleQuoted(v.text)
	case mapping:
		parts := make([]string, len(v.keys))
		for i, k := range v.keys {
			parts[i] = flowEntry(k, v.items[i])
		}
		return "{" + strings.Join(parts, ", ") + "}"
	default:
		parts := make([]string, len(v.items))
		for i, item := range v.items {
			parts[i] = flowText(item, true)
		}
		return "[" + strings.Join(parts, ", ") + "]"
	}
}

func flowEntry(key string, v *value) string { return keyText(key) + ": " + flowText(v, true) }

// inline writes any value on one line, as JSON into a JSON file.
func (d *document) inline(v *value, flow bool) string {
	if d.isJSON {
		return jsonText(v)
	}
	return flowText(v, flow)
}

func (d *document) inlineEntry(key string, v *value) string {
	if d.isJSON {
		return doubleQuoted(key) + ": " + jsonText(v)
	}
	return flowEntry(key, v)
}

func jsonText(v *value) string {
	parts := make([]string, len(v.items))
	for i, item := range v.items {
		if parts[i] = jsonText(item); v.kind == mapping {
			parts[i] = doubleQuoted(v.keys[i]) + ": " + parts[i]
		}
	}
	switch v.kind {
	case scalarString:
		return doubleQuoted(v.text)
	case mapping:
		return "{" + strings.Join(parts, ", ") + "}"
	case list:
		return "[" + strings.Join(parts, ", ") + "]"
	default:
		return v.text
	}
}

// blockValue writes what comes after a key's colon, or after a dash, at a
// column: with the space or the line end in front, without one at the end.
func (d *document) blockValue(v *value, indent int, dash bool) string {
	switch {
	case v.kind == scalarString && strings.Contains(strings.TrimRight(v.text, "\n"), "\n") && literalFits(v.text):
		return " " + d.literal(v.text, indent+d.style.step)
	case v.isScalar() || len(v.items) == 0:
		return " " + d.inline(v, false)
	case v.kind == mapping && dash:
		return " " + strings.TrimLeft(d.blockMapping(v, indent+2), " ")
	case v.kind == mapping:
		return d.eol + d.blockMapping(v, indent+d.style.step)
	case dash:
		return " " + flowText(v, false)
	default:
		return d.eol + d.blockList(v, indent+d.style.list)
	}
}

func (d *document) blockMapping(v *value, indent int) string {
	lines := make([]string, len(v.keys))
	for i, k := range v.keys {
		lines[i] = strings.Repeat(" ", indent) + keyText(k) + ":" + d.blockValue(v.items[i], indent, false)
	}
	return strings.Join(lines, d.eol)
}

func (d *document) blockList(v *value, indent int) string {
	lines := make([]string, len(v.items))
	for i, item := range v.items {
		lines[i] = strings.Repeat(" ", indent) + "-" + d.blockValue(item, indent, true)
	}
	return strings.Join(lines, d.eol)
}

// literalFits tells whether a string can be written as a literal block: lines of
// printable text, the first not indented.
func literalFits(s string) bool {
	body := strings.TrimRight(s, "\n")
	if body == "" || body[0] == ' ' || body[0] == '\t' || body[0] == '\n' || strings.HasSuffix(body, " ") {
		return false
	}
	for _, line := range strings.Split(body, "\n") {
		if !printable(strings.ReplaceAll(line, "\t", " ")) || strings.TrimSpace(line) == "" && line != "" {
			return false
		}
	}
	return len(s)-len(body) <= 1
}

// literal writes a string as a literal block, without a line end after it.
func (d *document) literal(s string, indent int) string {
	head := "|-"
	if strings.HasSuffix(s, "\n") {
		head = "|"
	}
	var b strings.Builder
	b.WriteString(head)
	for _, line := range strings.Split(strings.TrimRight(s, "\n"), "\n") {
		b.WriteString(d.eol)
		if line != "" {
			b.WriteString(strings.Repeat(" ", indent) + line)
		}
	}
	return b.String()
}
