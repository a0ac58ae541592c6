package edit

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	sigsyaml "sigs.k8s.io/yaml"

	"github.com/belay-dev/belay/manifests"
)

// Edit is one change of one document of a file. Document counts the documents
// of the file from 0, those of comments only left out. Value is anything that
// encoding/json can write; mappings and lists that stand there already are
// changed entry by entry, the elements of a list by their merge key. Mappings
// that are missing on the way are added. With Remove the entry or element at
// Path goes, with its whole lines; comments above it stay.
type Edit struct {
	Document int
	Path     Path
	Value    any
	Remove   bool
}

// Apply makes edits in a file, one after the other. Every byte that belongs to
// no edited entry stays as it is. An edit that the file already says changes
// nothing. The error is a *Refusal.
func Apply(file string, src []byte, edits ...Edit) ([]byte, error) {
	for _, e := range edits {
		var err error
		if src, err = apply(file, src, e); err != nil {
			return nil, err
		}
	}
	return src, nil
}

func apply(file string, src []byte, e Edit) ([]byte, error) {
	docs := manifests.Documents(src)
	if e.Document < 0 || e.Document >= len(docs) {
		return nil, &Refusal{Reason: NotThere, File: file, Message: fmt.Sprintf("has no document %d", e.Document+1)}
	}
	doc := docs[e.Document]
	d, err := open(file, doc)
	if err != nil {
		return nil, err
	}
	was, err := kubernetes(doc.Text)
	if err != nil {
		return nil, d.syntax(err)
	}
	is, err := valueOf(d.top)
	if err != nil {
		return nil, d.syntax(err)
	}
	var want *value
	if !e.Remove {
		if want, err = valueFrom(e.Value); err != nil {
			return nil, d.refuse(WrongShape, 0, "%v", err)
		}
	}
	target, err := d.after(is, e.Path, nil, want)
	if err != nil {
		return nil, err
	}
	if is.same(target) {
		return src, nil
	}
	if err := d.become(d.top, target, context{indent: -1}); err != nil {
		return nil, err
	}
	text, err := d.spliced()
	if err != nil {
		return nil, err
	}
	out := slices.Concat(src[:doc.Offset], []byte(text), src[doc.Offset+len(doc.Text):])
	if err := d.check(src, out, e, was, target); err != nil {
		return nil, err
	}
	return out, nil
}

// after is what a document means after an edit; want is nil for a removal. done
// is the part of the path already walked.
func (d *document) after(v *value, path, done Path, want *value) (*value, error) {
	if len(path) == 0 {
		if want == nil {
			return nil, d.refuse(WrongShape, 0, "a whole document is no entry")
		}
		return want, nil
	}
	step, rest := path[0], path[1:]
	here := done.With(step)
	at, err := d.find(v, step, here)
	if err != nil {
		return nil, err
	}
	out := &value{kind: v.kind, text: v.text, keys: slices.Clone(v.keys), items: slices.Clone(v.items)}
	switch {
	case at < 0 && want == nil:
		return nil, d.refuse(NotThere, 0, "%s is not there", here)
	case at < 0:
		return d.added(out, step, rest, here, want)
	case want == nil && len(rest) == 0:
		out.items = slices.Delete(out.items, at, at+1)
		if out.kind == mapping {
			out.keys = slices.Delete(out.keys, at, at+1)
		}
		return out, nil
	}
	if out.items[at], err = d.after(v.items[at], rest, here, want); err != nil {
		return nil, err
	}
	return out, nil
}

// added puts what is missing into a mapping, a list, or in the place of nothing.
func (d *document) added(out *value, step Step, rest, here Path, want *value) (*value, error) {
	item, err := d.built(rest, here, want)
	if err != nil {
		return nil, err
	}
	if out.kind == scalarOther { // nothing so far
		*out = value{kind: mapping}
		if step.kind != stepKey {
			out.kind = list
		}
	}
	if step.kind == stepKey {
		out.keys = append(out.keys, step.key)
	} else if item, err = withKey(item, step); err != nil {
		return nil, d.refuse(WrongShape, 0, "%s: %v", here, err)
	}
	out.items = append(out.items, item)
	return out, nil
}

