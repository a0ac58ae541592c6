package manifests

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	appsv1 "k8s.io/api/apps/v1"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/belay-dev/belay/manifests/schema"
)

// decoder collects the objects and problems of one root.
type decoder struct {
	app      App
	root     string
	survey   func(schema.Object) []Finding // nil: finds nothing
	objects  []Object
	problems []Problem
}

// place is where a document lies.
type place struct {
	file   string // as shown
	before int    // lines of the file before the document
	node   *yaml.Node
}

// line is the line in the file of a field of the document; of a kustomize
// result, which has no node, it is 0.
func (p place) line(field string) int {
	if p.node == nil {
		if p.before > 0 || field == "" {
			return p.before
		}
		return 0
	}
	return p.before + lineOf(p.node, field)
}

func (d *decoder) report(p Problem) {
	p.Source, p.App, p.Root = d.app.Source, d.app.Name, clean(d.root)
	p.File, p.Field, p.Message = clean(p.File), clean(p.Field), clean(p.Message)
	d.problems = append(d.problems, p)
}

// file decodes every document of one file.
func (d *decoder) file(name string, data []byte) {
	if text := encodingProblem(data); text != "" {
		d.report(Problem{Reason: Encoding, File: name, Message: text})
		return
	}
	if crowded(data) {
		d.report(Problem{Reason: TooComplex, File: name, Line: 1, Message: fmt.Sprintf("holds more than %d separators", maxSeparators)})
		return
	}
	for _, doc := range split(data) {
		d.document(name, doc)
	}
}

func (d *decoder) document(name string, doc document) {
	at := place{file: name, before: doc.before}
	isJSON := json.Valid(doc.data)
	node, err := parse(doc.data)
	switch {
	case err == nil:
		at.node = node
		if bad := tooComplex(node); bad != nil {
			d.report(Problem{Reason: bad.reason, File: name, Line: doc.before + 1, Message: bad.text})
			return
		}
	case isJSON: // JSON that the YAML parser cannot read, such as surrogate pairs
		at.before++
		if jsonDepth(doc.data) > maxNodeDepth {
			d.report(Problem{Reason: TooDeep, File: name, Line: doc.before + 1, Message: fmt.Sprintf("nested more than %d deep", maxNodeDepth)})
			return
		}
	default:
		d.syntax(at, err)
		return
	}
	raw := doc.data
	if !isJSON {
		if raw, err = toJSON(doc.data); err != nil {
			d.syntax(at, err)
			return
		}
	}
	d.value(raw, at, "", "", "")
}

// parse reads one document. Aliases stay aliases.
func parse(data []byte) (n *yaml.Node, err error) {
	defer func() {
		if r := recover(); r != nil {
			n, err = nil, fmt.Errorf("yaml: cannot be read: %v", r)
		}
	}()
	n = new(yaml.Node)
	dec := yaml.NewDecoder(bytes.NewReader(data))
	if err := dec.Decode(n); err != nil {
		return nil, err
	}
	var more yaml.Node
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		if err == nil {
			err = fmt.Errorf("yaml: line %d: did not find expected <document start>", more.Line)
		}
		return nil, err
	}
	return n, nil
}

// toJSON converts YAML by the same rules as Kubernetes.
func toJSON(data []byte) (out []byte, err error) {
	defer func() {
		if r := recover(); r != nil {
			out, err = nil, fmt.Errorf("yaml: cannot be converted: %v", r)
		}
	}()
	return sigsyaml.YAMLToJSON(data)
}

var (
	lineInText  = regexp.MustCompile(`line (\d+): ?`)
	valueInText = regexp.MustCompile("`[^`]*`|anchor '[^']*'")
)

// syntax reports text that is no YAML, with the line of the file and without
// the values that parsers quote.
func (d *decoder) syntax(at place, err error) {
	text, line := syntaxError(err, at.before)
	d.report(Problem{Reason: Syntax, File: at.file, Line: line, Message: text})
}

// jsonDepth is how deeply JSON is nested.
func jsonDepth(data []byte) int {
	depth, deepest := 0, 0
	quoted := false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			depth++
			deepest = max(deepest, depth)
		case c == '}' || c == ']':
			depth--
		}
	}
	return deepest
}

// value decodes one JSON value found at a path of the document. apiVersion and
// kind are what an item of a typed list may leave out.
func (d *decoder) value(raw []byte, at place, prefix, apiVersion, kind string) {
	var top map[string]json.RawMessage
	if err := json.Unmarshal(raw, &top); err != nil || top == nil {
		d.report(Problem{Reason: NotAnObject, File: at.file, Line: at.line(prefix), Field: prefix, Message: "is no mapping: no Kubernetes object"})
		return
	}
	text := func(key, otherwise string) string {
		var s string
		if json.Unmarshal(top[key], &s) != nil || s == "" {
			return otherwise
		}
		return s
	}
	apiVersion, kind = text("apiVersion", apiVersion), text("kind", kind)
	if top["apiVersion"] == nil && top["kind"] == nil && apiVersion == "" && strings.HasSuffix(at.file, ".json") {
		return // tools keep their configuration in JSON beside manifests
	}
	switch {
	case kind == "":
		d.report(Problem{Reason: NotAnObject, File: at.file, Line: at.line(prefix), Field: prefix, Message: "Object 'Kind' is missing"})
		return
	case apiVersion == "":
		d.report(Problem{Reason: NotAnObject, File: at.file, Line: at.line(prefix), Field: prefix, Message: "Object 'apiVersion' is missing"})
		return
	}
	if item, ok := listOf(apiVersion, kind); ok {
		d.list(top["items"], at, prefix, apiVersion, item)
		return
	}
	d.object(raw, top, at, prefix, apiVersion, kind)
}

