package reconciler

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/belay-dev/belay/reconciler/engine"
	"github.com/belay-dev/belay/state"
)

func namedConfigMap(name string, data map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}, Data: data}
}

// TestConfigKeys: every place of a pod in which Kubernetes looks for a ConfigMap or Secret.
func TestConfigKeys(t *testing.T) {
	t.Parallel()
	local := func(name string) corev1.LocalObjectReference { return corev1.LocalObjectReference{Name: name} }
	pod := &corev1.PodSpec{
		ImagePullSecrets: []corev1.LocalObjectReference{local("pull"), local("")},
		Volumes: []corev1.Volume{
			{VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "volume"}}},
			{VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: local("volume")}}},
			{VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
				{Secret: &corev1.SecretProjection{LocalObjectReference: local("projected")}},
				{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: local("projected")}},
			}}}},
			{VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
		},
		InitContainers: []corev1.Container{{EnvFrom: []corev1.EnvFromSource{
			{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: local("all")}},
			{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: local("all")}},
		}}},
		Containers: []corev1.Container{{Env: []corev1.EnvVar{
			{Name: "A", Value: "plain"},
			{Name: "B", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: local("one")}}},
			{Name: "C", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: local("one")}}},
			{Name: "D", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: local("one")}}},
			{Name: "E", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{}}},
		}}},
	}
	var got []string
	for _, k := range engine.ConfigKeys("shop", pod) {
		got = append(got, k.String())
		if !Names(pod, k.Kind, k.Name) {
			t.Errorf("%s is not named", k)
		}
	}
	want := []string{"ConfigMap shop/all", "ConfigMap shop/one", "ConfigMap shop/projected", "ConfigMap shop/volume",
		"Secret shop/all", "Secret shop/one", "Secret shop/projected", "Secret shop/pull", "Secret shop/volume"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("named (-want +got):\n%s", diff)
	}
	if Names(pod, state.KindConfigMap, "pull") || Names(pod, state.KindSecret, "") {
		t.Error("names what it does not name")
	}
}

// TestMissingConfigs: each ConfigMap and Secret that is not there is named once, with the first field that names it, unless
// the pod does without.
func TestMissingConfigs(t *testing.T) {
	t.Parallel()
	store, err := state.OpenMemory(state.Options{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}
	if _, err := store.Commit(state.Create(ns), state.Create(namedConfigMap("there", nil))); err != nil {
		t.Fatal(err)
	}
	local, yes := func(name string) corev1.LocalObjectReference { return corev1.LocalObjectReference{Name: name} }, true
	key := func(name string) *corev1.EnvVarSource {
		return &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: local(name)}}
	}
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}}
	d.Spec.Template.Spec = corev1.PodSpec{
		ImagePullSecrets: []corev1.LocalObjectReference{local("pull")},
		Volumes: []corev1.Volume{
			{VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: local("there")}}},
			{VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
				{Secret: &corev1.SecretProjection{LocalObjectReference: local("optional"), Optional: &yes}},
				{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: local("files")}},
			}}}},
		},
		Containers: []corev1.Container{{}, {Env: []corev1.EnvVar{{Name: "A", ValueFrom: key("login")}, {Name: "B", ValueFrom: key("login")}}}},
	}
	m := state.Managed{Key: state.KeyOf(d), Source: "shop", App: "shop", File: "web.yaml", Line: 3, Commit: "c1"}
	var got []string
	for _, p := range MissingConfigs(store, m, d) {
		got = append(got, p.String())
	}
	want := []string{
		`web.yaml:3: spec.template.spec.volumes[1].projected.sources[1].configMap.name: Deployment shop/web: configmap "files" not found (ConfigMissing)`,
		`web.yaml:3: spec.template.spec.containers[1].env[0].valueFrom.secretKeyRef.name: Deployment shop/web: secret "login" not found (ConfigMissing)`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("missing (-want +got):\n%s", diff)
	}
}

