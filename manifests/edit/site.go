package edit

import (
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/belay-dev/belay/manifests"
)

// site is a place that may say something of an object.
type site struct {
	kind   siteKind
	file   string
	doc    int
	at     Path   // from the top of the document
	inline bool   // at is a text that holds the YAML
	name   string // of the object, as it is rendered
}

type siteKind int

const (
	siteManifest  siteKind = iota // the object itself
	sitePatch                     // a part of it, merged in
	siteJSON                      // a list of JSON 6902 operations
	siteImages                    // images: of a kustomization
	siteReplicas                  // replicas: of a kustomization
	siteGenerator                 // configMapGenerator: of a kustomization
)

// finder walks from a root to all that may say something of one object, what
// has the last word first.
type finder struct {
	tree  manifests.Tree
	id    manifests.ID
	names []string // the object's name, outermost first, without the prefixes and suffixes on the way
	seen  map[string]bool
	sites []site
}

const maxSites = 1000

func sitesOf(w Wish) ([]site, error) { return find(w.Tree, w.Object, w.Kind) }

// find lists the sites of an object of a root.
func find(tree manifests.Tree, o manifests.Object, kind manifests.RootKind) ([]site, error) {
	f := &finder{tree: tree, id: o.ID, names: []string{o.ID.Name}, seen: map[string]bool{}}
	if kind == manifests.Plain {
		f.documents(o.File)
	} else {
		f.directory(o.Root)
	}
	found := 0
	for _, s := range f.sites {
		if s.kind == siteManifest {
			found++
		}
	}
	switch {
	case found == 0 && len(f.sites) == 0:
		return nil, &Refusal{Reason: NotThere, File: orRoot(o.File, o.Root), Message: "no manifest of " + o.ID.String() + " is found"}
	case found > 1:
		return nil, &Refusal{Reason: Ambiguous, File: orRoot(o.File, o.Root), Message: "more than one manifest of " + o.ID.String() + " is found"}
	}
	return f.sites, nil
}

func orRoot(file, root string) string {
	if file != "" {
		return file
	}
	return path.Join(root, ".")
}

var kustomizationNames = []string{"kustomization.yaml", "kustomization.yml", "Kustomization"}

// kustomizationOf finds the kustomization of a directory.
func kustomizationOf(t manifests.Tree, dir string) (string, *value) {
	for _, name := range kustomizationNames {
		p := path.Join(dir, name)
		data, ok := readFile(t, p)
		if !ok {
			continue
		}
		docs := manifests.Documents(data)
		if len(docs) != 1 {
			return p, nil
		}
		v, err := kubernetes(docs[0].Text)
		if err != nil || v.kind != mapping {
			return p, nil
		}
		return p, v
	}
	return "", nil
}

func (f *finder) add(s site) {
	if len(f.sites) < maxSites {
		f.sites = append(f.sites, s)
	}
}

// directory looks through a kustomization in the reverse of the order in which
// it is applied.
func (f *finder) directory(dir string) {
	file, k := kustomizationOf(f.tree, dir)
	if k == nil || f.seen[dir] {
		return
	}
	f.seen[dir] = true
	if k.get("replicas") != nil {
		f.add(site{kind: siteReplicas, file: file, name: f.id.Name})
	}
	if k.get("images") != nil {
		f.add(site{kind: siteImages, file: file})
	}
	f.patches(dir, file, k)
	if k.get("configMapGenerator") != nil {
		f.add(site{kind: siteGenerator, file: file})
	}
	f.strip(k)
	for _, key := range []string{"components", "resources", "bases"} {
		list := k.get(key)
		if list == nil {
			continue
		}
		for _, item := range slices.Backward(list.items) {
			p := path.Join(dir, item.text)
			switch {
			case strings.HasPrefix(p, ".."):
			case isDir(f.tree, p):
				f.directory(p)
			case !f.seen[p]:
				f.seen[p] = true
				f.documents(p)
			}
		}
	}
}

// strip adds the name that the object has before this kustomization.
func (f *finder) strip(k *value) {
	name := f.names[len(f.names)-1]
	inner := name
	if prefix := k.get("namePrefix"); prefix != nil {
		inner = strings.TrimPrefix(inner, prefix.text)
	}
	if suffix := k.get("nameSuffix"); suffix != nil {
		inner = strings.TrimSuffix(inner, suffix.text)
	}
	if inner != name && inner != "" {
		f.names = append(f.names, inner)
	}
}

func (f *finder) patches(dir, file string, k *value) {
	for _, key := range []string{"patchesJson6902", "patches"} {
		list := k.get(key)
		if list == nil {
			continue
		}
		for i, item := range slices.Backward(list.items) {
			if !f.targets(item.get("target"), key == "patchesJson6902") {
				continue
			}
			anyName := item.get("target") != nil
			if p := item.get("path"); p != nil {
				f.patchFile(path.Join(dir, p.text), anyName)
			}
			if text := item.get("patch"); text != nil {
				f.patch(site{file: file, at: Path{Key(key), At(i), Key("patch")}, inline: true}, []byte(text.text), anyName)
			}
		}
	}
	if list := k.get("patchesStrategicMerge"); list != nil {
		for i, item := range slices.Backward(list.items) {
			if strings.Contains(item.text, "\n") || strings.HasPrefix(strings.TrimSpace(item.text), "{") {
				f.patch(site{file: file, at: Path{Key("patchesStrategicMerge"), At(i)}, inline: true}, []byte(item.text), false)
				continue
			}
			f.patchFile(path.Join(dir, item.text), false)
		}
	}
}

