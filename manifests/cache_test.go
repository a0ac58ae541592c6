package manifests

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/api/equality"
)

// memBlobs keeps blobs in memory.
type memBlobs struct {
	mu   sync.Mutex
	data map[string][]byte
}

func (b *memBlobs) Get(key string) ([]byte, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	v, ok := b.data[key]
	return v, ok
}

func (b *memBlobs) Put(key string, value []byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.data == nil {
		b.data = map[string][]byte{}
	}
	if len(value) == 0 {
		delete(b.data, key)
	} else {
		b.data[key] = value
	}
	return nil
}

func mustSync(t testing.TB, c *Cache, tree Tree, commit string) Update {
	t.Helper()
	u, err := c.Sync(t.Context(), tree, commit)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func configMap(name, value string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\ndata: {v: %q}\n", name, value)
}

var oneApp = []App{{Source: "src", Name: "app", Namespace: "default"}}

func sampleTree() *memTree {
	return newMemTree(map[string]string{
		"a/d.yaml":              benchDeployment("a", 1),
		"a/s.yaml":              "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {p: hunter2}\n",
		"a/svc.yaml":            "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {selector: {app: a}, ports: [{port: 80}]}\n",
		"b/kustomization.yaml":  "resources: [d.yaml]\nconfigMapGenerator: [{name: c, files: [x.txt]}]\n",
		"b/d.yaml":              strings.Replace(benchDeployment("b", 1), "  replicas: 2\n", "", 1),
		"b/x.txt":               "some text",
		"c/broken.yaml":         "kind: [",
		"ns/ns.yaml":            "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n",
		"d/kustomization.yaml":  "resources: [https://example.com/x]\n",
		"z/kustomization.yaml":  "resources: [missing.yaml]\n",
		"hidden/.x/broken.yaml": "kind: [",
	})
}

func TestRestartRendersNothing(t *testing.T) {
	t.Parallel()
	blobs := &memBlobs{}
	tree := sampleTree()
	first := NewCache(oneApp, Options{Blobs: blobs})
	if u := mustSync(t, first, tree, "c1"); u.Rendered != 6 {
		t.Fatalf("%d roots rendered", u.Rendered)
	}
	second := NewCache(oneApp, Options{Blobs: blobs})
	u := mustSync(t, second, tree, "c1")
	if u.Rendered != 0 {
		t.Errorf("%d roots rendered after a restart", u.Rendered)
	}
	if len(u.Roots) != 6 {
		t.Errorf("%d roots reported", len(u.Roots))
	}
	sameState(t, second, first)
	for _, o := range second.Objects() {
		was, _ := first.Object(o.ID)
		if !equality.Semantic.DeepEqual(o.Object, was.Object) || o.NoReplicas != was.NoReplicas || o.selectorLine != was.selectorLine {
			t.Errorf("%s differs after a restart", o.ID)
		}
	}
	// What follows costs as little as if there had been no restart.
	next := tree.with(map[string]string{"b/x.txt": "other text"})
	if u := mustSync(t, second, next, "c2"); u.Rendered != 1 || len(u.Roots) != 1 || u.Roots[0].Path != "b" {
		t.Errorf("after the restart: %s", describe(u))
	}
	// A missing file that appears is noticed although its absence was only remembered.
	fixed := next.with(map[string]string{"z/missing.yaml": configMap("z", "1")})
	if u := mustSync(t, second, fixed, "c3"); u.Rendered != 1 || u.Roots[0].Stale {
		t.Errorf("after the fix: %s", describe(u))
	}
}

// sameState compares all that a cache shows, except the commits of problems.
func sameState(t testing.TB, got, want *Cache) {
	t.Helper()
	if g, w := stateText(got), stateText(want); g != w {
		t.Errorf("got\n%s\nwant\n%s", g, w)
	}
}

func stateText(c *Cache) string {
	var b strings.Builder
	for _, r := range c.Roots() {
		fmt.Fprintf(&b, "%s %s %s stale=%v\n", r.App, r.Path, r.Kind, r.Stale)
		for _, o := range r.Objects {
			fmt.Fprintf(&b, "  %s %s %s\n", o.ID, o.where(), o.Digest)
		}
	}
	for _, o := range c.Objects() {
		fmt.Fprintf(&b, "owned %s %s %s\n", o.ID, o.App, o.Root)
	}
	for _, p := range c.Problems() {
		p.Commit = ""
		fmt.Fprintf(&b, "%s %s\n", p.App, p)
	}
	return b.String()
}

func TestRestartWithDamage(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func([]byte) []byte{
		"cut":     func(b []byte) []byte { return b[:len(b)/2] },
		"nothing": func([]byte) []byte { return []byte("{}") },
		"changed": func(b []byte) []byte { return []byte(strings.ReplaceAll(string(b), "registry", "Registry")) },
		"lost":    func([]byte) []byte { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			blobs := &memBlobs{}
			first := NewCache(oneApp, Options{Blobs: blobs})
			mustSync(t, first, sampleTree(), "c1")
			for _, key := range sortedKeys(blobs.data) {
				_ = blobs.Put(key, damage(blobs.data[key]))
			}
			second := NewCache(oneApp, Options{Blobs: blobs})
			if u := mustSync(t, second, sampleTree(), "c1"); u.Rendered == 0 {
				t.Error("damaged results were trusted")
			}
			sameState(t, second, first)
		})
	}
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	return keys
}

