package manifests

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

func TestValidateWorkingTree(t *testing.T) {
	t.Parallel()
	dir := checkOut(t, map[string]string{
		".git/config":                   "x",
		"base/kustomization.yaml":       "resources: [d.yaml]\n",
		"base/d.yaml":                   benchDeployment("web", 1),
		"apps/over/kustomization.yaml":  "resources: [../../base]\n",
		"apps/plain dir/c.yaml":         "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndat: {}\n",
		"apps/other/ingress.yaml":       "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: i}\n",
		"apps/out/c.yaml":               "-> /etc/hostname",
		"apps/remote/kustomization.yml": "resources:\n- https://example.com/x\n",
	})
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = root.Close() }()
	r, err := Validate(t.Context(), DirTree(root.FS()), []App{{Name: "app", Path: "apps", Namespace: "default"}}, Survey{})
	if err != nil {
		t.Fatal(err)
	}
	if r.OK() || r.Roots != 5 || r.Objects != 1 {
		t.Errorf("got %+v", r)
	}
	var got []string
	for _, p := range r.Problems {
		got = append(got, p.String())
	}
	want := []string{
		"apps/other/ingress.yaml:2: kind: Ingress in networking.k8s.io/v1 is not run here: it is left out (Unsupported)",
		"apps/out/c.yaml: is a symbolic link out of the repository (/etc/hostname) (LinkOutside)",
		`apps/plain dir/c.yaml:4: unknown field "dat" (UnknownField)`,
		`apps/remote/kustomization.yml:2: resources: remote address "https://example.com/x" is not fetched: copy it into the repository and name that path (RemoteRefused)`,
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}

	data, err := json.Marshal(r.SARIF("v1"))
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{
		`"version":"2.1.0"`, `{"id":"Unsupported","shortDescription":{"text":"a kind or field that is not honoured; the rest is applied"}}`,
		`{"ruleId":"UnknownField","level":"error","message":{"text":"dat: unknown field \"dat\""},"locations":[{"physicalLocation":{"artifactLocation":{"uri":"apps/plain%20dir/c.yaml"},"region":{"startLine":4}}}]}`,
		`"ruleId":"Unsupported","level":"warning"`,
	} {
		if !strings.Contains(string(data), part) {
			t.Errorf("no %s in\n%s", part, data)
		}
	}
}

func TestValidateNothingWrong(t *testing.T) {
	t.Parallel()
	r, err := Validate(t.Context(), newMemTree(map[string]string{"c.yaml": configMap("c", "1")}), oneApp, Survey{})
	if err != nil || !r.OK() {
		t.Fatalf("%v %+v", err, r)
	}
	for name, v := range map[string]any{"report": r, "sarif": r.SARIF("")} {
		if data, err := json.Marshal(v); err != nil || strings.Contains(string(data), "null") {
			t.Errorf("%s: %s %v", name, data, err)
		}
	}
}

// Every reason says what it means, and whether it blocks is a decision.
func TestReasons(t *testing.T) {
	t.Parallel()
	for r := range descriptions {
		if r.Describe() == string(r) {
			t.Errorf("%s has no description", r)
		}
	}
	for _, r := range []Reason{Unsupported, Duplicate, RenderChanged} {
		if r.Blocks() {
			t.Errorf("%s blocks", r)
		}
	}
}

// A warning of Kubernetes has its place in the file, and keeps nothing from being applied.
func TestValidateWarnings(t *testing.T) {
	t.Parallel()
	tree := newMemTree(map[string]string{
		"apps/plain/d.yaml":            strings.Replace(benchDeployment("web", 1), "[{name: LEVEL, value: info}]", "[{name: LEVEL, value: info}, {name: LEVEL, value: debug}]", 1),
		"apps/over/kustomization.yaml": "resources: [d.yaml]\nnamePrefix: a.\n",
		"apps/over/d.yaml":             benchDeployment("other", 1),
	})
	r, err := Validate(t.Context(), tree, []App{{Name: "app", Path: "apps/plain", Namespace: "default"}, {Name: "over", Path: "apps/over", Namespace: "default"}}, Survey{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range r.Problems {
		got = append(got, p.String())
	}
	want := []string{
		`apps/plain/d.yaml:18: spec.template.spec.containers[0].env[1]: hides previous definition of "LEVEL", which may be dropped when using apply (Warned)`,
		"apps/over/d.yaml:4: metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: " +
			"[must not contain dots] (Warned)",
	}
	if !r.OK() || r.Objects != 2 || strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("OK %v, %d objects\n%s", r.OK(), r.Objects, strings.Join(got, "\n"))
	}
	if res := r.SARIF("v1").Runs[0].Results; len(res) != 2 || res[0].Level != "warning" {
		t.Errorf("got %+v", res)
	}
}
