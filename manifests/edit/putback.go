package edit

import (
	"bytes"
	"path"
	"slices"
	"strings"

	"github.com/belay-dev/belay/manifests"
)

// PutBack gives the manifest of an object that a tree still had back to a tree
// that has it no more: its document, byte for byte, in the file where it was,
// and the entry of the kustomization that named the file. then is the object as
// rendered from that tree.
func PutBack(now, old manifests.Tree, then manifests.Object, kind manifests.RootKind) (Proposal, error) {
	sites, err := find(old, then, kind)
	if err != nil {
		return Proposal{}, err
	}
	d := &draft{tree: now, files: map[string][]byte{}, named: map[string]bool{}}
	i := slices.IndexFunc(sites, func(s site) bool { return s.kind == siteManifest })
	if i < 0 {
		return Proposal{}, &Refusal{Reason: NotThere, File: orRoot(then.File, then.Root), Message: "no manifest of " + then.ID.String() + " is found"}
	}
	s := sites[i]
	data, _ := readFile(old, s.file)
	if len(s.at) > 0 {
		return Proposal{}, &Refusal{Reason: WrongShape, File: s.file, Message: "the object was an item of a list, which is no document of its own"}
	}
	if err := d.addDocument(s.file, data, s.doc); err != nil {
		return Proposal{}, err
	}
	if kind == manifests.Kustomize {
		for _, s := range sites { // patches that went with it
			if _, there := d.read(s.file); !there && s.kind == sitePatch && !s.inline {
				d.files[s.file], _ = readFile(old, s.file)
			}
		}
		if err := d.nameAgain(old, then.Root); err != nil {
			return Proposal{}, err
		}
	}
	return Proposal{How: "its manifest", Files: d.files}, nil
}

// addDocument puts one document of an old file at the end of what the file is
// now, or makes the file anew with it.
func (d *draft) addDocument(file string, old []byte, doc int) error {
	docs := manifests.Documents(old)
	text := docs[doc].Text
	now, there := d.read(file)
	if !there || len(manifests.Documents(now)) == 0 {
		if len(docs) == 1 {
			d.files[file] = old
			return nil
		}
		d.files[file] = bytes.TrimPrefix(bytes.TrimPrefix(text, []byte("---\n")), []byte("---\r\n"))
		return nil
	}
	if strings.HasSuffix(file, ".json") {
		return &Refusal{Reason: WrongShape, File: file, Message: "a JSON file holds one document"}
	}
	eol := "\n"
	if bytes.Contains(now, []byte("\r\n")) {
		eol = "\r\n"
	}
	if bytes.Contains(text, []byte("\r\n")) != (eol == "\r\n") {
		return &Refusal{Reason: LineBreaks, File: file, Message: "the line ends of the file have changed"}
	}
	out := bytes.Clone(now)
	if !bytes.HasSuffix(out, []byte("\n")) {
		out = append(out, eol...)
	}
	if !bytes.HasPrefix(text, []byte("---")) {
		out = append(out, "---"+eol...)
	}
	d.files[file] = append(out, text...)
	if n := len(manifests.Documents(d.files[file])); n != len(manifests.Documents(now))+1 {
		return &Refusal{Reason: SelfCheck, File: file, Message: "the document cannot be added as one"}
	}
	return nil
}

// nameAgain gives kustomizations the entries back that named what exists again.
func (d *draft) nameAgain(old manifests.Tree, dir string) error {
	if d.named[dir] {
		return nil
	}
	d.named[dir] = true
	file, then := kustomizationOf(old, dir)
	_, now := kustomizationOf(d.tree, dir)
	if then == nil {
		return nil
	}
	if now == nil {
		return &Refusal{Reason: NotThere, File: file, Message: "the kustomization is gone, or cannot be read"}
	}
	for _, key := range []string{"resources", "bases", "components", "patches", "patchesStrategicMerge"} {
		if then.get(key) == nil {
			continue
		}
		for _, item := range then.get(key).items {
			if err := d.nameOne(old, dir, file, key, item, now); err != nil {
				return err
			}
		}
	}
	return nil
}

// nameOne does so for one entry of a list of a kustomization.
func (d *draft) nameOne(old manifests.Tree, dir, file, key string, item, now *value) error {
	p := item.text
	if item.kind == mapping {
		p = item.textOf("path")
	}
	if p == "" || strings.Contains(p, "\n") {
		return nil
	}
	p = path.Join(dir, p)
	if isDir(old, p) {
		if err := d.nameAgain(old, p); err != nil && isDir(d.tree, p) {
			return err
		}
	}
	if _, ours := d.files[p]; !ours || holdsValue(now.get(key), item) {
		return nil
	}
	next := &value{kind: list}
	if l := now.get(key); l != nil && l.kind == list {
		next.items = slices.Clone(l.items)
	}
	next.items = append(next.items, item)
	now.put(key, next)
	return d.edit(file, Edit{Path: Keys(key), Value: next})
}

func holdsValue(l, item *value) bool {
	return l != nil && slices.ContainsFunc(l.items, func(v *value) bool { return v.same(item) })
}
