package app

import (
	"slices"
	"strings"
	"testing"

	"github.com/belay-dev/belay/reconciler/rollback"
)

// A preview says what would be written to Git and why not otherwise, also when the server is away, and writes nothing.
func TestPreviewPlansTheChange(t *testing.T) {
	t.Parallel()
	s := newShop(t).serve(t.TempDir(), nil)
	s.deploy()
	s.down.Store(true)
	look := func(mode rollback.Mode) rollback.GitChange {
		t.Helper()
		r, err := s.loop.PreviewRollback(t.Context(), rollback.Request{Namespace: "default", Name: "web", ToCommit: s.good, Mode: mode, By: "alice"})
		if err != nil {
			t.Fatal(err)
		}
		return r.Git
	}
	if got := look(""); got.Mode != rollback.ModeRevert || got.State != rollback.GitQueued || !slices.Equal(got.Undo, []string{s.bad}) ||
		!slices.Equal(got.Files, []string{"web.yaml"}) || len(got.Failed) > 0 {
		t.Errorf("of a revert: %+v", got)
	}
	if got := look(rollback.ModeHold); got.State != rollback.GitNone {
		t.Errorf("of a hold: %+v", got)
	}
	s.down.Store(false)
	s.bad = s.commit("Take web:3 and more of it", strings.NewReplacer("web:1", "web:3", "replicas: 3", "replicas: 5").Replace(planned))
	s.synced(s.bad)
	if got := look(""); got.Mode != rollback.ModeRestore || len(got.Undo) > 0 || !slices.Equal(got.Files, []string{"web.yaml"}) ||
		len(got.Failed) != 1 || !strings.Contains(got.Failed[0], "spec.replicas") {
		t.Errorf("of a restore: %+v", got)
	}
	if _, changing := s.change(); changing || s.pushed.Load() != 0 {
		t.Errorf("a preview changed something: %d pushes", s.pushed.Load())
	}
	if n := gitIn(t, s.bare, "rev-list", "--count", "main"); n != "3" {
		t.Errorf("%s commits, want 3", n)
	}
}
