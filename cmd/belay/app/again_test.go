package app

import (
	"slices"
	"strings"
	"testing"

	"github.com/belay-dev/belay/reconciler"
	"github.com/belay-dev/belay/reconciler/rollback"
	"github.com/belay-dev/belay/state"
)

// What was rolled back is pushed once more: Belay holds what runs by itself, and what becomes of it in Git is what the app
// says for that.
func TestHoldsOfItsOwnInGit(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		app  func(*AppConfig)
		want rollback.GitState // none: nothing is to be changed in Git
	}{
		{"hold", func(a *AppConfig) { a.OnFailure = rollback.FailureHold }, ""},
		{"rollback", func(a *AppConfig) { a.OnFailure = rollback.FailureRollback }, rollback.GitBranch},
		{"autoPush", func(a *AppConfig) { a.OnFailure, a.AutoPush = rollback.FailureRollback, true }, rollback.GitPushed},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			shop := newShop(t)
			shop.app = c.app
			s := shop.serve(t.TempDir(), nil)
			s.deploy()
			if _, err := s.loop.Rollback(t.Context(), rollback.Request{Namespace: "default", Name: "web", ToCommit: s.good, Mode: rollback.ModeHold, By: "alice"}); err != nil {
				t.Fatal(err)
			}
			s.synced(s.commit("Back to web:1", planned))
			s.over()
			again := s.commit("Take web:2 again", strings.Replace(planned, "web:1", "web:2", 1))
			if c.want != rollback.GitPushed { // what was pushed may have been synced as well by now
				s.synced(again)
			}
			var h state.Hold
			switch c.want {
			case "":
				s.until("the hold", func() (held bool) { h, held = s.store.Hold("default", "web"); return held })
				if got := s.store.GitChanges(); len(got) > 0 {
					t.Errorf("queued: %+v", got)
				}
			case rollback.GitBranch:
				s.until("the branch", func() bool {
					h, _ = s.store.Hold("default", "web")
					g, ok := s.change()
					return ok && g.State == string(c.want)
				})
				branch := "belay/rollback/" + h.ID
				if got := gitIn(t, s.bare, "rev-list", "--count", again+".."+branch); got != "1" {
					t.Errorf("%s commits on the branch", got)
				}
				if got := gitIn(t, s.bare, "log", "-1", "--format=%(trailers:key=Belay-Requested-By,valueonly,separator=)", branch); got != "belay" {
					t.Errorf("requested by %q", got)
				}
			case rollback.GitPushed, rollback.GitQueued, rollback.GitNone:
				s.until("the revert", func() bool {
					return gitIn(t, s.bare, "log", "-1", "--format=%s", "main") == `Revert "Take web:2 again"`
				})
				s.over()
				return
			}
			if got := gitIn(t, s.bare, "rev-parse", "main"); got != again {
				t.Errorf("main is at %s", got)
			}
			if h.By != "belay" || s.runs() != "web:1" {
				t.Errorf("%s runs, held %+v", s.runs(), h)
			}
		})
	}
}

// key is the manifest of a Secret with a value.
func key(value string) string {
	return "apiVersion: v1\nkind: Secret\nmetadata: {name: key}\nstringData: {key: " + value + "}\n"
}

// keyed has web:1 run, a Secret beside it, and then web:2 with another Secret, and returns the first of the three commits.
func (s *syncing) keyed() string {
	s.t.Helper()
	first := s.good
	s.synced(first)
	s.good = s.commitFiles("Add a key", map[string]string{"key.yaml": key("one")})
	s.synced(s.good)
	s.bad = s.commitFiles("Take web:2", map[string]string{"key.yaml": key("two"), "web.yaml": strings.Replace(planned, "web:1", "web:2", 1)})
	s.synced(s.bad)
	return first
}

// A change that could not be made is planned again when the head moves, and lands when nothing is in its way any more.
func TestRefusedIsPlannedAgain(t *testing.T) {
	t.Parallel()
	s := newShop(t).serve(t.TempDir(), nil)
	first := s.keyed()
	r, err := s.loop.Rollback(t.Context(), rollback.Request{Namespace: "default", Name: "web", ToCommit: first, Mode: rollback.ModeRevert, By: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	refused := func(why string) func() bool {
		return func() bool {
			c, ok := s.change()
			return ok && c.State == string(rollback.GitNone) && strings.Contains(c.Reason, why)
		}
	}
	s.until("the refusal", refused("Secret default/key"))
	unrelated := s.commitFiles("Say more", map[string]string{"README": "hello"})
	s.synced(unrelated)
	s.until("the refusal again", refused("Secret default/key"))
	if got := gitIn(t, s.bare, "rev-parse", "main"); got != unrelated {
		t.Errorf("main is at %s", got)
	}
	s.commitFiles("Back to key one", map[string]string{"key.yaml": key("one")})
	s.over()
	if got := gitIn(t, s.bare, "log", "-1", "--format=%s|%(trailers:key=Belay-Rollback,valueonly,separator=)", "main"); got != `Revert "Take web:2"|`+r.ID {
		t.Errorf("main ends with %q", got)
	}
}

// With leave, a revert that was asked for takes Secrets back too.
func TestSecretsAreTakenBackWhenAsked(t *testing.T) {
	t.Parallel()
	s := newShop(t).serve(t.TempDir(), nil)
	first := s.keyed()
	ask := rollback.Request{Namespace: "default", Name: "web", ToCommit: first, Mode: rollback.ModeRevert, Secrets: true, By: "alice"}
	p, err := s.loop.PreviewRollback(t.Context(), ask)
	if err != nil || !slices.Equal(p.Git.Files, []string{"key.yaml", "web.yaml"}) || !slices.Equal(p.Git.Objects, []string{"Secret default/key"}) {
		t.Errorf("preview: %+v: %v", p.Git, err)
	}
	if _, err := s.loop.Rollback(t.Context(), ask); err != nil {
		t.Fatal(err)
	}
	s.over()
	if got := gitIn(t, s.bare, "diff", "--name-only", s.good, "main"); got != "" {
		t.Errorf("left: %s", got)
	}
	if _, left := s.store.GitChange("default", "web", reconciler.FieldTemplate); left {
		t.Error("a change is left")
	}
}