// A root that broke while nobody looked still has its last good objects.
func TestRestartOntoBrokenRoot(t *testing.T) {
	t.Parallel()
	blobs := &memBlobs{}
	tree := newMemTree(map[string]string{"a/c.yaml": configMap("a", "1")})
	mustSync(t, NewCache(oneApp, Options{Blobs: blobs}), tree, "c1")
	second := NewCache(oneApp, Options{Blobs: blobs})
	u := mustSync(t, second, tree.with(map[string]string{"a/c.yaml": "kind: ["}), "c2")
	if len(u.Roots) != 1 || !u.Roots[0].Stale || u.Roots[0].Commit != "c1" || len(u.Roots[0].Objects) != 1 {
		t.Errorf("got %s", describe(u))
	}
	third := NewCache(oneApp, Options{Blobs: blobs})
	if u := mustSync(t, third, tree.with(map[string]string{"a/c.yaml": "kind: ["}), "c2"); u.Rendered != 0 || len(third.Objects()) != 1 {
		t.Errorf("after another restart: %s", describe(u))
	}
	if !third.Stale("app") {
		t.Error("the app is not stale")
	}
}

func TestRenderChangedByUpgrade(t *testing.T) {
	t.Parallel()
	blobs := &memBlobs{}
	tree := newMemTree(map[string]string{"a/c.yaml": configMap("a", "1"), "b/c.yaml": configMap("b", "1")})
	old := NewCache(oneApp, Options{Blobs: blobs})
	old.version = recordFormat + " older"
	mustSync(t, old, tree, "c1")
	// The older version made something else of the same file.
	key := blobKey(oneApp[0], "a")
	other := NewCache(oneApp, Options{Blobs: blobs})
	other.version = old.version
	mustSync(t, other, tree.with(map[string]string{"a/c.yaml": configMap("a", "0")}), "c0")
	rec, _ := other.load(rootKey{0, "a"})
	rec.Deps = old.roots[rootKey{0, "a"}].deps
	data, err := json.Marshal(rec)
	if err != nil {
		t.Fatal(err)
	}
	_ = blobs.Put(key, data)

	upgraded := NewCache(oneApp, Options{Blobs: blobs})
	u := mustSync(t, upgraded, tree, "c1")
	if u.Rendered != 2 {
		t.Errorf("%d roots rendered by a new version", u.Rendered)
	}
	if len(u.Problems) != 1 || u.Problems[0].Reason != RenderChanged || !strings.Contains(u.Problems[0].Message, "data.v: 0 → 1") {
		t.Errorf("problems: %v", u.Problems)
	}
	if upgraded.Stale("app") {
		t.Error("a changed rendering makes nothing stale")
	}
	// It is remembered until the files change.
	again := NewCache(oneApp, Options{Blobs: blobs})
	if u := mustSync(t, again, tree, "c1"); u.Rendered != 0 || len(u.Problems) != 1 {
		t.Errorf("after a restart: %s", describe(u))
	}
	if u := mustSync(t, again, tree.with(map[string]string{"a/c.yaml": configMap("a", "2")}), "c2"); len(u.Problems) != 0 {
		t.Errorf("after the next commit: %s", describe(u))
	}
}

func TestUnreadableTree(t *testing.T) {
	t.Parallel()
	tree := newMemTree(map[string]string{"a/c.yaml": configMap("a", "1"), "b/c.yaml": configMap("b", "1")})
	c := NewCache(oneApp, Options{})
	mustSync(t, c, tree, "c1")
	want := stateText(c)

	broken := tree.with(map[string]string{"a/c.yaml": configMap("a", "2"), "b/x.yaml": configMap("x", "2")})
	broken.fail = map[string]error{"b": errors.New("object missing")}
	if _, err := c.Sync(t.Context(), broken, "c2"); err == nil {
		t.Fatal("a tree that cannot be read was synced")
	}
	if got := stateText(c); got != want || c.Commit() != "c1" {
		t.Errorf("the cache moved to an unreadable tree:\n%s", got)
	}
	// A file that cannot be read makes its root stale, and is tried again.
	flaky := tree.with(map[string]string{"a/c.yaml": configMap("a", "2")})
	flaky.fail = map[string]error{"a/c.yaml": errors.New("i/o error")}
	u := mustSync(t, c, flaky, "c2")
	if len(u.Roots) != 1 || !u.Roots[0].Stale || u.Problems[0].Reason != Unreadable {
		t.Fatalf("got %s", describe(u))
	}
	healed := *flaky
	healed.fail = nil
	if u := mustSync(t, c, &healed, "c2"); u.Rendered != 1 || len(u.Problems) != 0 {
		t.Errorf("got %s", describe(u))
	}
}