// listOf tells whether a kind is a list, and of what if it says.
func listOf(apiVersion, kind string) (item string, ok bool) {
	if kind == "List" && apiVersion == "v1" {
		return "", true
	}
	item, ok = strings.CutSuffix(kind, "List")
	return item, ok && schema.Lookup(apiVersion, item) == schema.Supported
}

func (d *decoder) list(raw json.RawMessage, at place, prefix, apiVersion, item string) {
	var items []json.RawMessage
	if raw != nil {
		if err := json.Unmarshal(raw, &items); err != nil {
			d.report(Problem{Reason: WrongType, File: at.file, Line: at.line(join(prefix, "items")), Field: join(prefix, "items"), Message: "is no list"})
			return
		}
	}
	if item == "" {
		apiVersion = ""
	}
	for i, each := range items {
		d.value(each, at, join(prefix, "items")+"["+strconv.Itoa(i)+"]", apiVersion, item)
	}
}

// object decodes, completes and keeps one object.
func (d *decoder) object(raw []byte, top map[string]json.RawMessage, at place, prefix, apiVersion, kind string) {
	id, generated := d.identify(top["metadata"], apiVersion, kind)
	report := func(reason Reason, field, message string) {
		d.report(Problem{Reason: reason, File: at.file, Line: at.line(under(prefix, field)), Field: field, Message: message, ID: id})
	}
	switch schema.Lookup(apiVersion, kind) {
	case schema.Unknown:
		report(UnknownKind, "kind", schema.NoMatch(apiVersion, kind))
		return
	case schema.Unsupported:
		report(Unsupported, "kind", fmt.Sprintf("%s in %s is not run here: it is left out", kind, apiVersion))
		return
	case schema.Supported:
	}
	if generated && id.Name == "" {
		report(NoName, "metadata.generateName", "an object from Git needs metadata.name: a generated name would be another object each time")
		return
	}
	node := at.subtree(prefix)
	before := len(d.problems)
	if node != nil {
		for _, dup := range duplicateKeys(node, "") {
			d.report(Problem{Reason: DuplicateKey, File: at.file, Line: at.before + dup.line, Field: dup.path,
				Message: fmt.Sprintf("key %q already set in map", dup.key), ID: id})
		}
	}
	obj, faults := schema.Decode(apiVersion, kind, raw)
	for _, f := range faults {
		if f.Kind == schema.DuplicateKey && node != nil {
			continue // reported above
		}
		field, line := f.Field, at.line(under(prefix, f.Field))
		if f.Kind == schema.WrongType && node != nil {
			field, line = misfit(node, kind, f)
			line += at.before
		}
		d.report(Problem{Reason: Reason(f.Kind), File: at.file, Line: line, Field: field, Message: f.Message, ID: id})
	}
	if len(d.problems) > before {
		return
	}
	d.complete(obj, at, prefix, id, report)
}

func (d *decoder) complete(obj schema.Object, at place, prefix string, id ID, report func(Reason, string, string)) {
	if schema.Namespaced(id.Kind) && obj.GetNamespace() == "" {
		obj.SetNamespace(d.app.Namespace)
	}
	dep, ok := obj.(*appsv1.Deployment)
	noReplicas := ok && dep.Spec.Replicas == nil // before the default hides it
	obj, faults := schema.Complete(obj)
	for _, f := range faults {
		report(Invalid, f.Field, f.Message)
	}
	if len(faults) > 0 {
		return
	}
	for _, f := range schema.Warnings(obj) {
		report(Warned, f.Field, f.Message)
	}
	if d.survey != nil {
		for _, f := range d.survey(obj) {
			report(Unsupported, f.Field, f.Message)
		}
	}
	sum, err := digest(obj)
	if err != nil {
		report(Invalid, "", err.Error())
		return
	}
	o := Object{
		NoReplicas: noReplicas,
		ID:         id, Object: obj, App: d.app.Name, Root: d.root,
		File: at.file, Line: at.line(prefix), Digest: sum, position: len(d.objects),
	}
	if id.Kind == "Deployment" {
		o.selectorLine = at.line(under(prefix, "spec.selector"))
	}
	d.objects = append(d.objects, o)
}

// identify reads what names an object before it is decoded.
func (d *decoder) identify(raw json.RawMessage, apiVersion, kind string) (id ID, generated bool) {
	var meta map[string]json.RawMessage
	_ = json.Unmarshal(raw, &meta) // what does not fit is reported when decoding
	text := func(key string) (s string) {
		if json.Unmarshal(meta[key], &s) != nil {
			return ""
		}
		return s
	}
	id = ID{Kind: kind, Namespace: text("namespace"), Name: text("name")}
	if id.Namespace == "" && schema.Lookup(apiVersion, kind) == schema.Supported && schema.Namespaced(kind) {
		id.Namespace = d.app.Namespace
	}
	return id, text("generateName") != ""
}

// under puts a path of an object below that of the object in its document.
func under(prefix, field string) string {
	if prefix == "" || field == "" {
		return prefix + field
	}
	return prefix + "." + field
}

// subtree is the node of the object at a path of the document.
func (p place) subtree(prefix string) *yaml.Node {
	if p.node == nil {
		return nil
	}
	var at *yaml.Node
	locate(p.node, prefix, func(n *yaml.Node) bool { at = n; return true })
	return at
}
