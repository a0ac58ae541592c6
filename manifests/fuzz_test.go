package manifests

import (
	"io/fs"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// Whatever a file holds, decoding it ends soon, and every problem and object
// names a line of the file.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		configMap("a", "1"), diffBefore, "a: &a [*a]", "kind: [", "---\n---\n...\n", `{"kind":"List","apiVersion":"v1","items":[{}]}`,
		"apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {a: x}\n", "a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]\n", "\ufeffa: b", "a:\r\n  b: c\r\n---\r\nd\r\n",
		"apiVersion: v1\nkind: ConfigMap\nmetadata: {<<: {name: x}}\n", "? [a]\n: b\n", "!!binary x", "%YAML 1.2\n---\na", "a: !!float x\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		done := time.AfterFunc(20*time.Second, func() { panic("decoding does not end") })
		defer done.Stop()
		d := &decoder{app: App{Name: "app", Namespace: "default"}, root: "r"}
		d.file("r/f.yaml", data)
		lines := strings.Count(string(data), "\n") + strings.Count(string(data), "\r") +
			strings.Count(string(data), "\u0085") + strings.Count(string(data), "\u2028") + strings.Count(string(data), "\u2029") + 2
		for _, p := range d.problems {
			if p.Line < 0 || p.Line > lines || p.Reason == "" || p.Message == "" || strings.ContainsFunc(p.String(), unprintable) {
				t.Errorf("problem %#v of a file of %d lines", p, lines)
			}
		}
		for _, o := range d.objects {
			if o.Line < 1 || o.Line > lines || o.ID.Name == "" || o.Digest == "" || o.Object.GetName() != o.ID.Name {
				t.Errorf("object %+v of a file of %d lines", o.ID, lines)
			}
		}
	})
}

// The size of a document is that of the document with its aliases written out.
func FuzzComplexity(f *testing.F) {
	for _, seed := range []string{"a: &a [1,2]\nb: [*a,*a]\n", "x: &x {a: &y [1], b: *y}\nz: *x\n", "&a [*a]", "[[[[]]]]", "a: &a\nb: *a"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		docs, err := nodes(data)
		if err != nil {
			return
		}
		for _, n := range docs {
			bad := tooComplex(n)
			size, deepest, cyclic := expand(n, 0, map[*yaml.Node]bool{}, new(int))
			if want := cyclic || size > maxNodes || deepest > maxNodeDepth+2; want && bad == nil {
				t.Errorf("%d nodes, %d deep, cyclic %v: not refused", size, deepest, cyclic)
			}
			if bad != nil && !cyclic && size <= maxNodes && deepest < maxNodeDepth {
				t.Errorf("%d nodes, %d deep: refused as %s", size, deepest, bad.reason)
			}
		}
	})
}

// expand counts by writing everything out, up to just above the limits.
func expand(n *yaml.Node, level int, open map[*yaml.Node]bool, total *int) (size, deepest int, cyclic bool) {
	n = target(n)
	*total++
	if n == nil || *total > maxNodes || level > maxNodeDepth+5 {
		return *total, level, false
	}
	if open[n] {
		return *total, level, true
	}
	open[n] = true
	defer delete(open, n)
	deepest = level
	for _, c := range n.Content {
		_, d, cyc := expand(c, level+1, open, total)
		deepest, cyclic = max(deepest, d), cyclic || cyc
		if cyclic || *total > maxNodes {
			break
		}
	}
	return *total, deepest, cyclic
}

// No path leads out of a tree, and a path means the same as the links say.
func FuzzResolve(f *testing.F) {
	tree := newMemTree(map[string]string{
		"a/b/c.yaml": "x", "a/up": "-> ..", "a/out": "-> ../..", "a/abs": "-> /etc", "a/self": "-> self", "l": "-> a/b", "m": "-> l/../up/a",
		"deep": "-> a/up/a/up/a/up/l", "mod": submodule, "p": "-> q", "q": "-> p",
	})
	for _, seed := range []string{"a/b/c.yaml", "l/c.yaml", "../x", "a/../../x", "a/out/a", "m", "deep/c.yaml", "a/self/x", "mod/x", "p", "a//b/./c.yaml", "a/abs/passwd"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, p string) {
		v, err := newView(tree, new(sync.Mutex))
		if err != nil {
			t.Fatal(err)
		}
		r := v.reader()
		at, err := r.resolve(p)
		if err != nil {
			return
		}
		if at.real != "" && (at.real != path.Clean(at.real) || strings.HasPrefix(at.real, "..") || strings.HasPrefix(at.real, "/")) {
			t.Fatalf("%q leads to %q", p, at.real)
		}
		e, err := tree.Stat(at.real)
		if err != nil || e.Type()&fs.ModeSymlink != 0 {
			t.Fatalf("%q leads to %q, which is %v %v", p, at.real, e, err)
		}
		for key, value := range r.deps {
			if got, err := v.dependency(key); err != nil || got != value {
				t.Fatalf("%q depends on %q = %q, now %q %v", p, key, value, got, err)
			}
		}
	})
}

// No kustomization makes the screen fail, and none that names an address in a
// list of paths passes.
func FuzzScreen(f *testing.F) {
	for _, seed := range []string{
		"resources: [https://example.com/x]\n", "Resources: [\"git::x\"]\n", "a: &a [x]\nresources: *a\n", "patches: [{path: 'http://x'}]\n",
		"transformers:\n- |\n  apiVersion: builtin\n  kind: X\n  path: http://x\n", "configMapGenerator: [{files: ['a=https://x']}]\n", "openapi: {path: x}\n",
		"bases: [user@host:a/b]\n", "{\"components\": [\"github.com/a/b\"]}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := newView(newMemTree(map[string]string{"o/kustomization.yaml": "x"}), new(sync.Mutex))
		if err != nil {
			t.Fatal(err)
		}
		if in := inspect(data); in.refusal != nil {
			return
		}
		fsys := newTreeFS(v.reader(), new(inspections))
		bad := fsys.screen("o/kustomization.yaml", data)
		var k struct{ Resources, Components []string }
		raw, err := toJSON(data)
		if err != nil || yaml.Unmarshal(raw, &k) != nil {
			return
		}
		for _, p := range append(k.Resources, k.Components...) {
			if remoteAddress(p) && bad == nil {
				t.Errorf("%q passes", p)
			}
		}
	})
}

// Splitting keeps every line that is no marker, in order.
func FuzzSplit(f *testing.F) {
	for _, seed := range []string{"a\n---\nb", "---\n", "a: |\n  ---\n---\nb\n...\nc", "--- a\n---b\n", "\ufeff---\r\na\r\n...\r\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		all := strings.SplitAfter(strings.TrimPrefix(string(data), "\ufeff"), "\n")
		for _, doc := range split(data) {
			text := strings.SplitAfter(string(doc.data), "\n")
			if doc.before+len(text) > len(all)+1 {
				t.Fatalf("document at line %d of %d lines goes past the end", doc.before, len(text))
			}
			for i, line := range text {
				if line != "" && all[doc.before+i] != line {
					t.Fatalf("line %d is %q, not %q", doc.before+i+1, line, all[doc.before+i])
				}
			}
		}
	})
}
