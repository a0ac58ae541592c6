package garbage

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"github.com/belay-dev/belay/state"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// thing is an object of the plan's tests; its name is its uid.
func thing(name string, edits ...func(*corev1.ConfigMap)) state.Object {
	o := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name)}}
	for _, edit := range edits {
		edit(o)
	}
	return o
}

func ownedBy(owners ...string) func(*corev1.ConfigMap) {
	return func(o *corev1.ConfigMap) {
		for _, owner := range owners {
			name, block := strings.CutSuffix(owner, "!")
			o.OwnerReferences = append(o.OwnerReferences, metav1.OwnerReference{
				APIVersion: "v1", Kind: "ConfigMap", Name: name, UID: types.UID(name), BlockOwnerDeletion: &block})
		}
	}
}

func finalizers(names ...string) func(*corev1.ConfigMap) {
	return func(o *corev1.ConfigMap) { o.Finalizers = names }
}

func deleting(o *corev1.ConfigMap) {
	at := metav1.NewTime(start)
	o.DeletionTimestamp = &at
}

func (r Result) String() string {
	parts := []string{string(r.Reason)}
	for _, a := range r.Actions {
		text := fmt.Sprintf("%s %s", a.Verb, a.Object.GetName())
		if a.Finalizer != "" {
			text += " " + a.Finalizer
		}
		if len(a.Owners) > 0 {
			text += fmt.Sprint(" ", a.Owners)
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, ", ")
}

func TestPlan(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name string
		in   Input
		want string
	}{
		{"nobody owns it", Input{Object: thing("a")}, "NoOwner"},
		{"its owner is there", Input{Object: thing("a", ownedBy("o")), Owners: []Standing{Alive}}, "OwnerAlive"},
		{"its owner cannot be known", Input{Object: thing("a", ownedBy("o")), Owners: []Standing{Unknown}}, "OwnerAlive"},
		{"its owner is gone", Input{Object: thing("a", ownedBy("o")), Owners: []Standing{Gone}}, "OwnersGone, Delete a"},
		{"its owners are gone", Input{Object: thing("a", ownedBy("o", "p")), Owners: []Standing{Gone, Gone}}, "OwnersGone, Delete a"},
		{"one of its owners is gone", Input{Object: thing("a", ownedBy("o", "p")), Owners: []Standing{Gone, Alive}},
			"OwnerPartlyGone, DropOwners a [o]"},
		{"one waits, one is there", Input{Object: thing("a", ownedBy("o", "p", "q")), Owners: []Standing{Waiting, Unknown, Gone}},
			"OwnerPartlyGone, DropOwners a [o q]"},
		{"its owner waits, and it owns nothing", Input{Object: thing("a", ownedBy("o")), Owners: []Standing{Waiting}},
			"OwnerWaits, Delete a"},
		{"its owner waits, and it owns something", Input{
			Object: thing("a", ownedBy("o")), Owners: []Standing{Waiting}, Dependents: []state.Object{thing("d", ownedBy("a!"))},
		}, "OwnerWaits, AddFinalizer a foregroundDeletion, Delete a"},
		{"its owner waits, and it lets go what it owns", Input{
			Object: thing("a", ownedBy("o"), finalizers("orphan")), Owners: []Standing{Waiting},
			Dependents: []state.Object{thing("d", ownedBy("a!"))},
		}, "OwnerWaits, Delete a"},
		{"one owner gone, one waits, and it owns something", Input{
			Object: thing("a", ownedBy("o", "p")), Owners: []Standing{Gone, Waiting}, Dependents: []state.Object{thing("d", ownedBy("a"))},
		}, "OwnerWaits, AddFinalizer a foregroundDeletion, Delete a"},
		{"being deleted", Input{Object: thing("a", ownedBy("o"), deleting, finalizers("example.com/x")), Owners: []Standing{Gone}},
			"BeingDeleted"},
		{"foreground, one blocks", Input{
			Object: thing("a", deleting, finalizers("foregroundDeletion")), Dependents: []state.Object{thing("d", ownedBy("x", "a!"))},
		}, "DependentsRemain"},
		{"foreground, none blocks", Input{
			Object:     thing("a", deleting, finalizers("foregroundDeletion")),
			Dependents: []state.Object{thing("d", ownedBy("x!", "a"))},
		}, "DependentsGone, DropFinalizer a foregroundDeletion"},
		{"foreground, none is left", Input{Object: thing("a", deleting, finalizers("x", "foregroundDeletion"))},
			"DependentsGone, DropFinalizer a foregroundDeletion"},
		{"orphan", Input{
			Object:     thing("a", deleting, finalizers("orphan")),
			Dependents: []state.Object{thing("d", ownedBy("a!")), thing("e", ownedBy("b", "a"))},
		}, "Orphaned, DropOwners d [a], DropOwners e [a], DropFinalizer a orphan"},
		{"orphan, nothing owned", Input{Object: thing("a", deleting, finalizers("orphan"))}, "Orphaned, DropFinalizer a orphan"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			before := c.in.Object.DeepCopyObject()
			if got := Plan(c.in).String(); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			for _, a := range Plan(c.in).Actions {
				edit(a)
			}
			if diff := cmp.Diff(before, c.in.Object); diff != "" {
				t.Errorf("the input was changed:\n%s", diff)
			}
		})
	}
}

