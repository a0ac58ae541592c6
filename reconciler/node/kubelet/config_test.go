package kubelet

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// objects are a ConfigMap and a Secret of the name "x".
type objects struct {
	config map[string]string
	secret map[string]string
}

func (o objects) ConfigMap(_, name string) (*corev1.ConfigMap, bool) {
	return &corev1.ConfigMap{Data: o.config}, name == "x" && o.config != nil
}

func (o objects) Secret(_, name string) (*corev1.Secret, bool) {
	s := &corev1.Secret{Data: map[string][]byte{}}
	for key, value := range o.secret {
		s.Data[key] = []byte(value)
	}
	return s, name == "x" && o.secret != nil
}

var x = corev1.LocalObjectReference{Name: "x"}

func TestEnv(t *testing.T) {
	yes := true
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web-1", UID: "u", Labels: map[string]string{"app": "web"}}}
	pod.Status.PodIP = "10.0.0.1"
	field := func(path string) *corev1.EnvVarSource {
		return &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: path}}
	}
	config := func(key string, may *bool) *corev1.EnvVarSource {
		return &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: x, Key: key, Optional: may}}
	}
	secret := func(name, key string) *corev1.EnvVarSource {
		return &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: name}, Key: key}}
	}
	has := objects{map[string]string{"a": "1", "b-c": "2", "=bad": "3"}, map[string]string{"s": "top"}}
	for name, tt := range map[string]struct {
		c    corev1.Container
		want string // the error when it has no =
	}{
		"expansion": {corev1.Container{Env: []corev1.EnvVar{
			{Name: "A", Value: "1"}, {Name: "B", Value: "$(A)$(LATER)$$(A)$"}, {Name: "LATER", Value: "x"}, {Name: "A", Value: "$(A)2"},
		}}, "A=12 B=1$(LATER)$(A)$ LATER=x"},
		"downward": {corev1.Container{Env: []corev1.EnvVar{
			{Name: "N", ValueFrom: field("metadata.name")}, {Name: "L", ValueFrom: field("metadata.labels['app']")},
			{Name: "I", ValueFrom: field("status.podIP")}, {Name: "U", ValueFrom: field("metadata.uid")},
		}}, "I=10.0.0.1 L=web N=web-1 U=u"},
		"resources": {corev1.Container{
			Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{"cpu": resource.MustParse("1500m"), "memory": resource.MustParse("3Mi")}},
			Env: []corev1.EnvVar{
				{Name: "C", ValueFrom: &corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: "limits.cpu"}}},
				{Name: "M", ValueFrom: &corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: "limits.memory", Divisor: resource.MustParse("2Mi")}}},
			}}, "C=2 M=2"},
		"from": {corev1.Container{EnvFrom: []corev1.EnvFromSource{
			{Prefix: "P_", ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: x}}, {SecretRef: &corev1.SecretEnvSource{LocalObjectReference: x}},
		}, Env: []corev1.EnvVar{{Name: "s", Value: "mine"}}}, "P_a=1 P_b-c=2 s=mine"},
		"keys":              {corev1.Container{Env: []corev1.EnvVar{{Name: "A", ValueFrom: config("a", nil)}, {Name: "S", ValueFrom: secret("x", "s")}}}, "A=1 S=top"},
		"optional key":      {corev1.Container{Env: []corev1.EnvVar{{Name: "A", ValueFrom: config("none", &yes)}, {Name: "B", Value: "b"}}}, "B=b"},
		"missing key":       {corev1.Container{Env: []corev1.EnvVar{{Name: "A", ValueFrom: config("none", nil)}}}, "couldn't find key none in ConfigMap shop/x"},
		"missing secret":    {corev1.Container{Env: []corev1.EnvVar{{Name: "A", ValueFrom: secret("y", "s")}}}, `secret "y" not found`},
		"unknown field":     {corev1.Container{Env: []corev1.EnvVar{{Name: "A", ValueFrom: field("spec.nodename")}}}, "unsupported fieldPath: spec.nodename"},
		"missing from":      {corev1.Container{EnvFrom: []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "y"}}}}}, `secret "y" not found`},
		"optional from":     {corev1.Container{EnvFrom: []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "y"}, Optional: &yes}}}}, ""},
		"unclosed, as is":   {corev1.Container{Env: []corev1.EnvVar{{Name: "A", Value: "$(B"}}}, "A=$(B"},
		"dollar at the end": {corev1.Container{Env: []corev1.EnvVar{{Name: "A", Value: "a$"}}}, "A=a$"},
	} {
		got, err := env(pod, &tt.c, has)
		text := strings.Join(got, " ")
		if err != nil {
			text = err.Error()
		}
		if text != tt.want {
			t.Errorf("%s: got %q, want %q", name, text, tt.want)
		}
	}
}

// TestProject has the files of a volume change all at once, links not followed and nothing left behind.
func TestProject(t *testing.T) {
	dir := t.TempDir()
	read := func() map[string]string {
		t.Helper()
		got := map[string]string{}
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), "..") {
				continue
			}
			name := filepath.Join(dir, e.Name())
			if info, err := os.Stat(name); err == nil && info.IsDir() {
				name = filepath.Join(name, "inner")
			}
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			got[e.Name()] = string(data)
		}
		return got
	}
	for i, step := range []struct {
		files map[string]file
		want  map[string]string
	}{
		{map[string]file{"a": {[]byte("1"), 0o644}, "d/inner": {[]byte("2"), 0o400}}, map[string]string{"a": "1", "d": "2"}},
		{map[string]file{"a": {[]byte("3"), 0o644}, "b": {[]byte("4"), 0o644}}, map[string]string{"a": "3", "b": "4"}},
		{map[string]file{}, map[string]string{}},
	} {
		for range 2 {
			if err := project(dir, step.files, -1); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(step.want, read()); diff != "" {
			t.Errorf("step %d (-want +got):\n%s", i, diff)
		}
		versions, err := filepath.Glob(filepath.Join(dir, "..version-*"))
		if err != nil || len(versions) != 1 {
			t.Errorf("step %d: versions %q, %v", i, versions, err)
		}
	}
	if err := project(dir, map[string]file{"../../out": {[]byte("x"), 0o644}}, -1); err == nil {
		t.Error("a file outside of the volume was written")
	}
}