// find is the index of what a step names, -1 when it is not there.
func (d *document) find(v *value, s Step, here Path) (int, error) {
	wanted := mapping
	if s.kind != stepKey {
		wanted = list
	}
	switch {
	case v.isNull():
		return -1, nil
	case v.kind != wanted:
		return 0, d.refuse(WrongShape, 0, "%s: what is above it is of another kind", here)
	case s.kind == stepKey:
		return slices.Index(v.keys, s.key), nil
	case s.kind == stepAt:
		if s.index < 0 || s.index >= len(v.items) {
			return -1, nil
		}
		return s.index, nil
	}
	found := -1
	for i, item := range v.items {
		if k := item.get(s.key); k != nil && k.text == s.value {
			if found >= 0 {
				return 0, d.refuse(Ambiguous, 0, "%s is there twice", here)
			}
			found = i
		}
	}
	return found, nil
}

// built is a value with the mappings around it that are missing.
func (d *document) built(rest, here Path, want *value) (*value, error) {
	for i := len(rest) - 1; i >= 0; i-- {
		s := rest[i]
		switch s.kind {
		case stepKey:
			want = &value{kind: mapping, keys: []string{s.key}, items: []*value{want}}
		case stepElement:
			item, err := withKey(want, s)
			if err != nil {
				return nil, d.refuse(WrongShape, 0, "%s: %v", here.With(rest[:i+1]...), err)
			}
			want = &value{kind: list, items: []*value{item}}
		case stepAt:
			want = &value{kind: list, items: []*value{want}}
		}
	}
	return want, nil
}

// withKey is an element with its merge key in front.
func withKey(v *value, s Step) (*value, error) {
	if s.kind != stepElement {
		return v, nil
	}
	if v.kind != mapping {
		return nil, errors.New("the element is no mapping")
	}
	if v.get(s.key) != nil {
		return v, nil
	}
	key := &value{text: s.value}
	if r, err := resolve(s.value); err == nil && s.key == "containerPort" {
		key = r
	}
	return &value{
		kind: mapping, keys: append([]string{s.key}, v.keys...), items: append([]*value{key}, v.items...),
	}, nil
}

// spliced is the text with all cuts made.
func (d *document) spliced() (string, error) {
	slices.SortStableFunc(d.cuts, func(a, b splice) int { return a.from - b.from })
	var b strings.Builder
	at := 0
	for _, c := range d.cuts {
		if c.from < at {
			return "", d.refuse(Layout, d.lineOf(c.from), "two changes touch each other")
		}
		b.WriteString(d.text[at:c.from])
		b.WriteString(c.text)
		at = c.to
	}
	b.WriteString(d.text[at:])
	return b.String(), nil
}

// check reads the result again: the document must mean what was asked, to both
// of the parsers that Kubernetes and kustomize use, and the others must be the
// same bytes.
func (d *document) check(src, out []byte, e Edit, was, target *value) error {
	fail := func(what string) error {
		return d.refuse(SelfCheck, 0, "%s: the edited file would not mean what was asked: %s", e.Path, what)
	}
	before, after := manifests.Documents(src), manifests.Documents(out)
	if len(before) != len(after) {
		return fail("the number of documents differs")
	}
	for i := range before {
		if i != e.Document && string(before[i].Text) != string(after[i].Text) {
			return fail("another document differs")
		}
	}
	top, err := parse(after[e.Document].Text)
	if err != nil {
		return fail(err.Error())
	}
	if got, err := valueOf(top); err != nil || !got.same(target) {
		return fail("kustomize would read something else")
	}
	got, err := kubernetes(after[e.Document].Text)
	if err != nil {
		return fail(err.Error())
	}
	var want *value
	if !e.Remove {
		if want, err = valueFrom(e.Value); err != nil {
			return err
		}
	}
	if expected, err := d.after(was, e.Path, nil, want); err != nil || !got.same(expected) {
		return fail("Kubernetes would read something else")
	}
	return nil
}

// kubernetes is what Kubernetes reads in a document.
func kubernetes(text []byte) (v *value, err error) {
	defer func() {
		if r := recover(); r != nil {
			v, err = nil, fmt.Errorf("yaml: cannot be converted: %v", r)
		}
	}()
	data, err := sigsyaml.YAMLToJSON(text)
	if err != nil {
		return nil, err
	}
	return valueOfJSON(data)
}

var _ error = (*Refusal)(nil)
