package state

import (
	"strings"
	"testing"
)

// TestFindHashes: a prefix finds the commits of steps, and those before the first sync by their rows.
func TestFindHashes(t *testing.T) {
	t.Parallel()
	s := open(t)
	commit(t, s, PutCommit(Commit{Source: "shop", Step: 1, Hash: "0101"}), PutCommit(Commit{Source: "shop", Step: 2, Hash: "0101"}),
		PutCommit(Commit{Source: "other", Step: 3, Hash: "ff01", Commits: []string{"ee02", "ee03", "ff01"}}))
	old := row(1, "web")
	old.ID, old.Source, old.Commit, old.Past = "old", "other", "ee0000", 2
	twin := old
	twin.ID, twin.Name = "twin", "db"
	here := row(2, "web")
	here.ID, here.Source, here.Commit = "here", "other", "ee1111"
	commit(t, s, PutRow(old), PutRow(twin), PutRow(here))
	for _, c := range []struct{ source, prefix, want string }{
		{"", "", ""}, {"", "ee", "ee0000,ee02,ee03"}, {"other", "ee0", "ee0000,ee02,ee03"}, {"shop", "ee", ""}, {"other", "ee00", "ee0000"},
		{"", "ff", "ff01"}, {"", "01", "0101"}, {"", "ee1", ""},
	} {
		if got := strings.Join(s.FindHashes(c.source, c.prefix), ","); got != c.want {
			t.Errorf("%q of %q: got %s, want %s", c.prefix, c.source, got, c.want)
		}
	}
	old.Commit = "ab0000"
	commit(t, s, PutRow(old))
	if got := strings.Join(s.FindHashes("", "ab"), ","); got != "ab0000" || len(s.FindHashes("", "ee0000")) != 1 {
		t.Errorf("after another commit: %s", got)
	}
}
