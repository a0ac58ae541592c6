package edit

import (
	"path"
	"slices"
	"strings"

	"github.com/belay-dev/belay/manifests"
)

// asThen sets what is to change to what the same places said in a tree that
// renders as wanted.
func (d *draft) asThen(w Wish, have, want *value) error {
	if w.Then == nil {
		return &Refusal{Reason: Unknown, File: orRoot(w.Object.File, w.Object.Root), Message: "the files of that time are not at hand"}
	}
	sites, err := find(w.Tree, w.Object, w.Kind)
	if err != nil {
		return err
	}
	former, err := find(w.Then, w.Object, w.Kind)
	if err != nil {
		return err
	}
	for _, s := range sites {
		i := slices.IndexFunc(former, func(o site) bool {
			return o.kind == s.kind && o.file == s.file && (!s.inline || o.at.String() == s.at.String())
		})
		if i < 0 {
			continue
		}
		was := former[i]
		former = slices.Delete(former, i, i+1)
		if err := d.graftSite(w.Then, s, was, have, want); err != nil {
			return err
		}
	}
	return nil
}

func (d *draft) graftSite(then manifests.Tree, s, was site, have, want *value) error {
	data, ok := readFile(then, was.file)
	if !ok {
		return nil
	}
	old, err := valueAt(data, was)
	if err != nil {
		return err
	}
	is, err := d.at(s)
	if err != nil {
		return err
	}
	switch s.kind {
	case siteImages:
		return d.graftImages(s, is, old, have, want)
	case siteGenerator:
		return d.graftGenerator(then, s, is, old, have, want)
	case siteReplicas:
		return nil // stands for the scale alone, which its value sets
	case siteJSON:
		return d.set(s, old)
	default:
		return d.set(s, graft(is, old, have, want))
	}
}

// graft takes from what was written then all that is to change.
func graft(is, then, have, want *value) *value {
	switch {
	case have == nil || want == nil:
		return then
	case have.same(want):
		return is
	case have.kind != mapping || want.kind != mapping:
		return then
	}
	out, then := is.orMapping(), then.orMapping()
	for _, key := range union(have.keys, want.keys) {
		h, w := have.get(key), want.get(key)
		if h == nil || w == nil || !h.same(w) {
			out.put(key, graft(out.get(key), then.get(key), h, w))
		}
	}
	if len(out.items) == 0 && is == nil {
		return nil
	}
	return out
}

// orMapping is a copy of a mapping, or an empty one for anything else.
func (v *value) orMapping() *value {
	if v == nil || v.kind != mapping {
		return &value{kind: mapping}
	}
	return v.clone()
}

// graftImages sets the entries back that make the object's images.
func (d *draft) graftImages(s site, is, then, have, want *value) error {
	names := map[string]bool{}
	for _, v := range []*value{have, want} {
		eachContainer(v, v, func(i, _ *value) { names[imageOf(i.text).name] = true })
	}
	ours := func(e *value) bool { return names[e.textOf("name")] || names[e.textOf("newName")] }
	old := then.get("images")
	out := &value{kind: list}
	for _, e := range is.get("images").items {
		former := element(old, "name", e.textOf("name"))
		switch {
		case !ours(e) && (former == nil || !ours(former)):
			out.items = append(out.items, e)
		case former != nil:
			out.items = append(out.items, former)
		}
	}
	for _, e := range old.items {
		if ours(e) && element(is.get("images"), "name", e.textOf("name")) == nil {
			out.items = append(out.items, e)
		}
	}
	return d.edit(s.file, Edit{Document: s.doc, Path: Keys("images"), Value: out})
}

// graftGenerator sets the generated ConfigMaps back that the object names, with
// the files that they are made of.
func (d *draft) graftGenerator(tree manifests.Tree, s site, is, then, have, want *value) error {
	var names []string
	for _, v := range []*value{have, want} {
		names = append(names, configMaps(v)...)
	}
	for _, e := range is.get("configMapGenerator").items {
		name := e.textOf("name")
		old := element(then.get("configMapGenerator"), "name", name)
		ours := slices.ContainsFunc(names, func(n string) bool { return strings.Contains(n, name) })
		if old == nil || !ours {
			continue
		}
		if err := d.edit(s.file, Edit{Document: s.doc, Path: Path{Key("configMapGenerator"), Element("name", name)}, Value: old}); err != nil {
			return err
		}
		for _, p := range generatorFiles(old) {
			p = path.Join(path.Dir(s.file), p)
			data, ok := readFile(tree, p)
			if now, there := d.read(p); ok && (!there || !sameBytes(now, data)) {
				d.files[p] = data
			}
		}
	}
	return nil
}

func generatorFiles(e *value) []string {
	var out []string
	for _, key := range []string{"files", "envs"} {
		if l := e.get(key); l != nil {
			for _, item := range l.items {
				_, file, keyed := strings.Cut(item.text, "=")
				if !keyed {
					file = item.text
				}
				out = append(out, file)
			}
		}
	}
	if env := e.textOf("env"); env != "" {
		out = append(out, env)
	}
	return out
}

// configMaps lists the ConfigMaps that a part of a workload names.
func configMaps(v *value) []string {
	var out []string
	for i, item := range v.items {
		if v.kind == mapping && slices.Contains([]string{"configMap", "configMapRef", "configMapKeyRef"}, v.keys[i]) {
			if name := item.textOf("name"); name != "" {
				out = append(out, name)
			}
		}
		out = append(out, configMaps(item)...)
	}
	return out
}
