package state

import (
	"errors"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestPlaceKeepsWhatItIsGiven(t *testing.T) {
	t.Parallel()
	s := open(t)
	d := deployment("web")
	d.UID, d.Generation, d.CreationTimestamp = "given", 7, metav1.NewTime(epoch)
	d.Status.Replicas = 3
	added := stored[Object](t, s, Place(d))
	if added.GetUID() != "given" || added.GetGeneration() != 7 {
		t.Errorf("added as %s generation %d", added.GetUID(), added.GetGeneration())
	}
	now := metav1.NewTime(epoch)
	going := stored[Object](t, s, Place(change(added, func(o Object) { o.SetDeletionTimestamp(&now) })))
	if going.GetDeletionTimestamp() == nil || going.GetGeneration() != 7 {
		t.Errorf("the mark of deletion is not kept: %v", going)
	}
	version := s.Version()
	if again := stored[Object](t, s, Place(going)); again != going || s.Version() != version {
		t.Error("a write that changes nothing was one")
	}
}

func TestPlaceAndRemoveRefuse(t *testing.T) {
	t.Parallel()
	s := open(t)
	old := stored[*corev1.ConfigMap](t, s, Place(configMap("env", "1")))
	stored[*corev1.ConfigMap](t, s, Place(change(old, func(c *corev1.ConfigMap) { c.Data["value"] = "2" })))
	now := metav1.NewTime(epoch)
	home, _ := s.Get(defaultNamespace)
	absent := configMap("absent", "1")
	absent.ResourceVersion = "1"
	elsewhere := configMap("env", "1")
	elsewhere.Namespace = "nowhere"
	key := KeyOf(old)
	for _, c := range []struct {
		name  string
		write Write
		want  func(error) bool
	}{
		{"place what is there", Place(configMap("env", "3")), apierrors.IsAlreadyExists},
		{"place an old version", Place(old), apierrors.IsConflict},
		{"place what is gone", Place(absent), apierrors.IsNotFound},
		{"place where no namespace is", Place(elsewhere), apierrors.IsNotFound},
		{"delete the first namespace", Place(change(home, func(o Object) { o.SetDeletionTimestamp(&now) })), apierrors.IsForbidden},
		{"remove an old version", Remove(key, old.ResourceVersion), apierrors.IsConflict},
		{"remove any version", Remove(key, ""), apierrors.IsBadRequest},
		{"remove what is gone", Remove(podKey("gone"), "1"), apierrors.IsNotFound},
		{"remove the first namespace", Remove(defaultNamespace, home.GetResourceVersion()), apierrors.IsForbidden},
	} {
		version := s.Version()
		if _, err := s.Commit(c.write); !c.want(err) {
			t.Errorf("%s: %v", c.name, err)
		}
		if s.Version() != version {
			t.Errorf("%s: it left something", c.name)
		}
	}
}

func TestRemoveTakesAwayWhatFinalizersKeep(t *testing.T) {
	t.Parallel()
	s := open(t)
	c := configMap("env", "1")
	c.Finalizers = []string{"example.com/keep"}
	c = stored[*corev1.ConfigMap](t, s, Place(c))
	r := commit(t, s, Remove(KeyOf(c), c.ResourceVersion))
	if _, ok := s.Get(KeyOf(c)); ok || r.Removed[0] == nil || r.Removed[0].GetResourceVersion() == c.ResourceVersion {
		t.Errorf("it is there, or its last state is missing: %v", r)
	}
	ns := stored[*corev1.Namespace](t, s, Create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}))
	inside := configMap("env", "1")
	inside.Namespace = "shop"
	commit(t, s, Create(inside))
	if _, err := s.Commit(Remove(KeyOf(ns), ns.ResourceVersion)); !apierrors.IsConflict(err) {
		t.Errorf("a namespace with an object inside: %v", err)
	}
}

func TestPlaceAllocatesAddresses(t *testing.T) {
	t.Parallel()
	s := open(t)
	svc := stored[*corev1.Service](t, s, Place(&corev1.Service{ObjectMeta: meta("web"), Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP}}))
	if svc.Spec.ClusterIP == "" {
		t.Fatal("no address")
	}
	kept := stored[*corev1.Service](t, s, Place(change(svc, func(s *corev1.Service) { s.Spec.ClusterIP, s.Spec.ClusterIPs = "", nil })))
	if kept.Spec.ClusterIP != svc.Spec.ClusterIP {
		t.Errorf("%s became %q", svc.Spec.ClusterIP, kept.Spec.ClusterIP)
	}
}

func TestListVersion(t *testing.T) {
	t.Parallel()
	o := testOptions()
	o.HistorySize = 8
	s := openWith(t, o)
	names := func(version int64) []string {
		t.Helper()
		list, err := s.ListVersion(KindConfigMap, "", version)
		if err != nil {
			t.Fatal(err)
		}
		got := []string{}
		for _, o := range list {
			got = append(got, o.GetName()+"="+o.(*corev1.ConfigMap).Data["value"])
		}
		return got
	}
	empty := s.Version()
	commit(t, s, Create(configMap("b", "1")))
	commit(t, s, Create(configMap("a", "1")))
	two := s.Version()
	commit(t, s, Update(configMap("b", "2")))
	commit(t, s, Update(configMap("b", "3")))
	commit(t, s, Delete(KeyOf(configMap("a", "")), DeleteOptions{}))
	gone := s.Version()
	commit(t, s, Create(configMap("c", "1")))
	for _, c := range []struct {
		version int64
		want    []string
	}{{empty, []string{}}, {two, []string{"a=1", "b=1"}}, {gone - 1, []string{"a=1", "b=3"}}, {gone, []string{"b=3"}}, {s.Version(), []string{"b=3", "c=1"}}} {
		if got := names(c.version); !slices.Equal(got, c.want) {
			t.Errorf("at %d: %v, want %v", c.version, got, c.want)
		}
	}
	for range 4 {
		stored[Object](t, s, Create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", GenerateName: "s-"}}))
	}
	if _, err := s.ListVersion(KindConfigMap, "", empty); !errors.Is(err, ErrExpired) {
		t.Errorf("a version no longer kept: %v", err)
	}
}
