package state

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func testMark(id string) Mark {
	return Mark{
		ID: id, Namespace: "default", Name: "web", By: "alice", Since: epoch, From: "r2", To: "r1",
		Images: []BadImage{{Container: "web", Image: "web:2", Commit: "c2"}}, Leaves: []BadLeaf{{Path: "spec.x", Absent: true}}, Templates: []string{"t2"},
	}
}

func testOverride(field string) Override {
	return Override{ID: "o-" + field, Namespace: "default", Name: "web", Field: field, Value: "1", By: "alice", Since: epoch}
}

func TestMarksAndOverrides(t *testing.T) {
	t.Parallel()
	s := open(t)
	given := testMark("m2")
	commit(t, s, PutMark(given), PutMark(testMark("m1")), PutOverride(testOverride("replicas")), PutOverride(testOverride("paused")))
	other := testMark("m0")
	other.Name = "web2"
	commit(t, s, PutMark(other))
	given.Images[0].Image = "changed after it was put"
	if diff := cmp.Diff([]Mark{testMark("m1"), testMark("m2")}, s.Marks("default", "web")); diff != "" {
		t.Errorf("marks (-want +got):\n%s", diff)
	}
	s.Marks("default", "web")[0].Images[0].Image = "changed after it was read"
	commit(t, s, RemoveMark("default", "web", "m2"), RemoveMark("default", "web", "none"))
	if diff := cmp.Diff([]Mark{testMark("m1")}, s.Marks("default", "web")); diff != "" {
		t.Errorf("marks after one was removed (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]Override{testOverride("paused"), testOverride("replicas")}, s.Overrides("default", "web")); diff != "" {
		t.Errorf("overrides (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]Mark{testMark("m1"), other}, s.AllMarks()); diff != "" {
		t.Errorf("all marks (-want +got):\n%s", diff)
	}
	newer := testOverride("replicas")
	newer.Value = "7"
	commit(t, s, PutOverride(newer), RemoveOverride("default", "web", "paused"))
	if diff := cmp.Diff([]Override{newer}, s.Overrides("default", "web")); diff != "" {
		t.Errorf("overrides after one was replaced (-want +got):\n%s", diff)
	}
	gone := Departed{Namespace: "default", Name: "web", At: epoch, Object: *deployment("web")}
	commit(t, s, PutDeparted(gone))
	if d, ok := s.Departed("default", "web"); !ok || d.Object.Name != "web" {
		t.Errorf("departed: %+v", d)
	}
	if _, ok := s.Departed("default", "api"); ok {
		t.Error("a Deployment departed that never was")
	}
	for name, w := range map[string]Write{"mark": PutMark(Mark{}), "override": PutOverride(Override{}), "departed": PutDeparted(Departed{}), "git change": PutGitChange(GitChange{})} {
		if _, err := s.Commit(w); err == nil {
			t.Errorf("an empty %s is taken", name)
		}
	}
}
