package manifests

import (
	"strings"
	"testing"

	"github.com/belay-dev/belay/manifests/schema"
)

func objects(t *testing.T, text string) []Object {
	t.Helper()
	d := &decoder{app: App{Name: "app", Namespace: "default"}}
	d.file("f.yaml", []byte(text))
	if len(d.problems) > 0 {
		t.Fatal(d.problems)
	}
	return d.objects
}

const diffBefore = `
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  labels: {app.kubernetes.io/name: web, tier: front}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      tolerations: [{key: a, operator: Exists}]
      volumes: [{name: tmp, emptyDir: {}}]
      containers:
      - name: web
        image: web:1
        env: [{name: A, value: "1"}, {name: B, value: "2"}]
        ports: [{containerPort: 53, protocol: UDP}, {containerPort: 53, protocol: TCP}]
        resources: {limits: {memory: 1Gi}}
      - {name: log, image: "log:1"}
`

func TestDiff(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, old, new, want string }{
		{"image", "web:1", "web:2", "spec.template.spec.containers[web].image: web:1 → web:2"},
		{"replicas", "replicas: 2", "replicas: 3", "spec.replicas: 2 → 3"},
		{"dotted label", "name: web, tier", "name: shop, tier", "metadata.labels[app.kubernetes.io/name]: web → shop"},
		{"label gone", ", tier: front", "", "metadata.labels.tier: front → (none)"},
		{"env added", `{name: A, value: "1"}`, `{name: A, value: "1"}, {name: C, value: ""}`, "spec.template.spec.containers[web].env[C].name: (none) → C"},
		{"env order", `{name: A, value: "1"}, {name: B, value: "2"}`, `{name: B, value: "2"}, {name: A, value: "1"}`,
			`spec.template.spec.containers[web].env: ["A","B"] → ["B","A"]`},
		{"container gone", `- {name: log, image: "log:1"}`, "", "spec.template.spec.containers[log].name: log → (none)\nspec.template.spec.containers[log].image: log:1 → (none)\n" +
			"spec.template.spec.containers[log].resources: {} → (none)\n" +
			"spec.template.spec.containers[log].terminationMessagePath: /dev/termination-log → (none)\n" +
			"spec.template.spec.containers[log].terminationMessagePolicy: File → (none)\n" +
			"spec.template.spec.containers[log].imagePullPolicy: IfNotPresent → (none)"},
		{"same port, two protocols", "protocol: UDP}", "protocol: UDP, name: dns}", "spec.template.spec.containers[web].ports[53/UDP].name: (none) → dns"},
		{"list without key", "key: a", "key: b", `spec.template.spec.tolerations: [{"key":"a","operator":"Exists"}] → [{"key":"b","operator":"Exists"}]`},
		{"quantity", "1Gi", "2Gi", "spec.template.spec.containers[web].resources.limits.memory: 1Gi → 2Gi"},
		{"same quantity", "1Gi", "1024Mi", ""},
		{"empty volume", "emptyDir: {}", "hostPath: {path: /x}", "spec.template.spec.volumes[tmp].hostPath.path: (none) → /x\n" +
			"spec.template.spec.volumes[tmp].hostPath.type: (none) → \"\"\nspec.template.spec.volumes[tmp].emptyDir: {} → (none)"},
	}
	before := objects(t, diffBefore)[0].Object
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if !strings.Contains(diffBefore, tt.old) {
				t.Fatalf("%q is not in the manifest", tt.old)
			}
			after := objects(t, strings.Replace(diffBefore, tt.old, tt.new, 1))[0].Object
			got := lines(Diff(before, after))
			if got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
			if back := Diff(after, after); len(back) > 0 {
				t.Errorf("an object differs from itself: %v", back)
			}
		})
	}
}

func lines(changes []FieldChange) string {
	var out []string
	for _, c := range changes {
		out = append(out, c.String())
	}
	return strings.Join(out, "\n")
}

func TestDiffHidesSecrets(t *testing.T) {
	t.Parallel()
	secret := func(pw string) schema.Object {
		return objects(t, "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {keep: same, password: "+pw+"}\n")[0].Object
	}
	before, after := secret("hunter2"), secret("hunter3")
	if got, want := lines(Diff(before, after)), "data.password: (hidden) → (hidden)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, pair := range [][2]schema.Object{{before, after}, {nil, after}, {before, nil}} {
		text := lines(Diff(pair[0], pair[1])) + Patch("s", pair[0], pair[1])
		for _, leak := range []string{"hunter", "aHVudGVy", "same", "c2FtZQ"} {
			if strings.Contains(text, leak) {
				t.Errorf("%q shown:\n%s", leak, text)
			}
		}
	}
	if p := Patch("s", before, after); !strings.Contains(p, "+  password: (hidden, changed)") {
		t.Errorf("patch does not show the change:\n%s", p)
	}
}

func TestPatch(t *testing.T) {
	t.Parallel()
	before := objects(t, diffBefore)[0].Object
	after := objects(t, strings.Replace(diffBefore, "web:1", "web:2", 1))[0].Object
	got := Patch("Deployment/default/web", before, after)
	for _, want := range []string{"--- a/Deployment/default/web\n", "-        image: web:1\n", "+        image: web:2\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if same := Patch("x", before, before); same != "" {
		t.Errorf("an object differs from itself:\n%s", same)
	}
}
