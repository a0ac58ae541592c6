package manifests

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// soon fails a test that takes so long that something expands or repeats.
func soon(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Minute): // far beyond what a busy machine under the race detector takes
		t.Fatalf("%s does not end", what)
	}
}

func TestLargeFiles(t *testing.T) {
	t.Parallel()
	both, plain := []string{"plain", "kustomize"}, []string{"plain"} // kustomize takes its time for what is large and fine
	tests := map[string]struct {
		content string
		want    Reason
		roots   []string
	}{
		"comment above the limit":   {"#" + strings.Repeat("x", maxFileBytes) + "\n" + configMap("a", "1"), TooLarge, both},
		"comment below the limit":   {"#" + strings.Repeat("x", maxFileBytes-1000) + "\n" + configMap("a", "1"), "", plain},
		"large comment":             {"#" + strings.Repeat("x", 1<<20) + "\n" + configMap("a", "1"), "", both},
		"millions of items":         {"a: [" + strings.Repeat("1,", 3_000_000) + "]\n", TooComplex, both},
		"more items than the limit": {"a: [" + strings.Repeat("1,", maxNodes+10) + "]\n", TooComplex, both},
		"many documents":            {strings.Repeat("---\n", 100_000) + configMap("a", "1"), "", both},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			for _, root := range tt.roots {
				files := map[string]string{"r/c.yaml": tt.content}
				if root == "kustomize" {
					files["r/kustomization.yaml"] = "resources: [c.yaml]\n"
				}
				soon(t, name, func() {
					u := mustSync(t, NewCache(oneApp, Options{}), newMemTree(files), "c1")
					switch {
					case tt.want == "" && len(u.Problems) > 0:
						t.Errorf("%s: %v", root, u.Problems)
					case tt.want != "" && (len(u.Problems) != 1 || u.Problems[0].Reason != tt.want || u.Problems[0].File != "r/c.yaml"):
						t.Errorf("%s: got %v", root, u.Problems)
					}
				})
			}
		})
	}
}

func TestTreesThatAreRefusedWhole(t *testing.T) {
	t.Parallel()
	good := newMemTree(map[string]string{"a/c.yaml": configMap("a", "1")})
	entries := func(names ...string) *memTree {
		files := map[string]string{"a/c.yaml": configMap("a", "2")}
		tree := newMemTree(files)
		d := tree.root.index["a"].dir
		for _, name := range names {
			d.entries = append(d.entries, memFile(name, configMap("x", "1")))
		}
		d.hash += "!"
		tree.root.index["a"].hash = d.hash
		tree.root.hash += "!"
		return tree
	}
	for name, tree := range map[string]*memTree{
		"dot dot":   entries(".."),
		"dot":       entries("."),
		"empty":     entries(""),
		"slash":     entries("a/b"),
		"NUL":       entries("x\x00.yaml"),
		"twice":     entries("c.yaml"),
		"deep":      newMemTree(map[string]string{"a/" + strings.Repeat("d/", 1000) + "c.yaml": configMap("a", "1")}),
		"not found": {root: good.root, fail: map[string]error{"": fmt.Errorf("object missing")}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := NewCache(oneApp, Options{})
			mustSync(t, c, good, "c1")
			want := stateText(c)
			if name == "not found" {
				tree.root = newMemTree(map[string]string{"b/c.yaml": configMap("b", "1")}).root
			}
			if _, err := c.Sync(t.Context(), tree, "c2"); err == nil {
				t.Error("not refused")
			}
			if stateText(c) != want || c.Commit() != "c1" {
				t.Errorf("the cache moved:\n%s", stateText(c))
			}
			if u := mustSync(t, c, good.with(map[string]string{"a/c.yaml": configMap("a", "3")}), "c3"); u.Rendered != 1 {
				t.Errorf("afterwards: %s", describe(u))
			}
		})
	}
}

