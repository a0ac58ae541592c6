package state

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func testGitChange(field string) GitChange {
	return GitChange{
		ID: "c-" + field, Namespace: "default", Name: "web", Field: field, Source: "shop", Mode: "auto", By: "alice", Why: "5xx", Since: epoch,
		State: "queued", Reason: "the remote is silent", Attempts: []string{"aa"},
	}
}

func TestGitChanges(t *testing.T) {
	t.Parallel()
	s := open(t)
	given := testGitChange("template")
	commit(t, s, PutGitChange(given), PutGitChange(testGitChange("replicas")))
	given.Attempts[0] = "changed after it was put"
	if diff := cmp.Diff([]GitChange{testGitChange("replicas"), testGitChange("template")}, s.GitChanges()); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	next := testGitChange("template")
	next.State, next.Commit, next.Branch, next.Compare = "branch", "aa", "belay/rollback/c", "https://example.com"
	commit(t, s, PutGitChange(next), RemoveGitChange("default", "web", "replicas"), RemoveGitChange("default", "api", "template"))
	if got, ok := s.GitChange("default", "web", "template"); !ok || cmp.Diff(next, got) != "" {
		t.Errorf("change %+v, %v", got, ok)
	}
	if _, ok := s.GitChange("default", "web", "replicas"); ok {
		t.Error("a change that was taken away is there")
	}
}
