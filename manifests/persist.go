package manifests

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path"
	"runtime/debug"
	"strings"
	"sync"

	"github.com/belay-dev/belay/manifests/schema"
)

// record is what the blobs keep of one root: its last good objects, and what
// the last rendering depended on and complained about.
type record struct {
	Version  string            `json:"version"`
	App      App               `json:"app"`
	Root     string            `json:"root"`
	Kind     RootKind          `json:"kind"`
	Commit   string            `json:"commit,omitempty"`
	Stale    bool              `json:"stale,omitempty"`
	Deps     map[string]string `json:"deps"`
	Problems []Problem         `json:"problems,omitempty"`
	Objects  []recordObject    `json:"objects,omitempty"`
}

type recordObject struct {
	ID           ID              `json:"id"`
	File         string          `json:"file"`
	Line         int             `json:"line,omitempty"`
	SelectorLine int             `json:"selectorLine,omitempty"`
	NoReplicas   bool            `json:"noReplicas,omitempty"`
	Digest       string          `json:"digest"`
	JSON         json.RawMessage `json:"json"`
}

// recordFormat changes when a record, or what this package makes of the same
// files, does.
const recordFormat = "1"

// renderVersion names everything that may change the result of the same files:
// this package, Kubernetes and kustomize.
var renderVersion = sync.OnceValue(func() string {
	parts := []string{recordFormat}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, dep := range info.Deps {
			switch dep.Path {
			case "k8s.io/kubernetes", "k8s.io/api", "sigs.k8s.io/kustomize/api", "sigs.k8s.io/kustomize/kyaml", "sigs.k8s.io/yaml":
				parts = append(parts, dep.Path+"@"+dep.Version)
			}
		}
	}
	return strings.Join(parts, " ")
})

// blobKey names the record of a root. The app's settings are part of it: with
// others the same files mean other objects.
func blobKey(app App, root string) string {
	sum := sha256.Sum256([]byte(strings.Join([]string{app.Source, app.Name, app.Path, app.Namespace, root}, "\x00")))
	return "root-" + hex.EncodeToString(sum[:])
}

// save keeps the current state of a root. What cannot be kept is rendered again
// after the next start.
func (c *Cache) save(r *root) {
	if c.opts.Blobs == nil {
		return
	}
	app := c.apps[r.key.app]
	rec := record{
		Version: c.version, App: app, Root: r.key.path, Kind: r.kind, Commit: r.commit, Stale: r.stale,
		Deps: r.deps, Problems: r.found,
	}
	for _, o := range r.raw {
		data, err := json.Marshal(o.Object)
		if err != nil {
			return
		}
		rec.Objects = append(rec.Objects, recordObject{
			ID: o.ID, File: o.File, Line: o.Line, SelectorLine: o.selectorLine, NoReplicas: o.NoReplicas, Digest: o.Digest, JSON: data,
		})
	}
	if data, err := json.Marshal(rec); err == nil {
		_ = c.opts.Blobs.Put(blobKey(app, r.key.path), data) // see Blobs: a lost record is rendered anew
	}
}

// forget drops the record of a root that is gone.
func (c *Cache) forget(key rootKey) {
	if c.opts.Blobs != nil {
		_ = c.opts.Blobs.Put(blobKey(c.apps[key.app], key.path), nil) // a left-over record is never read wrongly
	}
}

// load returns the record of a root and its objects, nil when there is none
// that can be trusted.
func (c *Cache) load(key rootKey) (*record, []Object) {
	if c.opts.Blobs == nil {
		return nil, nil
	}
	app := c.apps[key.app]
	data, ok := c.opts.Blobs.Get(blobKey(app, key.path))
	if !ok || len(data) == 0 {
		return nil, nil
	}
	rec := new(record)
	if json.Unmarshal(data, rec) != nil || rec.App != app || rec.Root != key.path || !strings.HasPrefix(rec.Version, recordFormat+" ") && rec.Version != recordFormat {
		return nil, nil
	}
	objects := make([]Object, 0, len(rec.Objects))
	for i, o := range rec.Objects {
		sum := sha256.Sum256(o.JSON)
		if hex.EncodeToString(sum[:]) != o.Digest {
			return nil, nil
		}
		typed, err := schema.Restore(o.ID.Kind, o.JSON)
		if err != nil {
			return nil, nil
		}
		objects = append(objects, Object{
			ID: o.ID, Object: typed, App: app.Name, Root: key.path, File: o.File, Line: o.Line, Digest: o.Digest,
			NoReplicas: o.NoReplicas, selectorLine: o.SelectorLine, position: i,
		})
	}
	return rec, objects
}

