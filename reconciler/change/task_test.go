package change

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/belay-dev/belay/reconciler/rollback"
	"github.com/belay-dev/belay/state"
)

func TestRollbackTask(t *testing.T) {
	t.Parallel()
	held := &corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "web:1"}}}}
	digest := rollback.Bare(held)
	rows := []state.Row{
		{ID: "r1", Number: 1, App: "shop", Commit: "c1", Template: digest},
		{ID: "r2", Number: 2, App: "shop", Commit: "c2", Template: "two"},
		{ID: "h1", Number: 3, App: "shop", Operation: rollback.OperationRollback, Template: digest},
	}
	hold := state.Hold{ID: "h1", Namespace: "default", Name: "web", Template: digest, Row: "r1", Wanted: "two", Revision: 1}
	got := RollbackTask(hold, rows, held, rollback.ModeAuto)
	if !slices.Equal(got.Commits, []string{"c2"}) || got.Then != "c1" || got.App != "shop" || got.Removed || got.ID.String() != "Deployment default/web" {
		t.Errorf("got %+v", got)
	}
	hold.Wanted = ""
	if got = RollbackTask(hold, rows, held, rollback.ModeAuto); got.Removed {
		t.Errorf("begun by itself: got %+v", got)
	}
	rows = append(rows, state.Row{ID: "r3", Number: 4, App: "shop", Commit: "c3"})
	hold.Commit = "c0"
	if got = RollbackTask(hold, rows, held, rollback.ModeAuto); !got.Removed || got.Then != "c0" {
		t.Errorf("of a removal: got %+v", got)
	}
	hold.Manual = true
	if got = RollbackTask(hold, rows, held, rollback.ModeAuto); got.Mode != rollback.ModeHold {
		t.Errorf("a pin changes Git: %s", got.Mode)
	}
}

func TestOverrideTask(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		field, value string
		ok           bool
	}{
		{rollback.FieldReplicas, "5", true}, {rollback.FieldReplicas, "x", false}, {rollback.FieldReplicas, "99999999999", false},
		{rollback.FieldPaused, "true", true}, {rollback.FieldPaused, "maybe", false}, {rollback.FieldRestartedAt, "2026-01-01T00:00:00Z", false},
	} {
		got, ok := OverrideTask(state.Override{Namespace: "default", Name: "web", Field: c.field, Value: c.value})
		if ok != c.ok || ok && (got.Replicas == nil) == (got.Paused == nil) {
			t.Errorf("%s %s: got %+v, %t", c.field, c.value, got, ok)
		}
	}
}

func TestTarget(t *testing.T) {
	t.Parallel()
	for want, h := range map[string]state.Hold{
		"revision 4 (3f2a91c)": {Revision: 4, Commit: "3f2a91cdddd"}, "revision 4": {Revision: 4}, "commit 3f2a91c": {Commit: "3f2a91cdddd"},
		"what ran before": {},
	} {
		if got := Target(h); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
