package manifests

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"sort"
	"strings"

	"go.yaml.in/yaml/v3"
)

var kustomizationNames = []string{"kustomization.yaml", "kustomization.yml", "Kustomization"}

func isKustomization(name string) bool {
	for _, k := range kustomizationNames {
		if name == k {
			return true
		}
	}
	return false
}

func isManifest(name string) bool {
	if strings.HasPrefix(name, ".") {
		return false
	}
	switch path.Ext(name) {
	case ".yaml", ".yml", ".json":
		return true
	}
	return false
}

// discovered is the set of roots of one app at one tree.
type discovered struct {
	roots    []discoveredRoot // sorted by path
	problems []Problem
	// blocked are paths below which roots may exist that cannot be seen. Roots
	// known there from before are stale, not gone.
	blocked []blocked
	deps    map[string]string // what the set depends on beside the directories' names
}

type blocked struct {
	path    string
	problem Problem
}

type discoveredRoot struct {
	path string // as the app reaches it
	kind RootKind
}

// discover finds the roots of an app: its own directory or the topmost ones
// below it that hold a kustomization, and every other directory that directly
// holds YAML or JSON. Components are no roots. Hidden names are left out.
func discover(v *view, app App) (discovered, error) {
	r := v.reader()
	d := discovered{deps: r.deps}
	top, err := r.resolve(app.Path)
	var bad *pathError
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && top.dir == nil:
		d.problems = []Problem{{
			Reason:  AppPathMissing,
			Message: fmt.Sprintf("path %q of app %q is not a directory of the repository", clean(app.Path), app.Name),
		}}
		return d, nil
	case errors.As(err, &bad):
		d.problems = []Problem{{Reason: bad.reason, File: clean(app.Path), Message: clean(bad.text)}}
		return d, nil
	case err != nil:
		return d, err
	}
	w := walk{reader: r, top: top.real, out: &d}
	if err := w.dir(path.Clean("/" + app.Path)[1:], top, nil); err != nil {
		return d, err
	}
	sort.Slice(d.roots, func(i, j int) bool { return d.roots[i].path < d.roots[j].path })
	return d, nil
}

type walk struct {
	*reader
	top string
	out *discovered
}

// dir looks at one directory; above are the directories it was reached
// through, as they really are.
func (w *walk) dir(shown string, at found, above []string) error {
	if len(above) > maxDirDepth {
		return fmt.Errorf("%q: more than %d directories deep", shown, maxDirDepth)
	}
	kustomization, component := w.kustomization(at)
	if component {
		return nil
	}
	if kustomization {
		w.out.roots = append(w.out.roots, discoveredRoot{path: shown, kind: Kustomize})
		return nil
	}
	above = append(above, at.real)
	plain := false
	for i := range at.dir.entries {
		e := &at.dir.entries[i]
		if strings.HasPrefix(e.name, ".") {
			continue
		}
		below := path.Join(shown, e.name)
		switch {
		case e.mode.IsDir():
			here := path.Join(at.real, e.name)
			sub, err := w.open(e, here)
			if err != nil {
				return err
			}
			if err := w.dir(below, found{real: here, entry: e, dir: sub}, above); err != nil {
				return err
			}
		case isManifest(e.name):
			plain = true
		case e.mode&fs.ModeSymlink != 0:
			if err := w.link(below, path.Join(at.real, e.name), above); err != nil {
				return err
			}
		case e.mode&fs.ModeIrregular != 0:
			w.block(Submodule, below, "is a Git submodule, whose files are not read")
		}
	}
	if plain {
		w.out.roots = append(w.out.roots, discoveredRoot{path: shown, kind: Plain})
	}
	return nil
}

// link follows a link to a directory, unless the app reaches that directory
// without it anyhow.
func (w *walk) link(shown, real string, above []string) error {
	to, err := w.resolve(real)
	var bad *pathError
	switch {
	case errors.As(err, &bad):
		w.block(bad.reason, shown, strings.TrimPrefix(bad.text, bad.path+": "))
		return nil
	case errors.Is(err, fs.ErrNotExist):
		w.block(LinkBroken, shown, "is a symbolic link to nothing")
		return nil
	case err != nil:
		return err
	case to.dir == nil, within(to.real, w.top):
		return nil
	}
	for _, a := range above {
		if within(a, to.real) {
			return nil
		}
	}
	return w.dir(shown, to, above)
}

func (w *walk) block(reason Reason, p, text string) {
	w.out.blocked = append(w.out.blocked, blocked{
		path: p, problem: Problem{Reason: reason, File: clean(p), Message: clean(text)},
	})
}

// within tells whether p is top or below it.
func within(p, top string) bool {
	return top == "" || p == top || strings.HasPrefix(p, top+"/")
}

// kustomization tells whether a directory is one, and whether it is only a
// component of others. One that cannot be read counts: rendering it says why.
func (w *walk) kustomization(at found) (is, component bool) {
	w.mu.Lock()
	known := at.dir.class
	w.mu.Unlock()
	if known == classUnknown {
		var linked bool
		if known, linked = w.classify(at); !linked {
			w.mu.Lock()
			at.dir.class = known
			w.mu.Unlock()
		}
	}
	return known == classKustomize, known == classComponent
}

// reclassified tells whether an edited kustomization makes another thing of its
// directory than it was.
func (v *view) reclassified(edited []editedDir) bool {
	for _, e := range edited {
		v.mu.Lock()
		was := e.old.class
		v.mu.Unlock()
		if was == classUnknown {
			continue // no app has looked at it
		}
		w := walk{reader: v.reader()}
		if w.kustomization(found{real: e.path, dir: e.new}); e.new.class != was {
			return true
		}
	}
	return false
}

// classify reads the kustomization of a directory; linked tells that it lies
// elsewhere, so that the directory alone does not decide.
func (w *walk) classify(at found) (class dirClass, linked bool) {
	for _, name := range kustomizationNames {
		e := at.dir.find(name)
		if e == nil || e.mode.IsDir() {
			continue
		}
		linked = e.mode&fs.ModeSymlink != 0
		data, _, err := w.read(path.Join(at.real, name))
		if err == nil && kindOf(data) == "Component" {
			return classComponent, linked
		}
		return classKustomize, linked
	}
	return classNone, false
}

// kindOf returns the kind of a YAML document without expanding anything in it.
func kindOf(data []byte) string {
	var doc yaml.Node
	if yaml.Unmarshal(data, &doc) != nil || len(doc.Content) != 1 {
		return ""
	}
	if kind := child(doc.Content[0], "kind"); kind != nil {
		return kind.Value
	}
	return ""
}