// A sync that is interrupted is taken up by the next, which reports everything
// since the last that ended.
func TestInterruptedSync(t *testing.T) {
	t.Parallel()
	files := map[string]string{}
	for i := range 5 {
		files[fmt.Sprintf("r%d/c.yaml", i)] = configMap(fmt.Sprintf("r%d", i), "1")
	}
	tree := newMemTree(files)
	ctx, cancel := context.WithCancel(t.Context())
	published := 0
	c := NewCache(oneApp, Options{Publish: func(RootResult) {
		if published++; published == 2 {
			cancel()
		}
	}})
	if _, err := c.Sync(ctx, tree, "c1"); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	if u := mustSync(t, c, tree, "c1"); u.Rendered != 3 || len(u.Roots) != 5 || published != 5 {
		t.Errorf("%d published, then %s", published, describe(u))
	}
}

func TestPreviewLeavesTheIndexAlone(t *testing.T) {
	t.Parallel()
	tree := sampleTree()
	c := NewCache(oneApp, Options{})
	mustSync(t, c, tree, "c1")
	want := stateText(c)
	users := len(c.users)
	next := tree.with(map[string]string{"b/x.txt": "new", "a/d.yaml": "", "e/c.yaml": configMap("e", "1"), "c/broken.yaml": configMap("c", "1")})
	u, err := c.Preview(t.Context(), next, "c2")
	if err != nil || u.Rendered != 4 || len(u.Roots) != 4 {
		t.Errorf("preview: %v %s", err, describe(u))
	}
	if got := stateText(c); got != want || c.Commit() != "c1" || len(c.users) != users {
		t.Errorf("the preview moved the cache:\n%s", got)
	}
	if u := mustSync(t, c, next, "c2"); u.Rendered != 4 {
		t.Errorf("sync after the preview: %s", describe(u))
	}
}

// What a directory is, is still known after something else in it changed.
func TestKustomizationBecomesComponent(t *testing.T) {
	t.Parallel()
	tree := newMemTree(map[string]string{"a/kustomization.yaml": "resources: [c.yaml]\n", "a/c.yaml": configMap("c", "1")})
	c := NewCache(oneApp, Options{})
	mustSync(t, c, tree, "c1")
	tree = tree.with(map[string]string{"a/c.yaml": configMap("c", "2")})
	mustSync(t, c, tree, "c2")
	tree = tree.with(map[string]string{"a/kustomization.yaml": "resources: [c.yaml]\nnamePrefix: x-\n"})
	if u := mustSync(t, c, tree, "c3"); u.Rendered != 1 || u.Roots[0].Gone {
		t.Errorf("another prefix: %s", describe(u))
	}
	tree = tree.with(map[string]string{"a/kustomization.yaml": "kind: Component\napiVersion: kustomize.config.k8s.io/v1alpha1\nresources: [c.yaml]\n"})
	if u := mustSync(t, c, tree, "c4"); u.Rendered != 0 || len(u.Roots) != 1 || !u.Roots[0].Gone {
		t.Errorf("a component: %s", describe(u))
	}
	tree = tree.with(map[string]string{"a/kustomization.yaml": "resources: [c.yaml]\n"})
	if u := mustSync(t, c, tree, "c5"); u.Rendered != 1 || len(u.Roots) != 1 || u.Roots[0].Gone {
		t.Errorf("a kustomization again: %s", describe(u))
	}
}

func TestValidateUpdateNamesTheLine(t *testing.T) {
	t.Parallel()
	before := objects(t, diffBefore)[0]
	after := objects(t, strings.ReplaceAll(diffBefore, "{app: web}", "{app: shop}"))[0]
	got := ValidateUpdate(before, after)
	if len(got) != 1 || got[0].String() != `f.yaml:9: spec.selector: Invalid value: {"matchLabels":{"app":"shop"}}: field is immutable (SelectorImmutable)` {
		t.Errorf("got %v", got)
	}
	if got := ValidateUpdate(before, objects(t, strings.Replace(diffBefore, "web:1", "web:2", 1))[0]); got != nil {
		t.Errorf("got %v", got)
	}
}