func TestSubPathsStayInside(t *testing.T) {
	dir, out := t.TempDir(), t.TempDir()
	for name, target := range map[string]string{"out": out, "up": "../..", "in": "real"} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "real"), 0o700); err != nil {
		t.Fatal(err)
	}
	for sub, ok := range map[string]bool{"real": true, "in": true, "made/below": true, "out": false, "up": false, "out/x": false, "../x": false, "/etc": false} {
		got, err := within(dir, sub)
		if (err == nil) != ok {
			t.Errorf("%s: %s, %v", sub, got, err)
		}
	}
	if _, err := os.Stat(filepath.Join(out, "x")); !os.IsNotExist(err) {
		t.Errorf("something was made outside: %v", err)
	}
}

func TestHostPaths(t *testing.T) {
	root := t.TempDir()
	free := filepath.Join(root, "free")
	if err := os.MkdirAll(filepath.Join(free, "dir"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(root, filepath.Join(free, "link")); err != nil {
		t.Fatal(err)
	}
	v := volumes{hostPaths: []string{free}}
	for _, tt := range []struct {
		path string
		kind corev1.HostPathType
		ok   bool
	}{
		{free + "/dir", corev1.HostPathDirectory, true},
		{free + "/dir", corev1.HostPathFile, false},
		{free + "/none", corev1.HostPathDirectory, false},
		{free + "/made", corev1.HostPathDirectoryOrCreate, true},
		{free + "/file", corev1.HostPathFileOrCreate, true},
		{free + "/link", corev1.HostPathUnset, false},
		{free + "/link/made", corev1.HostPathDirectoryOrCreate, false},
		{free + "/../other", corev1.HostPathUnset, false},
		{free + "er", corev1.HostPathUnset, false},
		{root, corev1.HostPathUnset, false},
	} {
		err := v.hostPath(&corev1.HostPathVolumeSource{Path: tt.path, Type: &tt.kind})
		if (err == nil) != tt.ok {
			t.Errorf("%s %s: %v", tt.path, tt.kind, err)
		}
	}
	if _, err := os.Stat(filepath.Join(root, "made")); !os.IsNotExist(err) {
		t.Errorf("something was made outside: %v", err)
	}
}

func TestSupports(t *testing.T) {
	yes := true
	memory := corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory}
	huge := corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumHugePages}
	spec := &corev1.PodSpec{
		HostPID: true, ShareProcessNamespace: &yes,
		Volumes: []corev1.Volume{
			{Name: "a", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
			{Name: "b", VolumeSource: corev1.VolumeSource{EmptyDir: &huge}},
			{Name: "c", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{}}},
			{Name: "d", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/srv/x"}}},
			{Name: "e", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/etc"}}},
			{Name: "f", VolumeSource: corev1.VolumeSource{EmptyDir: &memory}},
		},
		Containers: []corev1.Container{{
			Name: "c", SecurityContext: &corev1.SecurityContext{SELinuxOptions: &corev1.SELinuxOptions{}},
			VolumeMounts: []corev1.VolumeMount{{Name: "f", SubPath: "part"}},
		}},
	}
	var got []string
	for _, u := range Supports(spec, []string{"/srv"}) {
		got = append(got, u.Field)
	}
	want := []string{"hostPID", "shareProcessNamespace", "volumes[1].emptyDir.medium", "volumes[2]", "volumes[4].hostPath.path",
		"containers[0].securityContext.seLinuxOptions", "containers[0].volumeMounts[0].subPath"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	plain := &corev1.PodSpec{Volumes: []corev1.Volume{{Name: "m", VolumeSource: corev1.VolumeSource{EmptyDir: &memory}}}}
	if u := New(Options{}).Supports(plain); len(u) != 1 || u[0].Field != "volumes[0].emptyDir.medium" {
		t.Errorf("over a driver without volumes in memory: %v", u)
	}
	if u := Supports(&corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "web:1"}}}, nil); len(u) != 0 {
		t.Errorf("a plain pod: %v", u)
	}
}

func TestBackOff(t *testing.T) {
	var b backOff
	var got []string
	now := second(metav1.Unix(1_000_000, 0).Time).Time
	for range 7 {
		b = b.next(now)
		got = append(got, b.wait.String())
		now = now.Add(b.wait)
	}
	if want := "10s 20s 40s 1m20s 2m40s 5m0s 5m0s"; strings.Join(got, " ") != want {
		t.Errorf("waits %q, want %q", got, want)
	}
	if at := b.crashed(b.updated.Add(quiet + 1)); !at.IsZero() {
		t.Errorf("a crash after quiet waits until %s", at)
	}
	if again := b.next(b.updated.Add(quiet + 1)); again.wait != minBackOff {
		t.Errorf("after quiet the wait is %s", again.wait)
	}
}