// TestPlanNeverDeletesWhatIsOwned is the one thing that must not go wrong.
func TestPlanNeverDeletesWhatIsOwned(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		in := Input{Owners: rapid.SliceOfN(rapid.SampledFrom([]Standing{Alive, Gone, Waiting, Unknown}), 0, 4).Draw(t, "owners")}
		var names []string
		owned := len(in.Owners) == 0
		for i, standing := range in.Owners {
			names = append(names, fmt.Sprint("o", i))
			owned = owned || standing == Alive || standing == Unknown
		}
		in.Object = thing("a", ownedBy(names...))
		if rapid.Bool().Draw(t, "owns") {
			in.Dependents = []state.Object{thing("d", ownedBy("a!"))}
		}
		deletes := false
		for _, a := range Plan(in).Actions {
			deletes = deletes || a.Verb == Delete
		}
		if deletes == owned {
			t.Fatalf("owned %v, deletes %v: %s", owned, deletes, Plan(in))
		}
	})
}

func TestExpire(t *testing.T) {
	t.Parallel()
	at := func(name string, last time.Duration) *corev1.Event {
		return &corev1.Event{ObjectMeta: metav1.ObjectMeta{Name: name}, LastTimestamp: metav1.NewTime(start.Add(last))}
	}
	modern := &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Name: "modern", CreationTimestamp: metav1.NewTime(start.Add(-3 * time.Hour))},
		EventTime:  metav1.NewMicroTime(start.Add(-2 * time.Hour)),
		Series:     &corev1.EventSeries{LastObservedTime: metav1.NewMicroTime(start.Add(-30 * time.Minute))},
	}
	bare := &corev1.Event{ObjectMeta: metav1.ObjectMeta{Name: "bare", CreationTimestamp: metav1.NewTime(start.Add(-20 * time.Minute))}}
	cases := []struct {
		name   string
		events []*corev1.Event
		over   string
		wake   time.Duration
	}{
		{"none", nil, "", time.Hour},
		{"to the second", []*corev1.Event{at("a", -time.Hour), at("b", -time.Hour+1)}, "a", time.Minute},
		{"the first to end wakes", []*corev1.Event{at("a", -10*time.Minute), at("b", -15*time.Minute), at("c", -5*time.Minute)}, "", 45 * time.Minute},
		{"the last write counts", []*corev1.Event{modern, bare}, "", 30 * time.Minute},
		{"in order", []*corev1.Event{at("b", -3*time.Hour), at("x", 0), at("a", -2*time.Hour)}, "b a", time.Hour},
		{"not more than once a minute", []*corev1.Event{at("a", -time.Hour+time.Second)}, "", time.Minute},
	}
	for _, c := range cases {
		over, wakeAt := Expire(c.events, start)
		var names []string
		for _, e := range over {
			names = append(names, e.Name)
		}
		if got := strings.Join(names, " "); got != c.over || wakeAt.Sub(start) != c.wake {
			t.Errorf("%s: over %q, wake after %v; want %q, %v", c.name, got, wakeAt.Sub(start), c.over, c.wake)
		}
	}
}
