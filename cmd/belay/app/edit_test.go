package app

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/belay-dev/belay/cmd/belay/control"
	"github.com/belay-dev/belay/reconciler"
	"github.com/belay-dev/belay/reconciler/rollback"
	"github.com/belay-dev/belay/state"
)

// image asks for another image of web, as kubectl set image does.
func (s *syncing) image(writes Writes, image, id string, dryRun bool) ([]string, error) {
	return s.imageWithin(s.t.Context(), writes, image, id, dryRun)
}

func (s *syncing) imageWithin(ctx context.Context, writes Writes, image, id string, dryRun bool) ([]string, error) {
	s.t.Helper()
	w := &writer{
		store: s.store, loop: s.loop, branch: func(string) string { return "main" }, writes: func() Writes { return writes }, log: zerolog.Nop(),
	}
	key := state.Key{Kind: state.KindDeployment, Namespace: "default", Name: "web"}
	m, ok := s.store.Managed(key)
	before, there := state.Get[*appsv1.Deployment](s.store, "default", "web")
	if !ok || !there {
		s.t.Fatal("web is not managed")
	}
	after := before.DeepCopy()
	after.Spec.Template.Spec.Containers[0].Image = image
	return w.Write(ctx, ManagedWrite{
		Managed: m, Caller: Caller{Name: "alice", Role: control.RoleEdit}, AuditID: id, DryRun: dryRun, Old: before, New: after,
	})
}

// runs is the image that the Deployment has.
func (s *syncing) runs() string {
	d, ok := state.Get[*appsv1.Deployment](s.store, "default", "web")
	if !ok {
		return ""
	}
	return d.Spec.Template.Spec.Containers[0].Image
}

// An image that is asked for becomes one commit, which is synced when the answer comes. The same request again makes none.
func TestImageIsCommitted(t *testing.T) {
	t.Parallel()
	s := newShop(t).serve(t.TempDir(), nil)
	s.synced(s.good)
	s.until("the Deployment", func() bool { return s.runs() == "web:1" })
	if _, err := s.image(WritesRefuse, "web:2", "a", false); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "web.yaml:2") {
		t.Errorf("refused with %v", err)
	}
	if _, err := s.image(WritesGit, "web:2", "a", true); err != nil {
		t.Errorf("dry run: %v", err)
	}
	if got := gitIn(t, s.bare, "rev-parse", "main"); got != s.good {
		t.Fatalf("main is at %s", got)
	}
	if warnings, err := s.image(WritesGit, "web:2", "a", false); err != nil || len(warnings) > 0 {
		t.Fatalf("%v %v", warnings, err)
	}
	if got := s.runs(); got != "web:2" {
		t.Errorf("%s runs", got)
	}
	if got := gitIn(t, s.bare, "show", "main:web.yaml"); got+"\n" != strings.Replace(planned, "web:1", "web:2", 1) {
		t.Errorf("the manifest is\n%s", got)
	}
	if got := gitIn(t, s.bare, "log", "-1", "--format=%s|%(trailers:key=Belay-Request,valueonly,separator=)|%(trailers:key=Belay-Requested-By,valueonly,separator=)", "main"); got != "Set the image of web to web:2|a|alice" {
		t.Errorf("the commit says %q", got)
	}
	// A client that did not get the answer sends the request again, as it was.
	d, _ := state.Get[*appsv1.Deployment](s.store, "default", "web")
	old, asked := d.DeepCopy(), d.DeepCopy()
	old.Spec.Template.Spec.Containers[0].Image = "web:1"
	again, err := s.loop.Edit(t.Context(), reconciler.EditRequest{Namespace: "default", Name: "web", Live: old, Asked: asked, By: "alice", ID: "a"})
	if err != nil || again != gitIn(t, s.bare, "rev-parse", "main") {
		t.Errorf("again: %s %v", again, err)
	}
	if got := gitIn(t, s.bare, "rev-list", "--count", "main"); got != "2" {
		t.Errorf("%s commits", got)
	}
}

