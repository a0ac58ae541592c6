package app

import (
	"strings"
	"testing"
	"time"

	"github.com/belay-dev/belay/state"
)

// TestCommitOf: a commit is named by the beginning of its hash, also one before the first sync.
func TestCommitOf(t *testing.T) {
	t.Parallel()
	store, err := state.OpenMemory(state.Options{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	if _, err := store.Commit(
		state.PutCommit(state.Commit{Source: "shop", Step: 1, Hash: "abcd01"}),
		state.PutRow(state.Row{ID: "old", Namespace: "default", Name: "web", Source: "shop", Commit: "abcd02", Past: 1}),
	); err != nil {
		t.Fatal(err)
	}
	r, whole := &reader{store: store}, strings.Repeat("feed", 10)
	for prefix, want := range map[string]string{"abcd01": "abcd01", "abcd02": "abcd02", whole: whole, "": ""} {
		if got, err := r.commitOf("shop", prefix); got != want || err != nil {
			t.Errorf("%q: got %q, %v", prefix, got, err)
		}
	}
	for _, prefix := range []string{"abcd", "feed", "HEAD~1"} { // ambiguous, unknown, no hash
		if got, err := r.commitOf("shop", prefix); err == nil {
			t.Errorf("%q: got %q", prefix, got)
		}
	}
}
