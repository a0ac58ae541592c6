package owner

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

func object(name, app string, controller types.UID, deleted bool) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name), Labels: map[string]string{"app": app}}}
	if controller != "" {
		yes := true
		p.OwnerReferences = []metav1.OwnerReference{{UID: controller, Controller: &yes}}
	}
	if deleted {
		t := metav1.NewTime(time.Unix(1, 0))
		p.DeletionTimestamp = &t
	}
	return p
}

func TestClaim(t *testing.T) {
	t.Parallel()
	foreign := object("elsewhere", "web", "", false)
	foreign.Namespace = "other"
	candidates := []*corev1.Pod{
		object("mine", "web", "me", false), object("mine-leaving", "web", "me", true),
		object("lost", "db", "me", false), object("lost-leaving", "db", "me", true),
		object("free", "web", "", false), object("free-leaving", "web", "", true), object("free-db", "db", "", false),
		object("yours", "web", "you", false), foreign,
	}
	for _, tt := range []struct {
		name     string
		deleting bool
		want     string
	}{
		{"alive", false, "owned mine mine-leaving; adopt free; release lost lost-leaving"},
		{"being deleted", true, "owned mine mine-leaving; adopt; release"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := Claim(object("me", "", "", tt.deleting), labels.SelectorFromSet(labels.Set{"app": "web"}), candidates)
			var parts []string
			for i, list := range [][]*corev1.Pod{c.Owned, c.Adopt, c.Release} {
				part := []string{"owned", "adopt", "release"}[i]
				for _, o := range list {
					part += " " + o.Name
				}
				parts = append(parts, part)
			}
			if got := strings.Join(parts, "; "); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestAddAndRemove(t *testing.T) {
	t.Parallel()
	refs := []metav1.OwnerReference{{UID: "a", Name: "old"}, {UID: "b"}}
	uids := func(refs []metav1.OwnerReference) string {
		var s []string
		for _, r := range refs {
			s = append(s, string(r.UID)+r.Name)
		}
		return strings.Join(s, " ")
	}
	if got := uids(Add(refs, metav1.OwnerReference{UID: "a", Name: "new"})); got != "b anew" {
		t.Errorf("Add: got %s", got)
	}
	if got := uids(Remove(refs, "a")); got != "b" {
		t.Errorf("Remove: got %s", got)
	}
	if got := uids(refs); got != "aold b" {
		t.Errorf("the argument was edited: %s", got)
	}
}

func TestOrphans(t *testing.T) {
	t.Parallel()
	var o Orphans
	names := func() string {
		var s []string
		for _, n := range o.In("default") {
			s = append(s, n.Name)
		}
		return strings.Join(s, " ")
	}
	for _, step := range []struct {
		object *corev1.Pod
		gone   bool
		want   string
	}{
		{object("b", "web", "", false), false, "b"},
		{object("a", "web", "", false), false, "a b"},
		{object("c", "web", "me", false), false, "a b"},
		{object("b", "web", "me", false), false, "a"},
		{object("a", "web", "", false), true, ""},
		{object("b", "web", "", false), false, "b"},
	} {
		o.Observe(step.object, step.gone)
		if got := names(); got != step.want {
			t.Errorf("after %s: got %q, want %q", step.object.Name, got, step.want)
		}
	}
	if got := o.In("other"); len(got) != 0 {
		t.Errorf("another namespace: %v", got)
	}
}
