package manifests

import (
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"testing"
	"testing/fstest"

	"pgregory.net/rapid"
)

// What a fork shows of a tree is what a cache that synced to it would.
func TestForkIsASync(t *testing.T) {
	t.Parallel()
	base := map[string]string{
		"base/kustomization.yaml": "resources: [c.yaml]\n",
		"base/c.yaml":             configMap("shared", "1"),
		"a/kustomization.yaml":    "resources: [../base]\nnamePrefix: a-\n",
		"b/c.yaml":                configMap("b", "1"),
		"c/kustomization.yaml":    "resources: [missing.yaml]\n",
	}
	paths := []string{"base/c.yaml", "a/kustomization.yaml", "b/c.yaml", "b/d.yaml", "c/missing.yaml", "c/kustomization.yaml"}
	contents := []string{
		"", configMap("shared", "2"), configMap("b", "3"), "kind: [", "resources: [../base]\nnamePrefix: x-\n", "resources: [../b/c.yaml, ../base]\n",
	}
	rapid.Check(t, func(t *rapid.T) {
		c := NewCache(oneApp, Options{})
		tree := newMemTree(base)
		if _, err := c.Sync(t.Context(), tree, "c0"); err != nil {
			t.Fatal(err)
		}
		shown := owners(c)
		f, layers := c, Tree(tree)
		files := map[string]string{}
		for i := range rapid.IntRange(1, 4).Draw(t, "steps") {
			over := map[string][]byte{}
			for range rapid.IntRange(1, 2).Draw(t, "changes") {
				p := rapid.SampledFrom(paths).Draw(t, "path")
				text := rapid.SampledFrom(contents).Draw(t, "content")
				files[p], over[p] = text, []byte(text)
				if text == "" {
					over[p] = nil
				}
			}
			layers = Overlay(layers, over)
			commit := fmt.Sprintf("c%d", i+1)
			preview, err := f.Preview(t.Context(), layers, commit)
			if err != nil {
				t.Fatal(err)
			}
			if f, err = f.Fork(t.Context(), layers, commit); err != nil {
				t.Fatal(err)
			}
			replay(shown, preview)
		}
		if got := owners(f); !reflect.DeepEqual(got, shown) {
			t.Errorf("previews add up to\n%v\nthe fork holds\n%v", shown, got)
		}
		other := NewCache(oneApp, Options{})
		if _, err := other.Sync(t.Context(), tree, "c0"); err != nil {
			t.Fatal(err)
		}
		if _, err := other.Sync(t.Context(), mergeFiles(tree, files), "last"); err != nil {
			t.Fatal(err)
		}
		for _, key := range sorted(f.pending) {
			t.Errorf("%v is still to be rendered", key)
		}
		if c.Commit() != "c0" {
			t.Errorf("the cache moved to %s", c.Commit())
		}
		if clean := len(f.Problems()) == 0 && len(other.Problems()) == 0; clean && !reflect.DeepEqual(owners(f), owners(other)) {
			t.Errorf("the fork holds\n%v\na synced cache\n%v", owners(f), owners(other))
		}
	})
}

func TestUpdateNamesStaleRoots(t *testing.T) {
	t.Parallel()
	c := NewCache(oneApp, Options{})
	tree := newMemTree(map[string]string{"a/kustomization.yaml": "resources: [../x.yaml, missing.yaml]\n", "b/c.yaml": configMap("b", "1")})
	mustSync(t, c, tree, "c1")
	u, err := c.Preview(t.Context(), Overlay(tree, map[string][]byte{"a/kustomization.yaml": []byte("resources: [gone.yaml]\n")}), "c2")
	if err != nil || len(u.Stale) != 1 || u.Stale[0].Path != "a" {
		t.Errorf("got %v, %v", u.Stale, err)
	}
	u, err = c.Preview(t.Context(), Overlay(tree, map[string][]byte{"b/c.yaml": []byte(configMap("b", "2"))}), "c2")
	if err != nil || len(u.Stale) != 0 {
		t.Errorf("got %v, %v", u.Stale, err)
	}
}

func TestOverlay(t *testing.T) {
	t.Parallel()
	base := DirTree(fstest.MapFS{
		"a/x.yaml": {Data: []byte("x")}, "a/y.yaml": {Data: []byte("y")}, "b/c/z.yaml": {Data: []byte("z")}, "top": {Data: []byte("t")},
	})
	o := Overlay(base, map[string][]byte{"a/x.yaml": []byte("new"), "b/c/z.yaml": nil, "d/e/f": []byte("f"), "gone": nil})
	if o.Hash() != "" {
		t.Error("a changed tree has a hash")
	}
	for dir, want := range map[string]string{"": "a/ d/ top", "a": "x.yaml y.yaml", "d": "e/", "d/e": "f"} {
		if got := listing(t, o, dir); got != want {
			t.Errorf("%q: got %q, want %q", dir, got, want)
		}
	}
	for p, want := range map[string]string{"a/x.yaml": "new", "a/y.yaml": "y", "d/e/f": "f", "top": "t"} {
		if got, err := o.ReadFile(p); string(got) != want || err != nil {
			t.Errorf("%s: got %q, %v", p, got, err)
		}
	}
	for _, p := range []string{"b/c/z.yaml", "b/c", "b", "gone", "nowhere"} {
		if e, err := o.Stat(p); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: got %v, %v", p, e, err)
		}
	}
	if _, err := o.ReadFile("b/c/z.yaml"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func listing(t *testing.T, tree Tree, dir string) string {
	t.Helper()
	list, err := tree.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	out := ""
	for i, e := range list {
		if i > 0 {
			out += " "
		}
		if out += e.Name(); e.IsDir() {
			out += "/"
		}
	}
	return out
}