func TestNamesAndModes(t *testing.T) {
	t.Parallel()
	c := NewCache(oneApp, Options{})
	tree := newMemTree(map[string]string{
		"r/\xff\xfe.yaml": "kind: [", "r/a\nb.yaml": configMap("nl", "1"), "Case/c.yaml": configMap("case", "1"), "x/c.yaml": configMap("x", "1"),
	})
	u := mustSync(t, c, tree, "c1")
	if len(u.Problems) != 1 || u.Problems[0].File != `r/��.yaml` {
		t.Errorf("got %q", u.Problems)
	}
	// The executable bit changes nothing.
	exec := tree.with(map[string]string{"x/c.yaml": configMap("x", "1")})
	e := exec.root.index["x"].dir
	file := *e.index["c.yaml"]
	file.mode = 0o755
	e.index["c.yaml"], e.entries[0] = &file, &file
	e.hash += "!"
	exec.root.index["x"].hash = e.hash
	exec.root.hash += "!"
	if u := mustSync(t, c, exec, "c2"); u.Rendered != 0 || len(u.Roots) != 0 {
		t.Errorf("executable bit: %s", describe(u))
	}
	// A rename by case only is another directory, with the same object.
	renamed := mergeFiles(tree, map[string]string{"Case": "", "case/c.yaml": configMap("case", "1")})
	if u := mustSync(t, c, renamed, "c3"); u.Rendered != 1 || len(u.Changes()) != 0 {
		t.Errorf("case only: %s", describe(u))
	}
	// A directory and a file take each other's place.
	swapped := mergeFiles(renamed, map[string]string{"x": configMap("x", "1"), "r": ""})
	if u := mustSync(t, c, swapped, "c4"); len(u.Problems) != 0 || len(c.Objects()) != 1 {
		t.Errorf("file for a directory: %s", describe(u))
	}
	back := mergeFiles(swapped, map[string]string{"x/c.yaml": configMap("x", "2")})
	if u := mustSync(t, c, back, "c5"); u.Rendered != 1 || len(c.Objects()) != 2 {
		t.Errorf("directory for a file: %s", describe(u))
	}
}

// A schema given by one kustomization must not change another.
func TestNoSchemaLeaksBetweenRoots(t *testing.T) {
	t.Parallel()
	files := map[string]string{
		"a/kustomization.yaml": "resources: [d.yaml]\nopenapi: {path: schema.json}\n", "a/d.yaml": benchDeployment("a", 1),
		"a/schema.json":        `{"definitions": {"io.k8s.api.apps.v1.Deployment": {"type": "object", "x-kubernetes-group-version-kind": [{"group": "apps", "version": "v1", "kind": "Deployment"}]}}}`,
		"b/kustomization.yaml": "resources: [d.yaml]\npatches:\n- patch: |\n    apiVersion: apps/v1\n    kind: Deployment\n    metadata: {name: b}\n    spec: {template: {spec: {containers: [{name: web, env: [{name: NEW, value: x}]}]}}}\n",
		"b/d.yaml":             benchDeployment("b", 1),
	}
	c := NewCache(oneApp, Options{})
	u := mustSync(t, c, newMemTree(files), "c1")
	if len(u.Problems) != 1 || u.Problems[0].Reason != SchemaRefused {
		t.Fatalf("got %v", u.Problems)
	}
	o, ok := c.Object(ID{"Deployment", "default", "b"})
	if !ok {
		t.Fatal("no Deployment b")
	}
	if got := lines(Diff(objects(t, benchDeployment("b", 1))[0].Object, o.Object)); got != "spec.template.spec.containers[web].env: [\"LEVEL\"] → [\"LEVEL\"]" && !strings.Contains(got, "env[NEW].value: (none) → x") {
		t.Errorf("got %s", got)
	}
	if got := lines(Diff(objects(t, benchDeployment("b", 1))[0].Object, o.Object)); strings.Contains(got, "image") {
		t.Errorf("the patch replaced the container: %s", got)
	}
}

// Bases that include each other twice at every level would render 2^n objects.
func TestExplodingBases(t *testing.T) {
	t.Parallel()
	files := map[string]string{"l0/kustomization.yaml": "resources: [c.yaml]\n", "l0/c.yaml": configMap("c", "1")}
	for i := 1; i < 30; i++ {
		for _, side := range []string{"a", "b"} {
			files[fmt.Sprintf("l%d%s/kustomization.yaml", i, side)] = fmt.Sprintf("resources: [../l%d]\nnameSuffix: -%s\n", i-1, side)
		}
		files[fmt.Sprintf("l%d/kustomization.yaml", i)] = fmt.Sprintf("resources: [../l%da, ../l%db]\n", i, i)
	}
	app := []App{{Name: "app", Path: "l29", Namespace: "default"}}
	soon(t, "the explosion", func() {
		u := mustSync(t, NewCache(app, Options{}), newMemTree(files), "c1")
		if len(u.Problems) != 1 || u.Problems[0].Reason != TooComplex {
			t.Errorf("got %v", u.Problems)
		}
	})
}