// What cannot become just what was asked for is refused, and nothing is left behind.
func TestImageIsRefused(t *testing.T) {
	t.Parallel()
	s := newShop(t).serve(t.TempDir(), nil)
	s.deploy()
	s.until("the Deployment", func() bool { return s.runs() == "web:2" })
	s.down.Store(true)
	if _, err := s.image(WritesGit, "web:4", "down", false); !apierrors.IsServiceUnavailable(err) {
		t.Errorf("unreachable: %v", err)
	}
	s.down.Store(false)
	s.hook("update", `test "$1" != refs/heads/main || exit 1`)
	if _, err := s.image(WritesGit, "web:4", "protected", false); !apierrors.IsForbidden(err) {
		t.Errorf("protected: %v", err)
	}
	s.hook("update", "exit 0")
	if _, err := s.loop.Rollback(t.Context(), rollback.Request{Namespace: "default", Name: "web", ToCommit: s.good, Mode: rollback.ModeHold, By: "bob"}); err != nil {
		t.Fatal(err)
	}
	s.until("the hold", func() bool { return s.runs() == "web:1" })
	if _, err := s.image(WritesGit, "web:4", "held", false); !apierrors.IsConflict(err) || !strings.Contains(err.Error(), "web.yaml:2") ||
		!strings.Contains(err.Error(), "web:1 → web:4") {
		t.Errorf("held: %v", err)
	}
	if got := s.store.GitChanges(); len(got) > 0 {
		t.Errorf("left: %+v", got)
	}
	if got := gitIn(t, s.bare, "rev-parse", "main"); got != s.bad {
		t.Errorf("main is at %s", got)
	}
}

// Each reason has a status of its own.
func TestUnedited(t *testing.T) {
	t.Parallel()
	w := &writer{branch: func(string) string { return "main" }}
	m := ManagedWrite{Managed: state.Managed{Key: state.Key{Kind: state.KindDeployment, Namespace: "default", Name: "web"}, File: "web.yaml", Line: 2}}
	for reason, want := range map[reconciler.EditReason]int32{
		reconciler.EditDiffers: 409, reconciler.EditSuspended: 409, reconciler.EditTooMany: 429, reconciler.EditUnknown: 504, reconciler.EditFailed: 503,
		reconciler.EditNoPush: 403, reconciler.EditProtected: 403,
	} {
		var got apierrors.APIStatus
		err := w.unedited(m, &reconciler.EditError{Reason: reason, Message: "why", Wait: 1500 * time.Millisecond})
		if !errors.As(err, &got) || got.Status().Code != want || !strings.Contains(got.Status().Message, "why") {
			t.Errorf("%s: %v", reason, err)
			continue
		}
		if want == 429 && got.Status().Details.RetryAfterSeconds != 2 {
			t.Errorf("again in %d s", got.Status().Details.RetryAfterSeconds)
		}
	}
}

// Who does not get an answer in time is told that the commit may have landed: it is sent once.
func TestImageMayHaveLanded(t *testing.T) {
	t.Parallel()
	dead := make(chan struct{})
	s := newShop(t).serve(t.TempDir(), func(w reconciler.Writer) reconciler.Writer {
		return dying{Writer: w, at: "before it is recorded", dead: dead, once: &sync.Once{}}
	})
	s.synced(s.good)
	s.until("the Deployment", func() bool { return s.runs() == "web:1" })
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-dead
		cancel()
	}()
	if _, err := s.imageWithin(ctx, WritesGit, "web:2", "a", false); !apierrors.IsTimeout(err) || !strings.Contains(err.Error(), "may have landed") {
		t.Errorf("answered with %v", err)
	}
	s.until("the commit", func() bool { return s.runs() == "web:2" })
	if got := gitIn(t, s.bare, "rev-list", "--count", "main"); got != "2" {
		t.Errorf("%s commits", got)
	}
}
