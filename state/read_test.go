package state

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func keys[T Object](list []T) []string {
	var names []string
	for _, o := range list {
		names = append(names, KeyOf(o).String())
	}
	return names
}

func TestLists(t *testing.T) {
	t.Parallel()
	s := open(t)
	for _, ns := range []string{"shop-2", "shop", "a"} {
		commit(t, s, Create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}))
	}
	for _, key := range [][2]string{{"shop", "web"}, {"shop-2", "web"}, {"shop", "a"}, {"a", "z"}, {"shop", "web-2"}} {
		c := configMap(key[1], "")
		c.Namespace = key[0]
		commit(t, s, Create(c), Create(&corev1.Secret{ObjectMeta: c.ObjectMeta}))
	}
	for namespace, want := range map[string][]string{
		"":     {"ConfigMap a/z", "ConfigMap shop/a", "ConfigMap shop/web", "ConfigMap shop/web-2", "ConfigMap shop-2/web"},
		"shop": {"ConfigMap shop/a", "ConfigMap shop/web", "ConfigMap shop/web-2"},
		"none": nil,
	} {
		if diff := cmp.Diff(want, keys(s.List(KindConfigMap, namespace))); diff != "" {
			t.Errorf("%q (-want +got):\n%s", namespace, diff)
		}
		if diff := cmp.Diff(want, keys(List[*corev1.ConfigMap](s, namespace))); diff != "" {
			t.Errorf("%q, typed (-want +got):\n%s", namespace, diff)
		}
	}
	want := []string{"Namespace a", "Namespace default", "Namespace shop", "Namespace shop-2"}
	if list, version := s.ListAt(KindNamespace, ""); cmp.Diff(want, keys(list)) != "" || version != s.Version() {
		t.Errorf("%v at %d", keys(list), version)
	}
	if _, ok := Get[*corev1.Secret](s, "shop", "none"); ok {
		t.Error("found what is not there")
	}
	if _, ok := Get[*corev1.Node](s, "", "x"); ok || List[*corev1.Node](s, "") != nil || s.List("Node", "") != nil {
		t.Error("found objects of a kind that is not kept")
	}
}