// TestConfigsOf: contents are kept once each, those of a Secret only when Git declares it, and no more than the bound.
func TestConfigsOf(t *testing.T) {
	t.Parallel()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "git"}, Type: corev1.SecretTypeOpaque,
		Data: map[string][]byte{"p": []byte("hunter2")}}
	own := secret.DeepCopy()
	own.Name = "own"
	objects := map[string]state.Object{"git": secret, "own": own, "a": namedConfigMap("a", map[string]string{"k": "v"})}
	pod := &corev1.PodSpec{ImagePullSecrets: []corev1.LocalObjectReference{{Name: "git"}, {Name: "own"}, {Name: "gone"}}}
	from := func(names ...string) {
		c := corev1.Container{}
		for _, n := range names {
			c.EnvFrom = append(c.EnvFrom, corev1.EnvFromSource{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: n}}})
		}
		pod.Containers = []corev1.Container{c}
	}
	find := func(k engine.Key) (state.Object, bool) { return objects[k.Name], k.Name == "git" }
	from("a")
	got := configsOf("shop", pod, find)
	a, size := ConfigOf(objects["a"])
	if size != 2+len(state.KindConfigMap) {
		t.Errorf("size %d", size)
	}
	s, _ := ConfigOf(secret)
	want := Configs{
		Refs: []state.ConfigRef{
			{Kind: state.KindConfigMap, Name: "a", Hash: a.Hash}, {Kind: state.KindSecret, Name: "git", Hash: s.Hash},
			{Kind: state.KindSecret, Name: "gone"}, {Kind: state.KindSecret, Name: "own"},
		},
		Contents: []state.Config{a, s},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, o := range []state.Object{secret, objects["a"]} {
		c, _ := ConfigOf(o)
		if diff := cmp.Diff(o, ConfigObject("shop", state.ConfigRef{Kind: c.Kind, Name: o.GetName()}, c)); diff != "" {
			t.Errorf("made again (-want +got):\n%s", diff)
		}
	}

	names := []string{"b", "c", "d", "e", "f"}
	for i, n := range names {
		objects[n] = namedConfigMap(n, map[string]string{"k": strings.Repeat(n, 1<<20-i)})
	}
	from(names...)
	got = configsOf("shop", pod, find)
	if len(got.Contents) != 3 {
		t.Errorf("%d contents are kept", len(got.Contents))
	}
	for _, r := range got.Refs[:len(names)] {
		if r.Hash == "" {
			t.Errorf("%s has no hash", r.Name)
		}
	}
}

// TestConfigHash: whatever a pod can see changes the hash, and nothing else does.
func TestConfigHash(t *testing.T) {
	t.Parallel()
	base := namedConfigMap("a", map[string]string{"k": "v"})
	base.BinaryData = map[string][]byte{"b": {1}}
	hash := func(o state.Object) string {
		c, _ := ConfigOf(o)
		return c.Hash
	}
	same := base.DeepCopy()
	same.Name, same.Labels, same.Immutable = "b", map[string]string{"x": "y"}, new(true)
	if hash(same) != hash(base) {
		t.Error("a name, a label or immutable changes the hash")
	}
	seen := map[string]string{hash(base): "base"}
	for what, o := range map[string]state.Object{
		"value":  &corev1.ConfigMap{Data: map[string]string{"k": "w"}, BinaryData: base.BinaryData},
		"key":    &corev1.ConfigMap{Data: map[string]string{"kv": ""}, BinaryData: base.BinaryData},
		"binary": &corev1.ConfigMap{Data: base.Data, BinaryData: map[string][]byte{"b": {2}}},
		"text":   &corev1.ConfigMap{Data: map[string]string{"k": "v", "b": "\x01"}},
		"bytes":  &corev1.ConfigMap{BinaryData: map[string][]byte{"k": []byte("v"), "b": {1}}},
		"secret": &corev1.Secret{Data: map[string][]byte{"k": []byte("v"), "b": {1}}},
		"type":   &corev1.Secret{Type: "x", Data: map[string][]byte{"k": []byte("v"), "b": {1}}},
	} {
		if other, ok := seen[hash(o)]; ok {
			t.Errorf("%s has the hash of %s", what, other)
		}
		seen[hash(o)] = what
	}
	if c, _ := ConfigOf(&corev1.Service{}); c.Hash != "" {
		t.Error("a Service has a hash")
	}
}