// unchanged tells whether everything a record depends on is the same in a tree.
func (v *view) unchanged(deps map[string]string) (bool, error) {
	for key, want := range deps {
		got, err := v.dependency(key)
		if err != nil || got != want {
			return false, err
		}
	}
	return len(deps) > 0, nil
}

// dependency is the present value of a dependency key (see reader).
func (v *view) dependency(key string) (string, error) {
	p, isListing := strings.CutSuffix(key, "/")
	at := v.root
	var e *entry
	done := ""
	for _, part := range splitPath(p) {
		if at == nil {
			return absent, nil
		}
		if e = at.find(part); e == nil {
			return absent, nil
		}
		done = path.Join(done, part)
		at = nil
		if e.mode.IsDir() {
			var err error
			if at, err = v.open(e, done); err != nil {
				return "", err
			}
		}
	}
	switch {
	case !isListing && e != nil:
		return e.dependency(), nil
	case isListing && at != nil:
		return v.listing(at), nil
	}
	return absent, nil
}

// recall takes the result of a root from its record. It tells whether the
// record holds for the tree as it is; if not, its objects are at least the last
// good ones. before are the objects to compare with when the same files are
// rendered by another version.
func (c *Cache) recall(s *state, key rootKey) (holds bool, before []Object, err error) {
	rec, objects := c.load(key)
	if rec == nil {
		return false, nil, nil
	}
	same, err := s.view.unchanged(rec.Deps)
	if err != nil {
		return false, nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	holds = same && rec.Version == c.version && rec.Kind == s.roots[key].kind
	s.restore(c.apps, key, rec, objects, holds)
	if same && !holds && !rec.Stale {
		before = objects
	}
	return holds, before, nil
}

// restore puts a record in the place of a root without a result.
func (s *state) restore(apps []App, key rootKey, rec *record, objects []Object, holds bool) {
	s.touch(key)
	next := *s.roots[key]
	next.raw, next.commit = objects, rec.Commit
	if holds {
		next.deps, next.found, next.stale = rec.Deps, rec.Problems, rec.Stale
		s.depend(key, nil, next.deps)
	}
	s.roots[key] = &next
	affected := s.reclaim(key, nil, objects)
	affected[key] = struct{}{}
	s.refresh(apps, affected)
}

// renderChanges lists the objects that the same files render differently than
// an earlier version did.
func renderChanges(app App, before, after []Object) []Problem {
	was := map[ID]Object{}
	for _, o := range before {
		was[o.ID] = o
	}
	var out []Problem
	add := func(o Object, field, text string) {
		out = append(out, Problem{
			Reason: RenderChanged, Source: app.Source, App: app.Name, Root: clean(o.Root), File: clean(o.File), Line: o.Line,
			ID: o.ID, Field: field, Message: fmt.Sprintf("%s renders differently in this version: %s", o.ID, text),
		})
	}
	for _, o := range after {
		old, ok := was[o.ID]
		delete(was, o.ID)
		switch {
		case !ok:
			add(o, "", "it is new")
		case old.Digest != o.Digest:
			if changes := Diff(old.Object, o.Object); len(changes) > 0 {
				add(o, clean(changes[0].Path), changes[0].String())
			}
		}
	}
	for _, o := range before {
		if _, left := was[o.ID]; left {
			add(o, "", "it is gone")
		}
	}
	return out
}