func TestOwned(t *testing.T) {
	t.Parallel()
	s := open(t)
	web := stored[*appsv1.Deployment](t, s, Create(deployment("web")))
	rs := stored[*appsv1.ReplicaSet](t, s, Create(replicaSet("web-2", web)))
	commit(t, s, Create(replicaSet("web-1", web)), Create(replicaSet("other", nil)), Create(pod("p", rs)))
	odd := pod("direct", nil)
	odd.OwnerReferences = append(owners(web, KindDeployment), owners(web, KindDeployment)...)
	commit(t, s, Create(odd))

	check := func(owner types.UID, want ...string) {
		t.Helper()
		if got := keys(s.Owned(owner)); !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	check(web.UID, "Pod default/direct", "ReplicaSet default/web-1", "ReplicaSet default/web-2")
	check(rs.UID, "Pod default/p")
	check("nobody")
	if got := keys(OwnedBy[*appsv1.ReplicaSet](s, web.UID)); !slices.Equal(got, []string{"ReplicaSet default/web-1", "ReplicaSet default/web-2"}) {
		t.Errorf("typed: %v", got)
	}
	// Moved to another owner, released, and deleted.
	p, _ := Get[*corev1.Pod](s, "default", "p")
	commit(t, s, Update(change(p, func(p *corev1.Pod) { p.OwnerReferences = owners(web, KindDeployment) })))
	check(rs.UID)
	check(web.UID, "Pod default/direct", "Pod default/p", "ReplicaSet default/web-1", "ReplicaSet default/web-2")
	commit(t, s, Update(change(rs, func(rs *appsv1.ReplicaSet) { rs.OwnerReferences, rs.ResourceVersion = nil, "" })),
		Delete(podKey("direct"), DeleteOptions{GracePeriodSeconds: seconds(0)}))
	check(web.UID, "Pod default/p", "ReplicaSet default/web-1")
	// A refused transaction changes no owners.
	if _, err := s.Commit(Delete(podKey("p"), DeleteOptions{GracePeriodSeconds: seconds(0)}), Create(pod("q", web)), Create(pod("q", web))); err == nil {
		t.Fatal("no error")
	}
	check(web.UID, "Pod default/p", "ReplicaSet default/web-1")
}

// TestMoves: what was neither added nor deleted has not moved, whatever else is written.
func TestMoves(t *testing.T) {
	t.Parallel()
	s := open(t)
	commit(t, s, Create(configMap("a", "")), Create(configMap("b", "")))
	for _, c := range []struct {
		what  string
		write Write
		moved bool
	}{
		{"an object that changed", Update(configMap("a", "x")), false},
		{"one of another kind", Create(deployment("web")), false},
		{"a new one", Create(configMap("c", "")), true},
		{"one less", Delete(KeyOf(configMap("a", "")), DeleteOptions{}), true},
	} {
		before := s.Snapshot()
		commit(t, s, c.write)
		if moved := s.Snapshot().Moves(KindConfigMap) != before.Moves(KindConfigMap); moved != c.moved {
			t.Errorf("%s: moved is %t", c.what, moved)
		}
	}
}

func TestKeyString(t *testing.T) {
	t.Parallel()
	for want, o := range map[string]Object{
		"Deployment default/web": deployment("web"),
		"Namespace shop":         &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}},
		" node":                  &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node"}},
	} {
		if got := KeyOf(o).String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestEveryKindIsWhatItSays(t *testing.T) {
	t.Parallel()
	for _, info := range kinds {
		o := info.fresh()
		if KeyOf(o).Kind != info.kind || infoOf(o) != info || kindByName[info.kind] != info {
			t.Errorf("%s is %s", info.kind, KeyOf(o).Kind)
		}
		o.SetName("a")
		c := info.shallow(o)
		c.SetName("b")
		if o.GetName() != "a" || KeyOf(c).Kind != info.kind {
			t.Errorf("%s: the copy is the original", info.kind)
		}
		if _, err := encodeObject(o); err != nil {
			t.Errorf("%s: %v", info.kind, err)
		}
	}
}

func TestOptionsNeedAClock(t *testing.T) {
	t.Parallel()
	if _, err := OpenMemory(Options{}); err == nil || err.Error() != "state options: Now is missing" {
		t.Errorf("got %v", err)
	}
	if _, err := Open(t.TempDir(), Options{}); err == nil {
		t.Error("no error")
	}
}

// TestSnapshot: a snapshot shows one moment, whatever is written since, and all of it.
func TestSnapshot(t *testing.T) {
	t.Parallel()
	s := open(t)
	fill(t, s)
	sets := func(r Reading) []*appsv1.ReplicaSet {
		d, ok := Get[*appsv1.Deployment](r, "default", "web")
		if !ok {
			return nil
		}
		return OwnedBy[*appsv1.ReplicaSet](r, d.UID)
	}
	type seen struct {
		Version   int64
		Pods      []*corev1.Pod
		Sets      []*appsv1.ReplicaSet
		Inventory []*Managed
		Last      *Row
		Hold      Hold
		Gone      bool
	}
	look := func(x *Snapshot) seen {
		v := seen{Version: x.Version(), Pods: List[*corev1.Pod](x, ""), Sets: sets(x), Inventory: slices.Concat(x.Inventory(KindDeployment), x.Inventory(KindPod))}
		v.Last = x.Newest("none")("default", "web")
		v.Hold, _ = x.Hold("default", "web")
		_, there := Find(x, Key{KindSecret, "default", "s"})
		v.Gone = !there
		return v
	}
	x := s.Snapshot()
	want := look(x)
	if len(want.Pods) != 2 || len(want.Sets) != 1 || len(want.Inventory) != 1 || want.Last.ID != "open" || want.Hold.Name != "web" || want.Gone {
		t.Fatalf("a snapshot of a filled store has %d pods, %d sets, last row %+v", len(want.Pods), len(want.Sets), want.Last)
	}
	var writers sync.WaitGroup
	for n := range 4 {
		writers.Go(func() {
			for i := range 50 {
				name := fmt.Sprintf("more-%d-%d", n, i)
				_, err := s.Commit(Create(pod(name, want.Sets[0])), PutRow(testRow(name, "web", true)), PutManaged(Managed{Key: podKey(name), Source: "shop"}))
				if err != nil {
					t.Error(err)
				}
				if other := s.Snapshot(); other.Version() <= want.Version {
					t.Error("a later snapshot has an older version")
				}
			}
		})
	}
	for range 50 {
		if diff := cmp.Diff(want, look(x)); diff != "" {
			t.Fatalf("the snapshot changed (-was +is):\n%s", diff)
		}
	}
	writers.Wait()
	commit(t, s, Delete(Key{KindSecret, "default", "s"}, DeleteOptions{}), RemoveHold("default", "web"),
		Delete(KeyOf(want.Sets[0]), DeleteOptions{}), Delete(KeyOf(want.Pods[1]), DeleteOptions{GracePeriodSeconds: seconds(0)}))
	if diff := cmp.Diff(want, look(x)); diff != "" {
		t.Errorf("the snapshot changed (-was +is):\n%s", diff)
	}
	if now := look(s.Snapshot()); len(now.Pods) != 201 || len(now.Sets) != 0 || !now.Gone || now.Hold.Name != "" || len(now.Inventory) != 201 {
		t.Errorf("now: %d pods, %d sets, %d managed, hold %+v", len(now.Pods), len(now.Sets), len(now.Inventory), now.Hold)
	}
	checkIndexes(t, s)
}