// targets tells whether a patch may be meant for the object.
func (f *finder) targets(target *value, must bool) bool {
	if target == nil {
		return !must
	}
	if kind := target.get("kind"); kind != nil && kind.text != "" && kind.text != f.id.Kind {
		return false
	}
	name := target.get("name")
	if name == nil || name.text == "" {
		return true
	}
	re, err := regexp.Compile("^(?:" + name.text + ")$")
	return err == nil && slices.ContainsFunc(f.names, re.MatchString) || slices.Contains(f.names, name.text)
}

func (f *finder) patchFile(p string, anyName bool) {
	if data, ok := readFile(f.tree, p); ok {
		f.patch(site{file: p}, data, anyName)
	}
}

// patch looks through the text of a patch: objects, or a list of operations.
func (f *finder) patch(s site, text []byte, anyName bool) {
	for i, doc := range manifests.Documents(text) {
		v, err := kubernetes(doc.Text)
		if err != nil {
			continue
		}
		here := s
		if here.doc = i; s.inline && i > 0 {
			return // only the first document of a text is looked at
		}
		switch {
		case v.kind == list && anyName:
			here.kind = siteJSON
			f.add(here)
		case v.kind == mapping && (anyName || f.isIt(v)):
			here.kind = sitePatch
			f.add(here)
		}
	}
}

// isIt tells whether a mapping is the object, by kind and one of its names.
func (f *finder) isIt(v *value) bool {
	kind, meta := v.get("kind"), v.get("metadata")
	if kind == nil || meta == nil || kind.text != f.id.Kind || meta.get("name") == nil {
		return false
	}
	if ns := meta.get("namespace"); len(f.names) == 1 && ns != nil && ns.text != "" && f.id.Namespace != "" && ns.text != f.id.Namespace && f.plain() {
		return false
	}
	return slices.Contains(f.names, meta.get("name").text)
}

// plain tells that no kustomization can have changed the namespace.
func (f *finder) plain() bool { return len(f.seen) == 0 }

// documents looks for the object in a file, within lists too.
func (f *finder) documents(file string) {
	data, ok := readFile(f.tree, file)
	if !ok {
		return
	}
	for i, doc := range manifests.Documents(data) {
		v, err := kubernetes(doc.Text)
		if err != nil {
			continue
		}
		if f.isIt(v) {
			f.add(site{kind: siteManifest, file: file, doc: i})
			continue
		}
		items := v.get("items")
		if items == nil || items.kind != list {
			continue
		}
		for j, item := range items.items {
			if f.isIt(item) {
				f.add(site{kind: siteManifest, file: file, doc: i, at: Path{Key("items"), At(j)}})
			}
		}
	}
}

// at is what a site says now.
func (d *draft) at(s site) (*value, error) {
	data, ok := d.read(s.file)
	if !ok {
		return nil, &Refusal{Reason: Unreadable, File: s.file, Message: "is no file that can be read"}
	}
	return valueAt(data, s)
}

func valueAt(data []byte, s site) (*value, error) {
	docs := manifests.Documents(data)
	fail := &Refusal{Reason: NotThere, File: s.file, Message: s.at.String() + " is not there"}
	if s.doc >= len(docs) {
		return nil, fail
	}
	v, err := kubernetes(docs[s.doc].Text)
	if err != nil {
		return nil, &Refusal{Reason: Syntax, File: s.file, Line: docs[s.doc].Before + 1, Message: "is no YAML"}
	}
	for _, step := range s.at {
		switch {
		case v != nil && step.kind == stepKey:
			v = v.get(step.key)
		case v != nil && v.kind == list && step.kind == stepAt && step.index < len(v.items):
			v = v.items[step.index]
		default:
			v = nil
		}
		if v == nil {
			return nil, fail
		}
	}
	if !s.inline {
		return v, nil
	}
	inner, err := kubernetes([]byte(v.text))
	if err != nil {
		return nil, fail
	}
	return inner, nil
}

// set makes a site say something else.
func (d *draft) set(s site, want *value) error {
	if want == nil {
		return &Refusal{Reason: Layout, File: s.file, Message: "nothing of the object would be left"}
	}
	if !s.inline {
		return d.edit(s.file, Edit{Document: s.doc, Path: s.at, Value: want})
	}
	outer := s
	outer.inline = false
	text, err := d.at(outer)
	if err != nil {
		return err
	}
	inner, err := Apply(s.file, []byte(text.text), Edit{Value: want})
	if err != nil || sameBytes(inner, []byte(text.text)) {
		return err
	}
	if !literalFits(text.text) || !literalFits(string(inner)) {
		return &Refusal{Reason: Layout, File: s.file, Message: s.at.String() + ": the patch is no block of lines"}
	}
	return d.edit(s.file, Edit{Document: s.doc, Path: s.at, Value: string(inner)})
}
