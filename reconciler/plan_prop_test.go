package reconciler

import (
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/dump"
	"pgregory.net/rapid"

	"github.com/belay-dev/belay/manifests"
	"github.com/belay-dev/belay/reconciler/engine"
	"github.com/belay-dev/belay/reconciler/ledger"
	"github.com/belay-dev/belay/state"
)

var epoch = time.Date(2026, 11, 21, 2, 14, 0, 0, time.UTC)

// drawInput makes up a world: Deployments with histories, some wanted, some running, some in the way.
func drawInput(t *rapid.T) Input {
	in := Input{
		Now: epoch, MaxRollouts: rapid.IntRange(0, 3).Draw(t, "max"), Rolling: rapid.IntRange(0, 3).Draw(t, "rolling"),
		Failed:     map[string]int{"c2": rapid.IntRange(0, 4).Draw(t, "failed")},
		CommitOpen: map[string]bool{"c9": rapid.Bool().Draw(t, "open")}, Named: map[engine.Key]bool{},
		Sources: map[string]SourceFacts{"shop": {
			Suspended: rapid.Float64Range(0, 1).Draw(t, "suspended") < 0.1, Stale: rapid.Bool().Draw(t, "stale"),
			AppObjects: map[string]int{"shop": 9}, AppRemoved: map[string]int{"shop": rapid.IntRange(0, 9).Draw(t, "removed")},
		}},
	}
	for i := range rapid.IntRange(1, 6).Draw(t, "subjects") {
		in.Subjects = append(in.Subjects, drawSubject(t, fmt.Sprintf("web%d", i)))
	}
	return in
}

func drawSubject(t *rapid.T, name string) Subject {
	s := Subject{Key: engine.Key{Kind: state.KindDeployment, Namespace: "default", Name: name}}
	templates := rapid.SampledFrom([]string{"A", "B", "C"})
	if rapid.IntRange(0, 4).Draw(t, "wanted") > 0 {
		template := templates.Draw(t, "wanted template")
		s.Desired = &Desired{
			Manifest: manifests.Object{Object: deployment(name, template), App: "shop", File: "web.yaml"}, Template: template, Source: "shop", Commit: "c3",
		}
	}
	if rapid.IntRange(0, 4).Draw(t, "lives") > 0 {
		template := templates.Draw(t, "live template")
		d := deployment(name, template)
		d.UID = "uid"
		phases := []engine.Phase{engine.PhasePending, engine.PhaseProgressing, engine.PhaseComplete, engine.PhaseFailed, engine.PhasePaused}
		s.Live = engine.Live{Object: d, Rollout: engine.Rollout{
			Phase: rapid.SampledFrom(phases).Draw(t, "phase"), Template: template, Revision: int64(rapid.IntRange(0, 3).Draw(t, "revision")),
		}}
	}
	if rapid.Bool().Draw(t, "managed") {
		s.Managed = &state.Managed{Key: s.Key, Source: "shop", App: "shop", RemovedBy: "c9"}
	}
	for i := range rapid.IntRange(0, 4).Draw(t, "rows") {
		r := state.Row{
			ID: fmt.Sprintf("%s-%d", name, i), Number: int64(i + 1), Namespace: "default", Name: name, Commit: fmt.Sprintf("c%d", i),
			Template: templates.Draw(t, "row template"), Outcome: rapid.SampledFrom(ledger.Severity).Draw(t, "outcome"),
			UID: rapid.SampledFrom([]types.UID{"", "uid", "older"}).Draw(t, "row uid"),
		}
		r.Open = ledger.IsOpen(r.Outcome)
		if r.Outcome == ledger.Progressing || r.Outcome == ledger.Paused || rapid.Bool().Draw(t, "started") { // a rollout has always begun
			r.StartedAt = epoch.Add(time.Duration(i) * time.Minute)
		}
		s.Rows = append(s.Rows, r)
	}
	return s
}

func deployment(name, template string) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: new(int32(2)), Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: template}}},
			},
		},
	}
}

// TestMakeIsPure: the same input gives the same plan, and comes out as it went in.
func TestMakeIsPure(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		in := drawInput(t)
		before := dump.ForHash(in)
		first := dump.ForHash(Make(in))
		if after := dump.ForHash(in); after != before {
			t.Fatalf("the input was edited:\n%s\n%s", before, after)
		}
		if second := dump.ForHash(Make(in)); second != first {
			t.Fatalf("another plan the second time:\n%s\n%s", first, second)
		}
	})
}

