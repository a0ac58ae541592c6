package manifests

import (
	"fmt"
	"math/rand/v2"
	"sort"
	"strings"
	"testing"
)

// overlayFiles is a tree of n overlays over one base with a component, a
// generator, images and a patch each.
func overlayFiles(n int) map[string]string {
	files := map[string]string{
		"base/kustomization.yaml": "resources: [deployment.yaml, service.yaml]\n",
		"base/deployment.yaml": strings.Replace(benchDeployment("web", 1), "        env: [{name: LEVEL, value: info}]",
			"        env: [{name: LEVEL, value: info}]\n        envFrom: [{configMapRef: {name: settings}}]", 1),
		"base/service.yaml": "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {selector: {app: web}, ports: [{port: 80}]}\n",
		"components/tls/kustomization.yaml": "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\npatches:\n- target: {kind: Deployment}\n  patch: |-\n" +
			"    - {op: add, path: /metadata/annotations, value: {tls: \"on\"}}\n",
	}
	for i := range n {
		for name, text := range overlay(appName(i), 1) {
			files[overlayPath(i)+"/"+name] = text
		}
	}
	return files
}

func overlayPath(i int) string { return fmt.Sprintf("apps/team%03d/%s", i/100, appName(i)) }

func overlay(name string, version int) map[string]string {
	return map[string]string{
		"kustomization.yaml": fmt.Sprintf("resources: [../../../base]\ncomponents: [../../../components/tls]\nnameSuffix: -%[1]s\n"+
			"configMapGenerator: [{name: settings, literals: [APP=%[1]s], files: [app.conf]}]\n"+
			"images: [{name: registry.example.com/web, newTag: \"%[2]d\"}]\npatches: [{path: patch.yaml}]\n", name, version),
		"app.conf":   "name = " + name + "\n",
		"patch.yaml": "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {replicas: 3}\n",
	}
}

