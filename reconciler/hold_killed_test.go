package reconciler

import (
	"encoding/json"
	"maps"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	"pgregory.net/rapid"
)

// killed is what a process that is killed panics with.
type killed struct{}

// clock is the store's: it is asked once for each transaction, before it.
func (w *walk) clock() time.Time {
	if w.kill > 0 {
		if w.kill--; w.kill == 0 {
			panic(killed{})
		}
	}
	return w.now
}

// snapshot is all that is remembered of the Deployment, and what runs.
func (w *walk) snapshot() string {
	var live *appsv1.DeploymentSpec
	if d := w.engine.live[walkKey]; d != nil {
		live = &d.Spec
	}
	cursor, _ := w.store.Cursor("shop")
	text, err := json.MarshalIndent([]any{
		w.store.Holds(), w.store.AllMarks(), w.store.Overrides("default", "web"), w.store.Rows("default", "web"), w.store.Commits("shop", 0), cursor, live,
	}, "", " ")
	if err != nil {
		w.t.Fatal(err)
	}
	return string(text)
}

// survive makes a move in which the process is killed before its n-th transaction, and goes on with another process.
func (w *walk) survive(n int) {
	desired, step := maps.Clone(w.source.desired), w.source.cursor.Step
	defer func() {
		w.kill, w.asked = 0, false
		if r := recover(); r != nil {
			if _, ok := r.(killed); !ok {
				panic(r)
			}
			if c, _ := w.store.Cursor("shop"); c.Step > step {
				desired = w.source.desired // the commit was recorded
			}
			w.begin(desired)
			w.settle()
		}
	}()
	w.kill = n
	w.act()
}

// TestKilledHistories: whenever the process is killed, in the end everything is as if it had not been, or as if what it
// was about had not been asked for or seen yet: holds, marks, rows and what runs.
func TestKilledHistories(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a, b := newWalk(t), newWalk(t)
		defer func() {
			for _, w := range []*walk{a, b} {
				if err := w.store.Close(); err != nil {
					t.Fatal(err)
				}
			}
		}()
		a.draw = t
		a.commit("web:1", "", 2)
		for range rapid.IntRange(0, 8).Draw(t, "steps") {
			a.move()
		}
		a.now = a.now.Add(time.Minute)
		a.settle() // an hour may have struck
		before, prefix := a.snapshot(), len(a.drawn)
		name := a.act()
		after := a.snapshot()

		b.draw, b.replay = t, a.drawn
		b.commit("web:1", "", 2)
		for len(b.replay) > len(a.drawn)-prefix {
			b.move()
		}
		b.now = b.now.Add(time.Minute)
		b.settle()
		if got := b.snapshot(); got != before {
			t.Fatalf("the same history goes otherwise:\n%s", cmp.Diff(before, got))
		}
		n := rapid.IntRange(1, 6).Draw(t, "killed")
		b.survive(n)
		if got := b.snapshot(); got != before && got != after {
			t.Fatalf("killed before transaction %d of %s (-undisturbed +killed):\n%s\nagainst what was before (-before +killed):\n%s",
				n, name, cmp.Diff(after, got), cmp.Diff(before, got))
		}
		b.check("killed in " + name)
	})
}
