package schema

import (
	"strings"
	"testing"
)

// Texts of warnings, as kubectl users of Kubernetes v1.36 know them.
func TestWarningTexts(t *testing.T) {
	t.Parallel()
	const label = "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: "
	const c0 = "spec.template.spec.containers[0]"
	for _, tt := range []struct{ name, old, new, want string }{
		{"none", "", "", ""},
		{"name with a dot", "{name: web,", "{name: web.shop,", label + "[must not contain dots]"},
		{"long name", "{name: web,", "{name: " + strings.Repeat("x", 64) + ",", label + "[must be no more than 63 characters]"},
		{"env twice", "image: nginx", "image: nginx\n        env: [{name: A, value: x}, {name: A, value: z}]", c0 + `.env[1]: hides previous definition of "A", which may be dropped when using apply`},
		{"env that builds on itself", "image: nginx", "image: nginx\n        env: [{name: A, value: x}, {name: A, value: $(A)z}]", ""},
		{"port twice", "image: nginx", "image: nginx\n        ports: [{containerPort: 80}, {name: b, containerPort: 80}]", c0 + ".ports[1]: duplicate port definition with " + c0 + ".ports[0]"},
		{"memory in parts of a byte", "image: nginx", "image: nginx\n        resources: {limits: {memory: 100m}, requests: {memory: 100m}}", c0 + `.resources.limits[memory]: fractional byte value "100m" is invalid, must be an integer` + "\n" + c0 + `.resources.requests[memory]: fractional byte value "100m" is invalid, must be an integer`},
		{"pull secret without a name", "      containers:", "      imagePullSecrets: [{}]\n      containers:", `spec.template.spec.imagePullSecrets[0].name: invalid empty name ""`},
		{"pull secret twice", "      containers:", "      imagePullSecrets: [{name: a}, {name: a}]\n      containers:", `spec.template.spec.imagePullSecrets[1].name: duplicate name "a"`},
		{"label of a node", "      containers:", "      nodeSelector: {beta.kubernetes.io/os: linux, beta.kubernetes.io/arch: arm64}\n      containers:", `spec.template.spec.nodeSelector[beta.kubernetes.io/arch]: deprecated since v1.14; use "kubernetes.io/arch" instead` + "\n" + `spec.template.spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead`},
		{"seccomp", "labels: {app: web}}", "labels: {app: web}, annotations: {seccomp.security.alpha.kubernetes.io/pod: runtime/default}}", `spec.template.metadata.annotations[seccomp.security.alpha.kubernetes.io/pod]: non-functional in v1.27+; use the "seccompProfile" field instead`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if !strings.Contains(base, tt.old) {
				t.Fatalf("%q is not in the manifest", tt.old)
			}
			d, faults := deployment(t, strings.Replace(base, tt.old, tt.new, 1))
			if d == nil {
				t.Fatal(text(faults))
			}
			for range 5 { // Kubernetes ranges over maps
				if got := text(Warnings(d)); got != tt.want {
					t.Fatalf("got\n%s\nwant\n%s", got, tt.want)
				}
			}
		})
	}
}

func TestWarningsOfServices(t *testing.T) {
	t.Parallel()
	s, faults := decode(t, "v1", "Service", "metadata: {name: s, namespace: d}\nspec: {externalName: example.com, ports: [{port: 80}]}")
	if s == nil {
		t.Fatal(text(faults))
	}
	got := Warnings(s)
	if len(got) != 1 || got[0] != (Fault{Kind: Warned, Message: `spec.externalName is ignored when spec.type is not "ExternalName"`}) {
		t.Errorf("got %+v", got)
	}
	if got := Warnings(mustDecode(t, "ConfigMap", "metadata: {name: c.d, namespace: d}")); got != nil {
		t.Errorf("of a ConfigMap: %+v", got)
	}
}

func mustDecode(t *testing.T, kind, manifest string) Object {
	t.Helper()
	obj, faults := decode(t, "v1", kind, manifest)
	if obj == nil {
		t.Fatal(text(faults))
	}
	return obj
}
