package edit

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/belay-dev/belay/manifests"
)

// Wish is what a rendered object should become. Have and Want are the part of
// the object that it is about, as it is rendered and as it should be, in the
// shape of the object: {"spec": {"replicas": 3}}. They must be complete as far
// as they go: what is in Have and not in Want is taken out.
type Wish struct {
	Tree       manifests.Tree
	Object     manifests.Object // as rendered from Tree
	Kind       manifests.RootKind
	Have, Want any
	// Then is a tree that renders as wanted, nil when there is none. What its
	// files say is preferred to what can be made up from the values.
	Then manifests.Tree
}

// Proposal is one way to edit the files of a tree. It may have another effect
// than wished: render it.
type Proposal struct {
	How   string            // for people: where the values are set
	Files map[string][]byte // whole new contents by path
}

// Propose lists ways to make a wish true, the likeliest first. Where there is
// none it says why with a *Refusal.
func Propose(w Wish) ([]Proposal, error) {
	have, err := valueFrom(w.Have)
	if err != nil {
		return nil, err
	}
	want, err := valueFrom(w.Want)
	if err != nil {
		return nil, err
	}
	if have.same(want) {
		return nil, &Refusal{Reason: Nothing, File: w.Object.File, Message: "the files say so already"}
	}
	var out []Proposal
	var first error
	for _, attempt := range []struct {
		how string
		do  func(*draft) error
	}{
		{"as it was", func(d *draft) error { return d.asThen(w, have, want) }},
		{"where the value stands", func(d *draft) error { return d.byValue(w, have, want, true) }},
		{"in front of the manifest", func(d *draft) error { return d.byValue(w, have, want, false) }},
	} {
		d := &draft{tree: w.Tree, files: map[string][]byte{}}
		err := attempt.do(d)
		if err == nil && len(d.files) == 0 {
			err = &Refusal{Reason: Unknown, File: cmp.Or(w.Object.File, w.Object.Root), Message: fmt.Sprintf("nothing is known that sets the fields of %s", w.Object.ID)}
		}
		if err != nil {
			first = worse(first, err)
			continue
		}
		p := Proposal{How: attempt.how, Files: d.files}
		if !slices.ContainsFunc(out, func(o Proposal) bool { return maps.EqualFunc(o.Files, p.Files, sameBytes) }) {
			out = append(out, p)
		}
	}
	if len(out) == 0 {
		return nil, first
	}
	return out, nil
}

// worse keeps the error that says more: not that nothing was found.
func worse(a, b error) error {
	var r *Refusal
	if a == nil || errors.As(a, &r) && r.Reason == Unknown {
		return b
	}
	return a
}

func sameBytes(a, b []byte) bool { return string(a) == string(b) }

// draft is a tree with edits under way.
type draft struct {
	tree  manifests.Tree
	files map[string][]byte
	named map[string]bool // directories whose kustomizations name again what was put back
}

const maxFileBytes = 4 << 20

// read returns a file with the edits so far; ok is false for what is no file.
func (d *draft) read(p string) ([]byte, bool) {
	if data, ok := d.files[p]; ok {
		return data, data != nil
	}
	return readFile(d.tree, p)
}

func readFile(t manifests.Tree, p string) ([]byte, bool) {
	if t == nil {
		return nil, false
	}
	e, err := t.Stat(p)
	if err != nil || e.Type() != 0 {
		return nil, false
	}
	data, err := t.ReadFile(p)
	return data, err == nil && len(data) <= maxFileBytes
}

func isDir(t manifests.Tree, p string) bool {
	if p == "" || p == "." {
		return true
	}
	e, err := t.Stat(p)
	return err == nil && e.Type() == fs.ModeDir
}

// edit makes edits in a file.
func (d *draft) edit(p string, edits ...Edit) error {
	data, ok := d.read(p)
	if !ok {
		return &Refusal{Reason: Unreadable, File: p, Message: "is no file that can be read"}
	}
	out, err := Apply(p, data, edits...)
	if err != nil {
		return err
	}
	if !sameBytes(out, data) {
		d.files[p] = out
	}
	return nil
}

// byValue sets the values where they stand: outermost first, and what stands
// nowhere in the manifest itself, if that may be edited.
func (d *draft) byValue(w Wish, have, want *value, manifest bool) error {
	have = have.clone()
	sites, err := sitesOf(w)
	if err != nil {
		return err
	}
	if err := d.notGenerated(sites, have, want); err != nil {
		return err
	}
	for _, s := range sites {
		if s.kind == siteManifest {
			if !manifest {
				continue
			}
			is, err := d.at(s)
			if err != nil {
				return err
			}
			return d.set(s, whole(is, have, want))
		}
		if err := d.setPresent(s, have, want); err != nil {
			return err
		}
		if have.same(want) {
			return nil
		}
	}
	if !have.same(want) {
		return &Refusal{Reason: Unknown, File: cmp.Or(w.Object.File, w.Object.Root), Message: "nothing in front of the manifest sets all of the fields"}
	}
	return nil
}

