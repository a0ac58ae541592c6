package rollback

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/belay-dev/belay/reconciler/ledger"
	"github.com/belay-dev/belay/state"
)

type env = map[string]string

// TestMarks: what a rollback over some templates, to the first, leaves as bad.
func TestMarks(t *testing.T) {
	t.Parallel()
	restarted := pods("web:1", nil)
	restarted.Annotations = env{Restarted: "2026-11-22T02:14:00Z"}
	limited := pods("web:1", nil)
	limited.Spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Gi")}
	sidecar := pods("web:1", nil)
	sidecar.Spec.InitContainers = []corev1.Container{{Name: "init", Image: "init:2"}}
	for name, tc := range map[string]struct {
		ran  []*corev1.PodTemplateSpec
		to   int64
		want *state.Mark
	}{
		"an image": {
			[]*corev1.PodTemplateSpec{pods("web:1", nil), pods("web:2", env{"A": "1"})}, 1,
			&state.Mark{Images: []state.BadImage{{Container: "web", Image: "web:2", Commit: "c2"}}, Templates: []string{"2"}},
		},
		"every image in between, once": {
			[]*corev1.PodTemplateSpec{pods("web:1", nil), pods("web:2", nil), pods("web:2", env{"A": "1"}), pods("web:3", nil)}, 1,
			&state.Mark{
				Images:    []state.BadImage{{Container: "web", Image: "web:2", Commit: "c2"}, {Container: "web", Image: "web:3", Commit: "c4"}},
				Templates: []string{"2", "3", "4"},
			},
		},
		"the target's own image is good": {
			[]*corev1.PodTemplateSpec{pods("web:1", nil), pods("web:2", nil), pods("web:1", env{"A": "1"})}, 1,
			&state.Mark{Images: []state.BadImage{{Container: "web", Image: "web:2", Commit: "c2"}}, Templates: []string{"2", "3"}},
		},
		"no image: all leaves together": {
			[]*corev1.PodTemplateSpec{pods("web:1", env{"A": "1", "C": "3"}), pods("web:1", env{"A": "2", "C": "3"}), pods("web:1", env{"A": "2"})}, 1,
			&state.Mark{
				Leaves: []state.BadLeaf{
					{Path: "spec.containers[web].env[A].value", Value: `"2"`, Commit: "c2"},
					{Path: "spec.containers[web].env[C].value", Absent: true, Commit: "c3"},
				},
				Templates: []string{"2", "3"},
			},
		},
		"a container that starts first": {
			[]*corev1.PodTemplateSpec{pods("web:1", nil), sidecar}, 1,
			&state.Mark{Images: []state.BadImage{{Container: "init", Image: "init:2", Commit: "c2"}}, Templates: []string{"2"}},
		},
		"a restart is nothing":      {[]*corev1.PodTemplateSpec{pods("web:1", nil), restarted}, 1, nil},
		"a newer target is nothing": {[]*corev1.PodTemplateSpec{pods("web:1", nil), pods("web:2", nil), pods("web:1", nil)}, 2, nil},
		"a resource": {
			[]*corev1.PodTemplateSpec{pods("web:1", nil), limited}, 1,
			&state.Mark{Leaves: []state.BadLeaf{{Path: "spec.containers[web].resources.limits.memory", Value: `"1Gi"`, Commit: "c2"}}, Templates: []string{"2"}},
		},
	} {
		p := newPast(tc.ran...)
		d, err := Decide(p.facts, Request{ToRevision: tc.to, By: "alice", Now: epoch})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if tc.want == nil {
			if d.Mark != nil {
				t.Errorf("%s: marks %+v", name, d.Mark)
			}
			continue
		}
		for i, text := range tc.want.Templates {
			tc.want.Templates[i] = bare(p.facts.Rows[int(text[0]-'1')])
		}
		got := &state.Mark{Images: d.Mark.Images, Leaves: d.Mark.Leaves, Templates: d.Mark.Templates}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestTaintedSays: the field and the commit, and a value only where it can be no secret.
func TestTaintedSays(t *testing.T) {
	t.Parallel()
	m := state.Mark{ID: "m", By: "alice", Reason: "5xx", Leaves: []state.BadLeaf{
		{Path: "spec.containers[web].env[PASSWORD].value", Value: `"hunter2"`, Commit: "9bd01aa0000"},
		{Path: "spec.containers[web].resources.limits.memory", Absent: true},
	}}
	bad := pods("web:1", env{"PASSWORD": "hunter2"})
	v := Judge(nil, "", bad, Bare(bad), []state.Mark{m}, epoch)
	want := `spec.containers[web].env[PASSWORD].value of 9bd01aa, spec.containers[web].resources.limits.memory (removed) were rolled back by alice ("5xx")`
	if v.Standing != Reappeared || v.Message() != want {
		t.Errorf("%s: %s", v.Standing, v.Message())
	}
	other := pods("web:1", env{"PASSWORD": "other"})
	if v := Judge(nil, "", other, Bare(other), []state.Mark{m}, epoch); v.Standing != Free {
		t.Errorf("one of several leaves is %s", v.Standing)
	}
	whole := pods("web:2", nil)
	m = state.Mark{ID: "m", Templates: []string{Bare(whole)}}
	if got := Tainted(whole, Bare(whole), []state.Mark{m}); len(got) != 1 || !strings.HasPrefix(got[0].String(), "the whole pod template was rolled back") {
		t.Errorf("%v", got)
	}
	if got := Tainted(other, Bare(other), []state.Mark{{ID: "empty"}}); got != nil {
		t.Errorf("an empty mark finds %v", got)
	}
}

// TestJudge: every way in which a hold stands to what Git wants.
func TestJudge(t *testing.T) {
	t.Parallel()
	old, bad, fix := pods("web:1", nil), pods("web:2", nil), pods("web:3", nil)
	marks := []state.Mark{{ID: "m", Images: []state.BadImage{{Container: "web", Image: "web:2"}}}}
	rolled := &state.Hold{ID: "m", Wanted: Bare(bad)}
	pin := &state.Hold{ID: "p", Manual: true}
	until := &state.Hold{ID: "p", Manual: true, Until: epoch}
	later := &state.Hold{ID: "p", Manual: true, Until: epoch.Add(time.Second)}
	for _, tc := range []struct {
		name string
		hold *state.Hold
		git  *corev1.PodTemplateSpec
		want Standing
	}{
		{"no hold, clean", nil, fix, Free},
		{"no hold, bad", nil, bad, Reappeared},
		{"no hold, nothing wanted", nil, nil, Free},
		{"held, what was rolled back", rolled, bad, Unchanged},
		{"held, bad in another way", rolled, pods("web:2", env{"A": "1"}), Bad},
		{"held, fixed", rolled, fix, Clean},
		{"held, the same", rolled, old, Clean},
		{"held, removed", rolled, nil, Removed},
		{"pinned", pin, fix, Pinned},
		{"pinned, the same", pin, old, Pinned},
		{"pinned, not over yet", later, fix, Pinned},
		{"pinned, over, clean", until, fix, Expired},
		{"pinned, over, bad", until, bad, Kept},
		{"pinned, over, removed", until, nil, Removed},
	} {
		wanted := ""
		if tc.git != nil {
			wanted = Bare(tc.git)
		}
		if got := Judge(tc.hold, Bare(old), tc.git, wanted, marks, epoch).Standing; got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
}

// TestAutomatic: everything that speaks against going back by itself, one at a time.
func TestAutomatic(t *testing.T) {
	t.Parallel()
	failed := func() (*past, Failure) {
		p := newPast(pods("web:1", nil))
		r := p.run(pods("web:2", nil), ledger.Failed)
		r.EndedAt = epoch.Add(time.Hour)
		return p, Failure{Row: r, Since: epoch, Serving: []string{"web-1"}, Now: r.EndedAt.Add(Patience)}
	}
	for name, tc := range map[string]struct {
		change func(*past, *Failure)
		want   Suppression
	}{
		"nothing speaks against it":    {func(*past, *Failure) {}, ""},
		"paused":                       {func(p *past, _ *Failure) { p.facts.Running.Paused = true }, SuppressedPaused},
		"Belay began just before":      {func(_ *past, x *Failure) { x.Since = x.Row.EndedAt.Add(-Settling + time.Second) }, SuppressedUnwatched},
		"Belay began after it":         {func(_ *past, x *Failure) { x.Since = x.Row.EndedAt.Add(time.Second) }, SuppressedUnwatched},
		"long ago":                     {func(_ *past, x *Failure) { x.Now = x.Row.EndedAt.Add(Late + 1) }, SuppressedLate},
		"another at the same time":     {func(_ *past, x *Failure) { x.Others = []time.Time{x.Row.EndedAt} }, SuppressedOthers},
		"another, nearly too long ago": {func(_ *past, x *Failure) { x.Others = []time.Time{x.Now.Add(-Together + 1)} }, SuppressedOthers},
		"another, long ago":            {func(_ *past, x *Failure) { x.Others = []time.Time{x.Now.Add(-Together)} }, ""},
		"nothing of the old one runs":  {func(_ *past, x *Failure) { x.Serving = []string{"web-2"} }, SuppressedNotServing},
		"nothing ever completed":       {func(p *past, _ *Failure) { p.facts.Rows[0].Outcome = ledger.Superseded }, SuppressedNothing},
		"only imported before": {func(p *past, _ *Failure) {
			p.facts.Rows[0].Outcome, p.facts.Rows[0].StartedAt = ledger.Imported, time.Time{}
		}, SuppressedNothing},
		"it ran before": {func(p *past, _ *Failure) {
			again := p.facts.Rows[1]
			again.ID, again.Outcome = "earlier", ledger.RolledBack
			p.facts.Rows = append([]state.Row{p.facts.Rows[0], again}, p.facts.Rows[1])
		}, SuppressedRepeated},
	} {
		p, x := failed()
		tc.change(p, &x)
		r, got := Automatic(p.facts, x)
		if got != tc.want || (got == "") != (r.ToRevision == 1) {
			t.Errorf("%s: %q to %d, want %q", name, got, r.ToRevision, tc.want)
		}
		if got != "" && got.Describe() == "" {
			t.Errorf("%s: %s is not described", name, got)
		}
	}
}

// TestRefused: every wish that cannot be granted says why.
func TestRefused(t *testing.T) {
	t.Parallel()
	two := func() *past { return newPast(pods("web:1", nil), pods("web:2", nil)) }
	for name, tc := range map[string]struct {
		past   *past
		change func(*past, *Request)
		want   Reason
	}{
		"nothing else ran": {newPast(pods("web:1", nil)), func(*past, *Request) {}, NothingToGoBackTo},
		"only what is bad": {two(), func(p *past, _ *Request) {
			p.facts.Marks = []state.Mark{{ID: "m", Images: []state.BadImage{{Container: "web", Image: "web:1"}}}}
		}, NothingToGoBackTo},
		"another runs": {two(), func(_ *past, r *Request) { r.Expect = 1 }, Moved},
		"paused":       {two(), func(p *past, _ *Request) { p.facts.Running.Paused = true }, Paused},
		"held already": {two(), func(p *past, _ *Request) { p.facts.Hold = &state.Hold{By: "bob", Since: epoch} }, AlreadyRolledBack},
		"held meanwhile": {two(), func(p *past, r *Request) {
			p.facts.Hold, p.facts.Running.Revision, r.Expect = &state.Hold{By: "bob", Since: epoch}, 0, 2
		}, AlreadyRolledBack},
		"going elsewhere":  {two(), func(p *past, r *Request) { p.facts.Running.Revision, r.Expect = 0, 2 }, Moved},
		"no such revision": {two(), func(_ *past, r *Request) { r.ToRevision = 7 }, UnknownRevision},
		"a negative one":   {two(), func(_ *past, r *Request) { r.ToRevision = -1 }, UnknownRevision},
		"no such commit":   {two(), func(_ *past, r *Request) { r.ToCommit = "f" }, UnknownCommit},
		"several commits":  {two(), func(_ *past, r *Request) { r.ToCommit = "c" }, UnknownCommit},
		"two targets":      {two(), func(_ *past, r *Request) { r.ToCommit, r.ToRevision = "c1", 1 }, InvalidValue},
		"not stable": {newPast(pods("web:1", nil), pods("web:2", nil)), func(p *past, r *Request) {
			p.facts.Rows[0].Outcome, r.ToRevision, r.StableOnly = ledger.Failed, 1, true
		}, NotStable},
		"a template that is lost": {two(), func(p *past, _ *Request) { delete(p.templates, p.facts.Rows[0].Template) }, NoTemplate},
	} {
		r := Request{Now: epoch}
		tc.change(tc.past, &r)
		_, err := Decide(tc.past.facts, r)
		if got, ok := errors.AsType[*Refusal](err); !ok || got.Reason != tc.want || got.Message == "" {
			t.Errorf("%s: %v, want %s", name, err, tc.want)
		}
	}
}

// TestWithout: what a target carries is bad no more, the rest stays.
func TestWithout(t *testing.T) {
	t.Parallel()
	p := newPast(pods("web:1", nil), pods("web:2", nil), pods("web:3", nil))
	back, err := Decide(p.facts, Request{ToRevision: 1, Now: epoch})
	if err != nil {
		t.Fatal(err)
	}
	p.facts.Marks = back.Marks
	p.run(pods("web:1", nil), ledger.Complete)
	forth, err := Decide(p.facts, Request{ToRevision: 2, Now: epoch.Add(time.Second)})
	if err != nil {
		t.Fatal(err)
	}
	if len(forth.Warnings) != 1 || forth.Mark != nil || len(forth.Ended) != 0 || len(forth.Changed) != 1 {
		t.Fatalf("%+v", forth)
	}
	if diff := cmp.Diff([]state.BadImage{{Container: "web", Image: "web:3", Commit: "c3"}}, forth.Marks[0].Images); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if forth.ID == back.ID || forth.ID[:10] <= back.ID[:10] {
		t.Errorf("IDs %s, then %s", back.ID, forth.ID)
	}
}
