package app

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/belay-dev/belay/cmd/belay/control"
	"github.com/belay-dev/belay/reconciler"
	"github.com/belay-dev/belay/reconciler/rollback"
)

// commitFiles pushes files; an empty one goes.
func (s *shop) commitFiles(message string, files map[string]string) string {
	s.t.Helper()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		path := filepath.Join(s.work, name)
		if files[name] == "" {
			if err := os.Remove(path); err != nil {
				s.t.Fatal(err)
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			s.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(files[name]), 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
	gitIn(s.t, s.work, "add", "-A")
	gitIn(s.t, s.work, "commit", "-q", "-m", message)
	gitIn(s.t, s.work, "push", "-q", "origin", "main")
	return gitIn(s.t, s.work, "rev-parse", "HEAD")
}

// shared has a base, and three overlays of it, run web:1 and then web:2.
func (s *syncing) shared() {
	s.t.Helper()
	files := map[string]string{"web.yaml": "", "base/d.yaml": planned, "base/kustomization.yaml": "resources: [d.yaml]\n"}
	for _, name := range []string{"a", "b", "c"} {
		files[name+"/kustomization.yaml"] = "resources: [../base]\nnamePrefix: " + name + "-\n"
	}
	s.good = s.commitFiles("Share a base", files)
	s.synced(s.good)
	s.bad = s.commitFiles("Take web:2", map[string]string{"base/d.yaml": strings.Replace(planned, "web:1", "web:2", 1)})
	s.synced(s.bad)
}

func (s *syncing) keeper() *keeper {
	return &keeper{reader: &reader{store: s.store, loop: s.loop}, loop: s.loop}
}

var alice = control.Caller{Name: "alice", Role: control.RoleEdit}

// over waits until nothing is held, and nothing is to be changed in Git.
func (s *syncing) over() {
	s.t.Helper()
	s.until("end of the holds", func() bool { return len(s.store.Holds()) == 0 && len(s.store.GitChanges()) == 0 })
}

// A shared base broke four Deployments: one rollback, one ID, one revert.
func TestCommitIsTakenBack(t *testing.T) {
	t.Parallel()
	s := newShop(t).serve(t.TempDir(), nil)
	s.shared()
	k, ctx := s.keeper(), control.WithCaller(t.Context(), alice)
	req := control.CommitRollbackRequest{Commit: s.bad[:9], Why: "the base", DryRun: true}
	p, err := k.RollbackCommit(ctx, req)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Deployments) != 4 || len(p.Git) != 1 || p.Git[0].Mode != "revert" || p.Git[0].State != "queued" ||
		!slices.Equal(p.Git[0].Undo, []string{s.bad}) || !slices.Equal(p.Git[0].Files, []string{"base/d.yaml"}) || len(p.Git[0].Objects) != 0 {
		t.Errorf("preview: %+v", p)
	}
	for _, d := range p.Deployments {
		if d.Error != "" || d.Left != "" || d.Hold == nil || d.Hold.ID != p.ID || d.From == nil {
			t.Errorf("preview of %s: %+v", d.Name, d)
		}
	}
	if n := len(s.store.Holds()); n != 0 {
		t.Fatalf("the preview made %d holds", n)
	}
	req.DryRun = false
	r, err := k.RollbackCommit(ctx, req)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range r.Deployments {
		if d.Error != "" || d.Hold == nil || d.Hold.ID != r.ID {
			t.Errorf("%s: %+v", d.Name, d)
		}
	}
	s.over()
	if got := gitIn(t, s.bare, "rev-list", "--count", s.bad+"..main"); got != "1" {
		t.Errorf("%s commits, want one", got)
	}
	message := gitIn(t, s.bare, "log", "-1", "--format=%B", "main")
	for _, want := range []string{
		`Revert "Take web:2"`, "This reverts commit " + s.bad + ".", "\nthe base\n", "Belay-Rollback: " + r.ID, "Belay-Deployment: default/a-web",
		"Belay-Deployment: default/b-web", "Belay-Deployment: default/c-web", "Belay-Requested-By: alice",
	} {
		if !strings.Contains(message, want) {
			t.Errorf("the message has no %q:\n%s", want, message)
		}
	}
	if got := gitIn(t, s.bare, "diff", "--name-only", s.good, "main"); got != "" {
		t.Errorf("left: %s", got)
	}
	head := gitIn(t, s.bare, "rev-parse", "main")
	for _, d := range r.Deployments {
		if row, ok := s.store.Row(d.Row); !ok || row.Commit != head {
			t.Errorf("the row of %s has commit %q, want %s", d.Name, row.Commit, head)
		}
	}
}

// Who may not reach all that a commit changed holds what is theirs, and changes nothing in Git; Secrets take the role edit.
func TestCommitIsTakenBackByTheConfined(t *testing.T) {
	t.Parallel()
	s := newShop(t).serve(t.TempDir(), nil)
	s.shared()
	k := s.keeper()
	mine := control.Caller{Name: "carol", Role: control.RoleEdit, Namespaces: []string{"other"}}
	if r, err := k.RollbackCommit(control.WithCaller(t.Context(), mine), control.CommitRollbackRequest{Commit: s.bad}); err == nil {
		t.Errorf("nothing refused: %+v", r)
	}
	if _, err := k.RollbackCommit(control.WithCaller(t.Context(), mine), control.CommitRollbackRequest{Commit: s.bad, Only: []string{"default/a-web"}}); err == nil {
		t.Error("a Deployment out of reach may be named")
	}
	roll := control.Caller{Name: "rob", Role: control.RoleRollback}
	if _, err := k.RollbackCommit(control.WithCaller(t.Context(), roll), control.CommitRollbackRequest{Commit: s.bad, Secrets: true}); err == nil {
		t.Error("the role rollback takes Secrets back")
	}
	r, err := k.RollbackCommit(control.WithCaller(t.Context(), alice), control.CommitRollbackRequest{Commit: s.bad, Only: []string{"default/a-web"}})
	if err != nil || len(r.Deployments) != 1 {
		t.Fatalf("%+v: %v", r, err)
	}
	s.until("the refusal", func() bool {
		c, ok := s.store.GitChange("default", "a-web", reconciler.FieldTemplate)
		return ok && c.State == string(rollback.GitNone) && strings.Contains(c.Reason, "Deployment default/b-web")
	})
	if got := gitIn(t, s.bare, "rev-parse", "main"); got != s.bad {
		t.Errorf("main is at %s, want %s", got, s.bad)
	}
}

// Killed at any step, a commit taken back for several is one commit in the end; a Deployment that was fixed meanwhile is
// no part of it.
func TestKilledWhileTakingBack(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"before it is sent", "before it is recorded"} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			shop, dir, dead := newShop(t), t.TempDir(), make(chan struct{})
			s := shop.serve(dir, func(w reconciler.Writer) reconciler.Writer {
				return dying{Writer: w, at: at, dead: dead, once: &sync.Once{}}
			})
			s.shared()
			r, err := s.keeper().RollbackCommit(control.WithCaller(t.Context(), alice), control.CommitRollbackRequest{Commit: s.bad})
			if err != nil {
				t.Fatal(err)
			}
			<-dead
			s.stop()
			s = shop.serve(dir, nil)
			s.over()
			if got := gitIn(t, s.bare, "log", "--format=%(trailers:key=Belay-Rollback,valueonly,separator=%x2C)", s.bad+"..main"); strings.TrimSpace(got) != r.ID {
				t.Errorf("commits of %q, want one of %s", got, r.ID)
			}
		})
	}
}

// A Deployment that was fixed while the revert waited goes on with its fix: the revert is of the others.
func TestCommitIsTakenBackInPart(t *testing.T) {
	t.Parallel()
	s := newShop(t).serve(t.TempDir(), nil)
	s.shared()
	patch := "resources: [../base]\nnamePrefix: a-\nimages:\n- {name: web, newTag: \"3\"}\n"
	s.down.Store(true)
	k := s.keeper()
	r, err := k.RollbackCommit(control.WithCaller(t.Context(), alice), control.CommitRollbackRequest{Commit: s.bad})
	if err != nil {
		t.Fatal(err)
	}
	s.commitFiles("Take web:3", map[string]string{"a/kustomization.yaml": patch})
	s.down.Store(false)
	s.until("the revert", func() bool { return gitIn(t, s.bare, "log", "-1", "--format=%s", "main") == `Revert "Take web:2"` })
	s.over()
	message := gitIn(t, s.bare, "log", "-1", "--format=%B", "main")
	if strings.Contains(message, "a-web") || !strings.Contains(message, "default/b-web") || !strings.Contains(message, r.ID) {
		t.Errorf("the message is\n%s", message)
	}
}