// notGenerated refuses to write the name of a generated ConfigMap, which says
// what is in it.
func (d *draft) notGenerated(sites []site, have, want *value) error {
	is := configMaps(have)
	for _, name := range configMaps(want) {
		for _, s := range sites {
			if s.kind != siteGenerator || slices.Contains(is, name) {
				continue
			}
			k, err := d.at(s)
			if err != nil {
				return err
			}
			for _, e := range k.get("configMapGenerator").items {
				if strings.Contains(name, e.textOf("name")+"-") {
					return &Refusal{Reason: Unknown, File: s.file, Message: "the content of the generated ConfigMap " + e.textOf("name") + " of that time is not at hand"}
				}
			}
		}
	}
	return nil
}

// setPresent changes what a site says of the object, and nothing it is silent
// about. have becomes what the object is then.
func (d *draft) setPresent(s site, have, want *value) error {
	switch s.kind {
	case siteImages:
		return d.setImages(s, have, want)
	case siteReplicas:
		return d.setReplicas(s, have, want)
	case siteJSON:
		return d.setOperations(s, have, want)
	case siteGenerator:
		return nil // makes other objects; their names follow
	default:
		is, err := d.at(s)
		if err != nil {
			return err
		}
		return d.set(s, present(is, have, want))
	}
}

func (v *value) clone() *value {
	if v == nil {
		return nil
	}
	out := &value{kind: v.kind, text: v.text, keys: slices.Clone(v.keys), items: make([]*value, len(v.items))}
	for i, item := range v.items {
		out.items[i] = item.clone()
	}
	return out
}

// put sets an entry of a mapping, or with nil takes it out.
func (v *value) put(key string, item *value) {
	i := slices.Index(v.keys, key)
	switch {
	case i < 0 && item != nil:
		v.keys, v.items = append(v.keys, key), append(v.items, item)
	case i >= 0 && item == nil:
		v.keys, v.items = slices.Delete(v.keys, i, i+1), slices.Delete(v.items, i, i+1)
	case i >= 0:
		v.items[i] = item
	}
}

// whole is what a manifest must say so that the object becomes want, given that
// it is have now: what does not change stays as it is written, or unwritten.
func whole(raw, have, want *value) *value {
	switch {
	case want == nil:
		return nil
	case have != nil && have.same(want):
		return raw
	case have == nil || have.kind != want.kind || raw != nil && raw.kind != want.kind || want.isScalar():
		return want
	case raw == nil: // said elsewhere, or by default: only what changes is said here
		raw = &value{kind: want.kind}
	}
	if want.kind == mapping {
		out := raw.clone()
		for _, key := range union(have.keys, want.keys) {
			out.put(key, whole(raw.get(key), have.get(key), want.get(key)))
		}
		return out.orNil(raw)
	}
	return wholeList(raw, have, want)
}

func wholeList(raw, have, want *value) *value {
	key := keyed(raw, have, want)
	if key == "" {
		return want
	}
	out := &value{kind: list}
	for i, k := range keyTexts(want, key) {
		item := whole(element(raw, key, k), element(have, key, k), want.items[i])
		if item == nil {
			continue
		}
		if item.get(key) == nil {
			item = &value{
				kind: mapping, keys: append([]string{key}, item.keys...), items: append([]*value{want.items[i].get(key)}, item.items...),
			}
		}
		out.items = append(out.items, item)
	}
	return out.orNil(raw)
}

// orNil is nothing where nothing was, instead of an empty collection.
func (v *value) orNil(was *value) *value {
	if len(v.items) == 0 && len(was.items) == 0 {
		return nil
	}
	return v
}

// present is what a patch must say: only what it says already is changed. What
// is changed becomes part of have.
func present(raw, have, want *value) *value {
	switch {
	case want == nil:
		return nil
	case have.same(want):
		return raw
	case raw.kind != have.kind || want.kind != have.kind || raw.isScalar():
		*have = *want.clone()
		return want
	case raw.kind == mapping:
		return presentMapping(raw, have, want)
	}
	key := keyed(raw, have, want)
	if key == "" {
		*have = *want.clone()
		return want
	}
	out := &value{kind: list}
	for i, k := range keyTexts(raw, key) {
		h, w := element(have, key, k), element(want, key, k)
		if h == nil || w == nil && len(raw.items[i].items) == 1 {
			out.items = append(out.items, raw.items[i]) // says nothing but a name, or what is not there
			continue
		}
		if item := present(raw.items[i], h, w); item != nil {
			out.items = append(out.items, item)
		}
		if w == nil {
			have.items = slices.DeleteFunc(have.items, func(v *value) bool { return v == h })
		}
	}
	return out
}

func presentMapping(raw, have, want *value) *value {
	out := raw.clone()
	for i, key := range raw.keys {
		h, w := have.get(key), want.get(key)
		switch {
		case h == nil && w != nil && raw.items[i].isNull(): // the patch takes out what is wanted
			out.put(key, nil)
			have.put(key, w.clone())
		case h == nil:
		default:
			out.put(key, present(raw.items[i], h, w))
			if w == nil {
				have.put(key, nil)
			}
		}
	}
	return out
}

func element(v *value, key, text string) *value {
	if v == nil {
		return nil
	}
	for _, item := range v.items {
		if k := item.get(key); k != nil && k.text == text {
			return item
		}
	}
	return nil
}

func union(a, b []string) []string {
	out := slices.Clone(a)
	for _, k := range b {
		if !slices.Contains(a, k) {
			out = append(out, k)
		}
	}
	return out
}
