package schema

import (
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	sigsyaml "sigs.k8s.io/yaml"
)

const base = `
metadata: {name: web, namespace: default}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: nginx
`

func decode(t *testing.T, apiVersion, kind, text string) (Object, []Fault) {
	t.Helper()
	data, err := sigsyaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	obj, faults := Decode(apiVersion, kind, data)
	if len(faults) > 0 {
		return nil, faults
	}
	return Complete(obj)
}

func deployment(t *testing.T, text string) (*appsv1.Deployment, []Fault) {
	t.Helper()
	obj, faults := decode(t, "apps/v1", "Deployment", text)
	d, _ := obj.(*appsv1.Deployment)
	return d, faults
}

func TestDeploymentDefaults(t *testing.T) {
	t.Parallel()
	d, faults := deployment(t, strings.Replace(base, "image: nginx", `image: nginx
        ports: [{containerPort: 80}]
        livenessProbe: {httpGet: {port: 80}}
        resources: {limits: {cpu: 1}}
      volumes: [{name: e}, {name: c, configMap: {name: c}}]
      serviceAccountName: robot`, 1))
	if faults != nil {
		t.Fatal(faults)
	}
	pod := d.Spec.Template.Spec
	c := pod.Containers[0]
	got := []any{
		*d.Spec.Replicas, d.Spec.Strategy.Type, d.Spec.Strategy.RollingUpdate.MaxSurge.String(), d.Spec.Strategy.RollingUpdate.MaxUnavailable.String(),
		*d.Spec.RevisionHistoryLimit, *d.Spec.ProgressDeadlineSeconds, d.Spec.Paused, len(d.Labels),
		pod.RestartPolicy, pod.DNSPolicy, *pod.TerminationGracePeriodSeconds, pod.SecurityContext != nil, pod.SchedulerName, pod.EnableServiceLinks == nil,
		pod.DeprecatedServiceAccount,
		c.ImagePullPolicy, c.TerminationMessagePath, c.TerminationMessagePolicy, c.Ports[0].Protocol, len(c.Resources.Requests),
		c.LivenessProbe.TimeoutSeconds, c.LivenessProbe.PeriodSeconds, c.LivenessProbe.SuccessThreshold, c.LivenessProbe.FailureThreshold,
		c.LivenessProbe.HTTPGet.Path, c.LivenessProbe.HTTPGet.Scheme,
		pod.Volumes[0].EmptyDir != nil, *pod.Volumes[1].ConfigMap.DefaultMode,
	}
	want := "[1 RollingUpdate 25% 25% 10 600 false 0 Always ClusterFirst 30 true default-scheduler true robot " +
		"Always /dev/termination-log File TCP 0 1 10 1 3 / HTTP true 420]"
	if fmt.Sprint(got) != want {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	if d.Kind != "" || d.APIVersion != "" {
		t.Error("the type meta is not empty")
	}
}

func TestPullPolicy(t *testing.T) {
	t.Parallel()
	for image, want := range map[string]corev1.PullPolicy{
		"nginx": corev1.PullAlways, "nginx:latest": corev1.PullAlways, "nginx:1": corev1.PullIfNotPresent,
		"localhost:5000/nginx": corev1.PullAlways, "nginx@sha256:" + strings.Repeat("a", 64): corev1.PullIfNotPresent,
	} {
		d, faults := deployment(t, strings.Replace(base, "nginx", `"`+image+`"`, 1))
		if faults != nil {
			t.Fatal(faults)
		}
		if got := d.Spec.Template.Spec.Containers[0].ImagePullPolicy; got != want {
			t.Errorf("%s: got %s, want %s", image, got, want)
		}
	}
}

// Texts of mistakes, as kubectl users know them.
func TestValidationTexts(t *testing.T) {
	t.Parallel()
	const rollingUpdate = "  strategy: {rollingUpdate: {maxSurge: %s, maxUnavailable: %s}}\n  selector:"
	tests := []struct{ name, old, new, want string }{
		{"labels", "labels: {app: web}", "labels: {app: b}", "spec.template.metadata.labels: Invalid value: {\"app\":\"b\"}: `selector` does not match template `labels`"},
		{"no selector", "  selector: {matchLabels: {app: web}}\n", "", "spec.selector: Required value\nspec.template.metadata.labels: Invalid value: {\"app\":\"web\"}: `selector` does not match template `labels`"},
		{"empty selector", "{matchLabels: {app: web}}", "{}", "spec.selector: Invalid value: {}: empty selector is invalid for deployment"},
		{"both zero", "  selector:", fmt.Sprintf(rollingUpdate, "0", "0"), "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0"},
		{"both zero percent", "  selector:", fmt.Sprintf(rollingUpdate, "0%", "0%"), "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"0%\": may not be 0 when `maxSurge` is 0"},
		{"both zero, mixed", "  selector:", fmt.Sprintf(rollingUpdate, "0%", "0"), "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0"},
		{"over 100", "  selector:", fmt.Sprintf(rollingUpdate, "1", "150%"), `spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "150%": must not be greater than 100%`},
		{"surge over 100", "  selector:", fmt.Sprintf(rollingUpdate, `"150%"`, "1"), ""},
		{"no percent", "  selector:", fmt.Sprintf(rollingUpdate, "abc", "1"), `spec.strategy.rollingUpdate.maxSurge: Invalid value: "abc": a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')`},
		{"negative", "  selector:", fmt.Sprintf(rollingUpdate, "-1", "1"), "spec.strategy.rollingUpdate.maxSurge: Invalid value: -1: must be greater than or equal to 0"},
		{"negative unavailable", "  selector:", fmt.Sprintf(rollingUpdate, "1", "-1"), "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: -1: must be greater than or equal to 0"},
		{"recreate", "  selector:", "  strategy: {type: Recreate, rollingUpdate: {}}\n  selector:", "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"},
		{"strategy", "  selector:", "  strategy: {type: Foo}\n  selector:", `spec.strategy: Unsupported value: {"Type":"Foo","RollingUpdate":null}: supported values: "Recreate", "RollingUpdate"`},
		{"replicas", "  selector:", "  replicas: -1\n  selector:", "spec.replicas: Invalid value: -1: must be greater than or equal to 0"},
		{"min ready", "  selector:", "  minReadySeconds: -1\n  selector:", "spec.minReadySeconds: Invalid value: -1: must be greater than or equal to 0"},
		{"history", "  selector:", "  revisionHistoryLimit: -1\n  selector:", "spec.revisionHistoryLimit: Invalid value: -1: must be greater than or equal to 0"},
		{"negative deadline", "  selector:", "  progressDeadlineSeconds: -1\n  selector:", "spec.progressDeadlineSeconds: Invalid value: -1: must be greater than minReadySeconds\nspec.progressDeadlineSeconds: Invalid value: -1: must be greater than or equal to 0"},
		{"deadline", "  selector:", "  progressDeadlineSeconds: 5\n  minReadySeconds: 5\n  selector:", "spec.progressDeadlineSeconds: Invalid value: 5: must be greater than minReadySeconds"},
		{"restart policy", "      containers:", "      restartPolicy: Never\n      containers:", `spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"`},
		{"no restart policy", "      containers:", "      restartPolicy: Sometimes\n      containers:", `spec.template.spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always"` + "\n" + `spec.template.spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "OnFailure", "Never"`},
		{"active deadline", "      containers:", "      activeDeadlineSeconds: 3\n      containers:", "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in ReplicaSet is not Supported"},
		{"port", "image: nginx", "image: nginx\n        ports: [{containerPort: 70000}]", "spec.template.spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive"},
		{"no port", "image: nginx", "image: nginx\n        ports: [{name: http}]", "spec.template.spec.containers[0].ports[0].containerPort: Required value"},
		{"label value", "labels: {app: web}", "labels: {app: web, b: b c}", `spec.template.labels: Invalid value: "b c": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')`},
		{"no containers", "      containers:\n      - name: web\n        image: nginx\n", "      containers: []\n", "spec.template.spec.containers: Required value"},
		{"no container name", "      - name: web\n        image", "      - image", "spec.template.spec.containers[0].name: Required value"},
		{"no image", "        image: nginx\n", "", "spec.template.spec.containers[0].image: Required value"},
		{"twice", "image: nginx", "image: nginx\n      - {name: web, image: x}", `spec.template.spec.containers[1].name: Duplicate value: "web"`},
		{"container name", "- name: web", "- name: Web", `spec.template.spec.containers[0].name: Invalid value: "Web": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')`},
		{"name", "{name: web,", "{name: Web_1,", `metadata.name: Invalid value: "Web_1": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')`},
		{"no name", "{name: web, ", "{", "metadata.name: Required value: name or generateName is required"},
		{"long name", "{name: web,", "{name: " + strings.Repeat("x", 254) + ",", `metadata.name: Invalid value: "` + strings.Repeat("x", 254) + `": must be no more than 253 characters`},
		{"long container name", "- name: web", "- name: " + strings.Repeat("x", 64), `spec.template.spec.containers[0].name: Invalid value: "` + strings.Repeat("x", 64) + `": must be no more than 63 characters`},
		{"probe", "image: nginx", "image: nginx\n        livenessProbe: {successThreshold: 2, tcpSocket: {port: 80}}", "spec.template.spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1"},
		{"startup probe", "image: nginx", "image: nginx\n        startupProbe: {successThreshold: 2, tcpSocket: {port: 80}}", "spec.template.spec.containers[0].startupProbe.successThreshold: Invalid value: 2: must be 1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if !strings.Contains(base, tt.old) {
				t.Fatalf("%q is not in the manifest", tt.old)
			}
			d, faults := deployment(t, strings.Replace(base, tt.old, tt.new, 1))
			if (d == nil) != (tt.want != "") {
				t.Errorf("object %v with %d faults", d != nil, len(faults))
			}
			if got := text(faults); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

func text(faults []Fault) string {
	var out []string
	for _, f := range faults {
		out = append(out, f.Field+": "+f.Message)
	}
	return strings.Join(out, "\n")
}

func TestOtherKinds(t *testing.T) {
	t.Parallel()
	tests := []struct{ kind, manifest, want string }{
		{"Service", "metadata: {name: s, namespace: d}\nspec: {ports: [{port: 80}]}", ""},
		{"Service", "metadata: {name: s, namespace: d}\nspec: {type: X, ports: [{port: 80}]}", `spec.type: Unsupported value: "X": supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort"`},
		{"Service", "metadata: {name: kubernetes, namespace: d}\nspec: {ports: [{port: 80}]}", ""},
		{"Service", "metadata: {name: kubernetes, namespace: default}\nspec: {ports: [{port: 80}]}", "metadata.name: Forbidden: it is the Service of the Kubernetes API itself"},
		{"Service", "metadata: {name: s, namespace: d}\nspec: {}", "spec.ports: Required value"},
		{"Service", "metadata: {name: s, namespace: d}\nspec: {ipFamilyPolicy: PreferDualStack, ports: [{port: 80}]}", ""},
		{"Service", "metadata: {name: s, namespace: d}\nspec: {ipFamilyPolicy: RequireDualStack, ports: [{port: 80}]}",
			`spec.ipFamilyPolicy: Invalid value: "RequireDualStack": this cluster is not configured for dual-stack services`},
		{"Service", "metadata: {name: s, namespace: d}\nspec: {ipFamilies: [IPv6], ports: [{port: 80}]}",
			`spec.ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster`},
		{"Service", "metadata: {name: s, namespace: d}\nspec: {clusterIP: None, ipFamilyPolicy: RequireDualStack, ports: [{port: 80}]}", ""},
		{"ConfigMap", "metadata: {name: c, namespace: d}\ndata: {a b: x, c d: x, e: z}\nbinaryData: {e: aGk=}",
			"data[a b]: Invalid value: \"a b\": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')\n" +
				"data[c d]: Invalid value: \"c d\": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')\n" +
				"data[e]: Invalid value: \"e\": duplicate of key present in binaryData"},
		{"Secret", "metadata: {name: s, namespace: d}\ntype: kubernetes.io/dockerconfigjson\nstringData: {.dockerconfigjson: hunter2}", "data[.dockerconfigjson]: Invalid value: \"<secret contents redacted>\": invalid character 'h' looking for beginning of value"},
		{"Namespace", "metadata: {name: shop}", ""},
		{"Namespace", "metadata: {name: shop, namespace: d}", "metadata.namespace: Forbidden: not allowed on this type"},
	}
	for i, tt := range tests {
		t.Run(fmt.Sprint(tt.kind, i), func(t *testing.T) {
			t.Parallel()
			for range 5 { // Kubernetes ranges over maps
				_, faults := decode(t, "v1", tt.kind, tt.manifest)
				if got := text(faults); got != tt.want {
					t.Errorf("got\n%s\nwant\n%s", got, tt.want)
				}
			}
		})
	}
}

func TestStored(t *testing.T) {
	t.Parallel()
	obj, faults := decode(t, "v1", "Secret", "metadata: {name: s, namespace: d, uid: x, resourceVersion: '5', generation: 3, creationTimestamp: 2020-01-01T00:00:00Z}\nstringData: {a: b}\ndata: {c: ZA==}")
	if faults != nil {
		t.Fatal(faults)
	}
	s := obj.(*corev1.Secret)
	if string(s.Data["a"]) != "b" || string(s.Data["c"]) != "d" || s.StringData != nil || s.Type != corev1.SecretTypeOpaque {
		t.Errorf("got %+v", s)
	}
	if s.UID != "" || s.ResourceVersion != "" || s.Generation != 0 || !s.CreationTimestamp.IsZero() {
		t.Errorf("metadata of a server is kept: %+v", s.ObjectMeta)
	}
}

func TestStoredService(t *testing.T) {
	t.Parallel()
	obj, faults := decode(t, "v1", "Service", "metadata: {name: s, namespace: d}\nspec: {selector: {a: b}, ports: [{port: 80}]}\nstatus: {loadBalancer: {ingress: [{ip: 1.2.3.4}]}}")
	if faults != nil {
		t.Fatal(faults)
	}
	svc := obj.(*corev1.Service)
	if svc.Spec.Type != "ClusterIP" || svc.Spec.SessionAffinity != "None" || svc.Spec.Ports[0].TargetPort.IntValue() != 80 || svc.Spec.Ports[0].Protocol != "TCP" || len(svc.Status.LoadBalancer.Ingress) > 0 {
		t.Errorf("got %+v", svc)
	}
	obj, faults = decode(t, "v1", "Service", "metadata: {name: s, namespace: d}\nspec: {clusterIP: None, selector: {a: b}, ports: [{port: 80}]}")
	if faults != nil {
		t.Fatal(faults)
	}
	if ips := obj.(*corev1.Service).Spec.ClusterIPs; len(ips) != 1 || ips[0] != corev1.ClusterIPNone {
		t.Errorf("a headless Service has the addresses %v", ips)
	}
	obj, _ = decode(t, "v1", "Namespace", "metadata: {name: shop}")
	if obj.GetLabels()["kubernetes.io/metadata.name"] != "shop" {
		t.Errorf("got %+v", obj)
	}
}

func TestLookup(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		apiVersion, kind string
		want             Support
	}{
		{"apps/v1", "Deployment", Supported}, {"v1", "Service", Supported}, {"v1", "Namespace", Supported},
		{"apps/v1", "StatefulSet", Unsupported}, {"batch/v1", "CronJob", Unsupported}, {"example.com/v1", "Deployment", Unsupported},
		{"apps/v1", "Deploymnet", Unknown}, {"apps/v1", "deployment", Unknown}, {"v1", "Deployment", Unknown}, {"apps/v1beta1", "Deployment", Unknown},
		{"extensions/v1beta1", "Deployment", Unknown}, {"apps/v2", "Deployment", Unknown}, {"v1", "Servce", Unknown}, {"a/b/c", "Deployment", Unknown},
		{"networking.k8s.io/v1", "Ingres", Unknown},
	} {
		if got := Lookup(tt.apiVersion, tt.kind); got != tt.want {
			t.Errorf("%s %s: got %d, want %d", tt.apiVersion, tt.kind, got, tt.want)
		}
	}
}

func TestValidateUpdate(t *testing.T) {
	t.Parallel()
	old, _ := deployment(t, base)
	next, faults := deployment(t, strings.ReplaceAll(base, "app: web", "app: x"))
	if faults != nil {
		t.Fatal(faults)
	}
	stored := old.DeepCopy()
	stored.UID, stored.ResourceVersion, stored.Generation = "u", "7", 3
	before := next.DeepCopy()
	got := ValidateUpdate(next, stored)
	if len(got) != 1 || got[0] != (Fault{Immutable, "spec.selector", `Invalid value: {"matchLabels":{"app":"x"}}: field is immutable`}) {
		t.Errorf("got %+v", got)
	}
	if !equality.Semantic.DeepEqual(next, before) || stored.UID != "u" {
		t.Error("an argument was changed")
	}
	image, _ := deployment(t, strings.Replace(base, "nginx", "nginx:2", 1))
	if got := ValidateUpdate(image, stored); got != nil {
		t.Errorf("a new image: %+v", got)
	}
	was, _ := decode(t, "v1", "ConfigMap", "metadata: {name: c, namespace: d}\nimmutable: true\ndata: {a: b}")
	is, _ := decode(t, "v1", "ConfigMap", "metadata: {name: c, namespace: d}\nimmutable: true\ndata: {a: c}")
	if got := text(ValidateUpdate(is, was)); got != "data: Forbidden: field is immutable when `immutable` is set" {
		t.Errorf("got %s", got)
	}
	secretWas, _ := decode(t, "v1", "Secret", "metadata: {name: c, namespace: d}\ntype: a")
	secretIs, _ := decode(t, "v1", "Secret", "metadata: {name: c, namespace: d}\ntype: b")
	if got := ValidateUpdate(secretIs, secretWas); len(got) != 1 || got[0].Kind != Immutable || got[0].Field != "type" {
		t.Errorf("got %+v", got)
	}
}
