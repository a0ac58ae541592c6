package manifests

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestAnySequence syncs random sequences of trees and holds the result against
// a new cache's at the last one.
func TestAnySequence(t *testing.T) {
	t.Parallel()
	apps := []App{
		{Source: "s", Name: "two", Path: "two", Namespace: "default"},
		{Source: "s", Name: "one", Path: "one", Namespace: "default"},
		{Source: "s", Name: "deep", Path: "one/x", Namespace: "deep"},
	}
	dirs := []string{"one", "one/x", "one/x/y", "two", "two/a", "base"}
	contents := []string{
		"", "", configMap("a", "1"), configMap("a", "2"), configMap("b", "1"), "kind: [", "a: b", "-> ../base", "-> ../base/c.yaml", "-> ../../..", submodule,
		"resources: [c.yaml]\n", "resources: [../base]\n", "resources: [x, y]\nnamePrefix: p-\n", "kind: Component\napiVersion: kustomize.config.k8s.io/v1alpha1\nresources: [c.yaml]\n",
	}
	names := []string{"c.yaml", "d.yaml", "kustomization.yaml", "link", "x", "sub/c.yaml"}
	rapid.Check(t, func(t *rapid.T) {
		blobs := &memBlobs{}
		c := NewCache(apps, Options{Blobs: blobs})
		tree := newMemTree(nil)
		shown := map[string]string{}
		for step := range rapid.IntRange(1, 6).Draw(t, "steps") {
			files := map[string]string{}
			for range rapid.IntRange(1, 4).Draw(t, "changes") {
				p := rapid.SampledFrom(dirs).Draw(t, "dir") + "/" + rapid.SampledFrom(names).Draw(t, "name")
				files[p] = rapid.SampledFrom(contents).Draw(t, "content")
			}
			tree = mergeFiles(tree, files)
			commit := fmt.Sprintf("c%d", step)
			u, err := c.Sync(t.Context(), tree, commit)
			if err != nil {
				t.Fatal(err)
			}
			replay(shown, u)
			if rapid.Bool().Draw(t, "restart") {
				c = NewCache(apps, Options{Blobs: blobs})
				if _, err := c.Sync(t.Context(), tree, commit); err != nil {
					t.Fatal(err)
				}
			}
		}
		full := NewCache(apps, Options{})
		if _, err := full.Sync(t.Context(), tree, "last"); err != nil {
			t.Fatal(err)
		}
		compareFresh(t, c, full, tree)
		if want := owners(c); !reflect.DeepEqual(shown, want) {
			t.Errorf("updates add up to\n%v\nthe cache holds\n%v", shown, want)
		}
	})
}

// mergeFiles sets files, where a file may take the place of a directory and the
// reverse.
func mergeFiles(tree *memTree, files map[string]string) *memTree {
	all := tree.files()
	for p, content := range files {
		for old := range all {
			if old == p || strings.HasPrefix(old, p+"/") || strings.HasPrefix(p, old+"/") {
				delete(all, old)
			}
		}
		if content != "" {
			all[p] = content
		}
	}
	return newMemTree(all)
}

// replay applies an update to what a reader of updates knows.
func replay(shown map[string]string, u Update) {
	for _, r := range u.Roots {
		for _, o := range r.Before {
			if k := o.ID.String(); shown[k] == r.App+" "+r.Path+" "+o.Digest {
				delete(shown, k)
			}
		}
	}
	for _, r := range u.Roots {
		for _, o := range r.Objects {
			shown[o.ID.String()] = r.App + " " + r.Path + " " + o.Digest
		}
	}
}

func owners(c *Cache) map[string]string {
	out := map[string]string{}
	for _, o := range c.Objects() {
		out[o.ID.String()] = o.App + " " + o.Root + " " + o.Digest
	}
	return out
}

// compareFresh compares root by root with a cache that has no past: the same
// roots are stale for the same reasons, and the others hold the same objects.
func compareFresh(t *rapid.T, c, full *Cache, tree *memTree) {
	fresh := map[rootKey]*root{}
	for key, r := range full.roots {
		fresh[key] = r
	}
	for key, r := range c.roots {
		f := fresh[key]
		if f == nil {
			if !r.stale {
				t.Errorf("root %v exists only in the cache with a past: %+v\n%v", key, r.found, tree.files())
			}
			continue
		}
		delete(fresh, key)
		if r.kind != f.kind || r.stale != f.stale || !reflect.DeepEqual(problemTexts(r.found), problemTexts(f.found)) {
			t.Errorf("root %v: got %v stale=%v %v, want %v stale=%v %v\n%v", key, r.kind, r.stale, problemTexts(r.found), f.kind, f.stale, problemTexts(f.found), tree.files())
		}
		if !r.stale && !reflect.DeepEqual(digests(r.raw), digests(f.raw)) {
			t.Errorf("root %v: got %v, want %v\n%v", key, digests(r.raw), digests(f.raw), tree.files())
		}
	}
	for key := range fresh {
		t.Errorf("root %v is missing\n%v", key, tree.files())
	}
}

func problemTexts(problems []Problem) []string {
	var out []string
	for _, p := range problems {
		out = append(out, p.String())
	}
	return out
}

func digests(list []Object) []string {
	var out []string
	for _, o := range list {
		out = append(out, o.ID.String()+" "+o.where()+" "+o.Digest)
	}
	return out
}
