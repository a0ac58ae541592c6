package manifests

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestLineage(t *testing.T) {
	t.Parallel()
	head := map[string]string{
		"plain/a.yaml":               configMap("a", "1"),
		"plain/b.yaml":               configMap("b", "1"),
		"also/c.yaml":                "-> ../elsewhere/c.yaml",
		"elsewhere/c.yaml":           configMap("c", "1"),
		"base/kustomization.yaml":    "resources: [d.yaml]\n",
		"base/d.yaml":                configMap("d", "1"),
		"overlay/kustomization.yaml": "resources: [../base]\nnamePrefix: x-\n",
	}
	ids := func(names ...string) []ID {
		var out []ID
		for _, n := range names {
			out = append(out, ID{Kind: "ConfigMap", Namespace: "default", Name: n})
		}
		return out
	}
	all := ids("a", "b", "c", "d", "x-d")
	for name, test := range map[string]struct {
		older map[string]string // what the older tree has instead; "" is nothing
		want  []ID
	}{
		"nothing":                      {map[string]string{"README": "words"}, nil},
		"its own file":                 {map[string]string{"plain/a.yaml": configMap("a", "0")}, ids("a")},
		"its file is not there":        {map[string]string{"plain/a.yaml": ""}, ids("a")},
		"a file beside":                {map[string]string{"plain/z.yaml": configMap("z", "0")}, nil},
		"its directory is not there":   {map[string]string{"plain/a.yaml": "", "plain/b.yaml": ""}, ids("a", "b")},
		"what a link leads to":         {map[string]string{"elsewhere/c.yaml": configMap("c", "0")}, ids("c")},
		"a link":                       {map[string]string{"also/c.yaml": "-> ../elsewhere/other.yaml"}, ids("c")},
		"a shared base":                {map[string]string{"base/d.yaml": configMap("d", "0")}, ids("d", "x-d")},
		"an overlay":                   {map[string]string{"overlay/kustomization.yaml": "resources: [../base]\n"}, ids("x-d")},
		"a kustomization beside":       {map[string]string{"plain/kustomization.yaml": "resources: [b.yaml]\n"}, ids("a", "b")},
		"a kustomization above":        {map[string]string{"Kustomization": "resources: []\n"}, all},
		"a file where a directory was": {map[string]string{"plain/a.yaml": "", "plain/b.yaml": "", "plain": "text"}, ids("a", "b")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tree := newMemTree(head)
			c := NewCache(oneApp, Options{})
			mustSync(t, c, tree, "c1")
			l, err := c.Lineage(slices.Concat(all, ids("unknown")))
			if err != nil {
				t.Fatal(err)
			}
			got, err := l.Back(tree.with(test.older))
			if err != nil || !slices.Equal(got, test.want) {
				t.Fatalf("got %v, %v, want %v", got, err, test.want)
			}
			left := slices.DeleteFunc(slices.Clone(all), func(id ID) bool { return slices.Contains(test.want, id) })
			if !slices.Equal(l.Left(), left) {
				t.Errorf("left are %v, want %v", l.Left(), left)
			}
			if again, err := l.Back(tree); err != nil || len(again) != 0 {
				t.Errorf("of the first tree again: %v, %v", again, err)
			}
		})
	}
}

func TestLineageWithoutAResult(t *testing.T) {
	t.Parallel()
	tree := newMemTree(map[string]string{"a.yaml": configMap("a", "1")})
	c := NewCache(oneApp, Options{})
	id := ID{Kind: "ConfigMap", Namespace: "default", Name: "a"}
	if l, err := c.Lineage([]ID{id}); err != nil || len(l.Left()) != 0 {
		t.Errorf("of an empty cache: %v, %v", l.Left(), err)
	}
	mustSync(t, c, tree, "c1")
	mustSync(t, c, tree.with(map[string]string{"a.yaml": "kind: ["}), "c2")
	if l, err := c.Lineage([]ID{id}); err != nil || len(l.Left()) != 0 {
		t.Errorf("of a root that does not render: %v, %v", l.Left(), err)
	}
}

// While a lineage follows an object, its root renders it as where the lineage began.
func TestLineageFollowsWhatIsTheSame(t *testing.T) {
	t.Parallel()
	paths := []string{"base/c.yaml", "base/d.yaml", "a/kustomization.yaml", "b/c.yaml", "b/kustomization.yaml", "b/deep/e.yaml", "link"}
	contents := []string{
		"", configMap("shared", "1"), configMap("b", "3"), "kind: [", "resources: [../base]\nnamePrefix: x-\n",
		"resources: [c.yaml]\n", "-> base", "kind: Component\napiVersion: kustomize.config.k8s.io/v1alpha1\n",
	}
	rapid.Check(t, func(t *rapid.T) {
		trees := []*memTree{newMemTree(map[string]string{
			"base/kustomization.yaml": "resources: [c.yaml]\n", "base/c.yaml": configMap("shared", "1"),
			"a/kustomization.yaml": "resources: [../base]\nnamePrefix: a-\n",
			"b/c.yaml":             configMap("b", "1"), "b/deep/e.yaml": configMap("deep", "1"),
		})}
		for range rapid.IntRange(2, 5).Draw(t, "commits") {
			trees = append(trees, trees[len(trees)-1].with(map[string]string{
				rapid.SampledFrom(paths).Draw(t, "path"): rapid.SampledFrom(contents).Draw(t, "content"),
			}))
		}
		c := NewCache(oneApp, Options{})
		if _, err := c.Sync(t.Context(), trees[0], "c0"); err != nil {
			t.Fatal(err)
		}
		began := declaredBy(c)
		var ids []ID
		for _, o := range c.Objects() {
			ids = append(ids, o.ID)
		}
		l, err := c.Lineage(ids)
		if err != nil {
			t.Fatal(err)
		}
		for i, tree := range trees[1:] {
			if _, err := l.Back(tree); err != nil {
				t.Fatal(err)
			}
			older := NewCache(oneApp, Options{})
			if _, err := older.Sync(t.Context(), tree, "older"); err != nil {
				t.Fatal(err)
			}
			is := declaredBy(older)
			for _, id := range l.Left() {
				if !slices.Contains(is[id], began[id][0]) {
					t.Fatalf("%s is followed %d trees back, where it is %v instead of %s", id, i+1, is[id], began[id])
				}
			}
		}
	})
}

// declaredBy tells for each object which roots declare it, and as what; the owner first.
func declaredBy(c *Cache) map[ID][]string {
	out := map[ID][]string{}
	for id, claims := range c.claims {
		for _, claim := range claims {
			out[id] = append(out[id], fmt.Sprintf("%s at %s", claim.object.Digest, claim.root.path))
		}
	}
	return out
}
