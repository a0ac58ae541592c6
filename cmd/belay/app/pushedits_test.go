package app

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/belay-dev/belay/reconciler"
	"github.com/belay-dev/belay/reconciler/rollback"
)

// An override of the scale becomes a commit.
func TestScaleIsPushed(t *testing.T) {
	t.Parallel()
	s := newShop(t).serve(t.TempDir(), nil)
	s.deploy()
	if _, err := s.loop.Override(t.Context(), rollback.OverrideRequest{Namespace: "default", Name: "web", Field: rollback.FieldReplicas, Value: "5", By: "alice"}); err != nil {
		t.Fatal(err)
	}
	s.until("the commit", func() bool {
		return strings.Contains(gitIn(t, s.bare, "show", "main:web.yaml"), "replicas: 5") && len(s.store.GitChanges()) == 0 && len(s.store.Overrides("default", "web")) == 0
	})
	if got := gitIn(t, s.bare, "log", "-1", "--format=%s", "main"); got != "Scale web to 5" {
		t.Errorf("subject %q", got)
	}
	if got := gitIn(t, s.bare, "diff", "--numstat", "main~1", "main"); got != "1\t1\tweb.yaml" {
		t.Errorf("changed %q", got)
	}
}

// edits are what people set past Git, and the manifest that it ends in.
var edits = []struct {
	name, manifest string
	ask            func(context.Context, *syncing) error
}{
	{"scale", strings.Replace(planned, "replicas: 3", "replicas: 5", 1), override(rollback.FieldReplicas, "5")},
	{"pause", planned + "  paused: true\n", override(rollback.FieldPaused, "true")},
	{"image", strings.Replace(planned, "web:1", "web:2", 1), func(ctx context.Context, s *syncing) error {
		_, err := s.imageWithin(ctx, WritesGit, "web:2", "a", false)
		return err
	}},
}

func override(field, value string) func(context.Context, *syncing) error {
	return func(ctx context.Context, s *syncing) error {
		_, err := s.loop.Override(ctx, rollback.OverrideRequest{Namespace: "default", Name: "web", Field: field, Value: value, By: "alice"})
		return err
	}
}

// Killed at any step, what was set past Git is one commit in the end. Who waited for it asks again, as they were told to;
// what needs nobody's answer lands by itself.
func TestKilledWhileEditing(t *testing.T) {
	t.Parallel()
	for _, edit := range edits {
		for _, at := range []string{"before the commit is made", "before it is sent", "before it is recorded"} {
			t.Run(edit.name+" "+at, func(t *testing.T) {
				t.Parallel()
				shop, dir, dead := newShop(t), t.TempDir(), make(chan struct{})
				s := shop.serve(dir, func(w reconciler.Writer) reconciler.Writer {
					return dying{Writer: w, at: at, dead: dead, once: &sync.Once{}}
				})
				s.synced(s.good)
				s.until("the Deployment", func() bool { return s.runs() == "web:1" })
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				var asking sync.WaitGroup
				asking.Go(func() {
					if err := edit.ask(ctx, s); (err != nil) != (edit.name == "image") {
						t.Errorf("asked: %v", err)
					}
				})
				<-dead
				if edit.name == "image" { // somebody waits for the answer
					cancel()
				}
				asking.Wait()
				s.stop()
				s = shop.serve(dir, nil)
				if edit.name == "image" {
					s.until("an answer", func() bool { return edit.ask(t.Context(), s) == nil })
				}
				s.until("the commit", func() bool {
					return gitIn(t, s.bare, "rev-list", "--count", "main") != "1" && len(s.store.Overrides("default", "web")) == 0
				})
				s.synced(gitIn(t, s.bare, "rev-parse", "main"))
				if n := gitIn(t, s.bare, "rev-list", "--count", "main"); n != "2" {
					t.Errorf("%s commits", n)
				}
				if got := gitIn(t, s.bare, "show", "main:web.yaml") + "\n"; got != edit.manifest {
					t.Errorf("the manifest is\n%s", got)
				}
			})
		}
	}
}