// spoil breaks an overlay in one of the ways that repositories are broken, and
// tells what kustomize itself would do: fail as well, or reach out.
var spoil = []struct {
	name     string
	file     string
	text     string
	reaching bool
}{
	{"missing resource", "kustomization.yaml", "resources: [../../../base, gone.yaml]\n", false},
	{"bad YAML", "patch.yaml", "apiVersion: apps/v1\nkind: Deployment\n  metadata: {}\n", false},
	{"unknown key", "kustomization.yaml", "resourcez: [../../../base]\n", false},
	{"patch without target", "patch.yaml", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: nobody}\nspec: {replicas: 3}\n", false},
	{"duplicate", "kustomization.yaml", "resources: [../../../base, ../../../base]\n", false},
	{"no name", "patch.yaml", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {}\n", false},
	{"above the root", "kustomization.yaml", "resources: [../../../base/deployment.yaml]\n", false},
	{"cycle", "kustomization.yaml", "resources: [../../../base, .]\n", false},
	{"empty", "kustomization.yaml", "# nothing\n", false},
	{"wrong type", "kustomization.yaml", "resources: ../../../base\n", false},
	{"remote", "kustomization.yaml", "resources: ['https://example.com/org/repo//base?ref=v1']\n", true},
	{"remote host", "kustomization.yaml", "resources: [../../../base]\npatches: [{path: 'https://example.com/p.yaml'}]\n", true},
	{"chart", "kustomization.yaml", "resources: [../../../base]\nhelmCharts: [{name: x, repo: 'https://example.com', version: 1.0.0}]\n", true},
}

// brokenRepository spoils 15 of 100 overlays, and tells which of them reach out.
func brokenRepository(n int) (files map[string]string, reaching map[string]bool) {
	files, reaching = overlayFiles(n), map[string]bool{}
	random := rand.New(rand.NewPCG(1, 2))
	for i := range n {
		if random.IntN(100) >= 15 {
			continue
		}
		kind := spoil[random.IntN(len(spoil))]
		if kind.reaching && random.IntN(100) < 40 { // fewer remote than broken ones
			kind = spoil[random.IntN(3)]
		}
		files[overlayPath(i)+"/"+kind.file] = kind.text
		reaching[overlayPath(i)] = kind.reaching
	}
	return files, reaching
}

// TestMonorepo renders a repository as they are in real life, 15 of 100
// overlays broken or remote, and holds every root against kustomize on a
// checked-out tree.
func TestMonorepo(t *testing.T) {
	t.Parallel()
	n := 1000
	if raceDetector || testing.Short() {
		n = 50
	}
	files, reaching := brokenRepository(n)
	tree := newMemTree(files)
	dir := checkOut(t, files)
	cache := NewCache([]App{{Name: "app", Path: "apps", Namespace: "default"}}, Options{})
	mustSync(t, cache, tree, "c1")
	roots := cache.Roots()
	if len(roots) != n {
		t.Fatalf("%d roots of %d", len(roots), n)
	}
	alike, refused := 0, map[Reason]int{}
	for _, r := range roots {
		saysWhy(t, r, reaching[r.Path])
		if reaching[r.Path] {
			refused[r.Problems[0].Reason]++
			continue
		}
		want, wantErr := buildDisk(t, dir, r.Path)
		got, _, gotErr := buildTree(t, tree, r.Path)
		if (wantErr == nil) != (gotErr == nil) || got != want || r.Stale != (wantErr != nil) {
			t.Errorf("%s: stale %v, error %v, kustomize itself: %v", r.Path, r.Stale, gotErr, wantErr)
			continue
		}
		alike++
	}
	if alike*100 < 95*n {
		t.Errorf("%d of %d roots are as kustomize makes them, refused %v", alike, n, refused)
	}
	t.Logf("%d of %d roots alike, refused %v", alike, n, refused)
}

// saysWhy checks that a stale root has a problem with a file, and that one which
// reaches out is refused by name.
func saysWhy(t *testing.T, r RootResult, reaching bool) {
	t.Helper()
	switch {
	case r.Stale && (len(r.Problems) == 0 || r.Problems[0].File == "" || r.Problems[0].Message == ""):
		t.Fatalf("%s is stale without saying why: %v", r.Path, r.Problems)
	case !reaching:
	case !r.Stale || r.Problems[0].Line == 0 || r.Problems[0].Reason != RemoteRefused && r.Problems[0].Reason != PluginRefused:
		t.Fatalf("%s reaches out: %v", r.Path, r.Problems)
	}
}

// A change in the base renders the overlays that use it and nothing else.
func TestSharedBase(t *testing.T) {
	t.Parallel()
	files := overlayFiles(20)
	files["apps/alone/kustomization.yaml"] = "resources: [c.yaml]\n"
	files["apps/alone/c.yaml"] = configMap("alone", "1")
	files["apps/plain/c.yaml"] = configMap("plain", "1")
	tree := newMemTree(files)
	var published []string
	c := NewCache([]App{{Name: "app", Path: "apps", Namespace: "default"}}, Options{Publish: func(r RootResult) { published = append(published, r.Path) }})
	mustSync(t, c, tree, "c1")
	published = nil
	u := mustSync(t, c, tree.with(map[string]string{"base/deployment.yaml": strings.Replace(files["base/deployment.yaml"], "value: info", "value: debug", 1)}), "c2")
	if u.Rendered != 20 || len(u.Roots) != 20 || len(published) != 20 || !sort.StringsAreSorted(published) {
		t.Errorf("%d rendered, %d changed, published %v", u.Rendered, len(u.Roots), published)
	}
	for _, ch := range u.Changes() {
		if got := lines(ch.Fields); ch.Op != Changed || got != "spec.template.spec.containers[web].env[LEVEL].value: info → debug" {
			t.Errorf("%s %s: %s", ch.Op, ch.ID, got)
		}
	}
	if u := mustSync(t, c, tree.with(map[string]string{"base/README.md": "x"}), "c3"); u.Rendered != 20 { // back to the first base
		t.Errorf("%d rendered", u.Rendered)
	}
	if u := mustSync(t, c, tree.with(map[string]string{"base/README.md": "y", "components/other/x.yaml": "x"}), "c4"); u.Rendered != 0 {
		t.Errorf("%d rendered for a file nobody reads", u.Rendered)
	}
}
