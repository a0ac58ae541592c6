package rollback

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/dump"
	"pgregory.net/rapid"

	"github.com/belay-dev/belay/reconciler/ledger"
	"github.com/belay-dev/belay/state"
)

func drawPods(t *rapid.T, label string) *corev1.PodTemplateSpec {
	out := pods(rapid.SampledFrom([]string{"web:1", "web:2", "web:3"}).Draw(t, label), nil)
	for _, name := range []string{"A", "B"} {
		if value := rapid.SampledFrom([]string{"", "1", "2"}).Draw(t, label+" "+name); value != "" {
			out.Spec.Containers[0].Env = append(out.Spec.Containers[0].Env, corev1.EnvVar{Name: name, Value: value})
		}
	}
	if rapid.IntRange(0, 5).Draw(t, label+" restarted") == 0 {
		out.Annotations = map[string]string{Restarted: "2026-11-22T02:14:00Z"}
	}
	return out
}

// TestDecideProperties: of every rollback over a random history, what is gone back to is clean, and what is left is bad
// when it is newer; a template with none of the bad images is found bad by its leaves or as a whole only; what is held is
// clean; deciding again decides the same, and edits nothing.
func TestDecideProperties(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := newPast()
		for range rapid.IntRange(2, 6).Draw(t, "ran") {
			p.run(drawPods(t, "template"), rapid.SampledFrom([]state.Outcome{ledger.Complete, ledger.Failed, ledger.Superseded, ledger.RolledBack}).Draw(t, "outcome"))
		}
		r := Request{ToRevision: int64(rapid.IntRange(0, len(p.facts.Rows)).Draw(t, "to")), By: "alice", Now: epoch}
		before := dump.ForHash(p.facts.Rows)
		d, err := Decide(p.facts, r)
		again, errAgain := Decide(p.facts, r)
		if dump.ForHash(p.facts.Rows) != before {
			t.Fatal("the rows were edited")
		}
		if dump.ForHash(d) != dump.ForHash(again) || (err == nil) != (errAgain == nil) {
			t.Fatal("another decision the second time")
		}
		if err != nil || d.Skipped {
			return
		}
		if bad := Tainted(d.Template, Bare(d.Template), d.Marks); len(bad) > 0 {
			t.Fatalf("what is gone back to is bad: %v", bad)
		}
		left := p.templates[p.facts.Running.Template]
		if d.Mark != nil && len(Tainted(left, Bare(left), d.Marks)) == 0 {
			t.Fatal("what was left is clean")
		}
		if got := Judge(&d.Hold, Bare(d.Template), d.Template, Bare(d.Template), d.Marks, epoch).Standing; got != Clean {
			t.Fatalf("what is held is %s", got)
		}
		if got := Judge(&d.Hold, Bare(d.Template), left, Bare(left), d.Marks, epoch).Standing; got == Clean && Bare(left) != Bare(d.Template) {
			t.Fatal("what was rolled back is let through")
		}
		other := drawPods(t, "another")
		for _, bad := range Tainted(other, Bare(other), d.Marks) {
			m := d.Marks[0]
			image := slices.ContainsFunc(m.Images, func(b state.BadImage) bool { return b.Image == other.Spec.Containers[0].Image })
			if !image && len(m.Leaves) == 0 && !slices.Contains(m.Templates, Bare(other)) {
				t.Fatalf("without a bad image it is bad: %v", bad)
			}
		}
	})
}