// TestMakeIsSafe: no more rollouts than there are slots, but for templates that are stable or first; only transitions
// that the table allows; nothing is pruned while a root is stale; prunes come last; nothing of a suspended source moves.
func TestMakeIsSafe(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		in := drawInput(t)
		plan := Make(in)
		rolling, pruned := in.Rolling, false
		for _, a := range plan.Actions {
			s := subjectOf(in, a.Key)
			if in.Sources["shop"].Suspended && a.Kind != ActionRecord {
				t.Fatalf("suspended: %s", a)
			}
			if pruned && a.Kind != ActionPrune && s.Desired != nil {
				t.Fatalf("%s after a prune", a)
			}
			switch a.Kind {
			case ActionRollout:
				stable := ledger.Stable(replace(s.Rows, observe(s.Rows, s.Live, in.Now)), s.Desired.Template)
				if s.Live.Object != nil && !stable {
					rolling++
				}
				if in.MaxRollouts > 0 && rolling > max(in.MaxRollouts, in.Rolling) {
					t.Fatalf("%s is the rollout number %d of %d", a, rolling, in.MaxRollouts)
				}
			case ActionPrune:
				pruned = true
				if in.Sources["shop"].Stale || in.CommitOpen[s.Managed.RemovedBy] {
					t.Fatalf("%s although it must wait", a)
				}
			case ActionApply, ActionRecord:
			}
			checkTransitions(t, s, a)
		}
	})
}

func subjectOf(in Input, k engine.Key) Subject {
	for _, s := range in.Subjects {
		if s.Key == k {
			return s
		}
	}
	return Subject{}
}

// checkTransitions follows a row through the actions on it: an observation may come before a rollout.
func checkTransitions(t *rapid.T, s Subject, a Action) {
	known := map[string]state.Row{}
	for _, r := range replace(s.Rows, observe(s.Rows, s.Live, epoch)) {
		known[r.ID] = r
	}
	for _, r := range a.Rows {
		old, ok := known[r.ID]
		for _, was := range s.Rows {
			if was.ID == r.ID && was.Outcome != r.Outcome && ledger.MayBecome(was.Outcome, r.Outcome) {
				return
			}
		}
		if ok && old.Outcome != r.Outcome && !ledger.MayBecome(old.Outcome, r.Outcome) {
			t.Fatalf("%s: %s became %s", a, old.Outcome, r.Outcome)
		}
		if r.Open != ledger.IsOpen(r.Outcome) {
			t.Fatalf("%s: %s is open: %v", a, r.Outcome, r.Open)
		}
	}
}

// TestMakeSaysWhy: a Deployment whose row waits is acted on, or held with a reason.
func TestMakeSaysWhy(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		in := drawInput(t)
		plan := Make(in)
		for _, s := range in.Subjects {
			if target(s.Rows) < 0 {
				continue
			}
			said := false
			for _, a := range plan.Actions {
				said = said || a.Key == s.Key
			}
			for _, w := range plan.Held {
				said = said || w.Key == s.Key && w.Reason != ""
			}
			if !said {
				t.Fatalf("nothing is said of %s: %s", s.Key, dump.Pretty(s))
			}
		}
	})
}

// TestRecordAgain: what is recorded twice, as after a crash between recording and the cursor, is the same.
func TestRecordAgain(t *testing.T) {
	t.Parallel()
	want := func(image string) *Desired {
		return &Desired{Manifest: manifests.Object{Object: deployment("web", image), Digest: image}, Template: image, Source: "shop"}
	}
	in := RecordInput{
		Source: "shop", Now: epoch, Cursor: state.Cursor{Source: "shop", Commit: "c1", Step: 1},
		Steps: []Rendered{
			{Step: Step{Kind: StepLinear, Hash: "c2", Cause: "two"}, Deltas: []Delta{{Key: subjectKey, Before: want("A"), After: want("B")}}},
			{Step: Step{Kind: StepLinear, Hash: "c3", Cause: "three"}, Deltas: []Delta{{Key: subjectKey, Before: want("B"), After: want("A")}}},
		},
		Waiting: func(engine.Key) (state.Row, bool) { return state.Row{}, false },
		Managed: func(engine.Key) (state.Managed, bool) { return state.Managed{}, false },
	}
	first, second := Record(in), Record(in)
	if a, b := dump.Pretty(first), dump.Pretty(second); a != b {
		t.Errorf("recorded differently:\n%s\n%s", a, b)
	}
	if len(first.Rows) != 2 || first.Rows[0].SupersededBy != first.Rows[1].ID || first.Rows[0].ID == first.Rows[1].ID {
		t.Errorf("rows: %+v", first.Rows)
	}
	if first.Cursor.Commit != "c3" || first.Cursor.Step != 3 {
		t.Errorf("cursor: %+v", first.Cursor)
	}
}

var subjectKey = engine.Key{Kind: state.KindDeployment, Namespace: "default", Name: "web"}
