package app

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/belay-dev/belay/cmd/belay/control"
	"github.com/belay-dev/belay/state"
)

// TestOverridesShown: what a person set beside Git is shown with what becomes of it there, and not of what was set before.
func TestOverridesShown(t *testing.T) {
	t.Parallel()
	store, err := state.OpenMemory(state.Options{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	}()
	override := func(id, field, value string) state.Write {
		return state.PutOverride(state.Override{ID: id, Namespace: "default", Name: "web", Field: field, Value: value, By: "ann"})
	}
	change := func(id, field string) state.Write {
		return state.PutGitChange(state.GitChange{ID: id, Namespace: "default", Name: "web", Field: field, State: "queued", Reason: "the server is away"})
	}
	if _, err := store.Commit(override("a", "replicas", "5"), change("a", "replicas"), override("c", "paused", "true"), change("b", "paused")); err != nil {
		t.Fatal(err)
	}
	got := (&reader{store: store}).overrides(store.Overrides("default", "web"))
	want := []control.Override{
		{Field: "paused", Value: "true", By: "ann"},
		{Field: "replicas", Value: "5", By: "ann", GitChange: &control.GitChange{ID: "a", State: "queued", Why: "the server is away"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("overrides (-want +got):\n%s", diff)
	}
}
