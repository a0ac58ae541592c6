package change

import (
	"strings"
	"testing"

	"github.com/belay-dev/belay/state"
)

func TestCommits(t *testing.T) {
	t.Parallel()
	// Each row is commit:template, in the order of recording; a removal has no template, "-" stands for an operation of a person, and "past" rows are
	// recorded last.
	cases := []struct{ name, rows, to, want string }{
		{"one", "a:1 b:2", "1", "b"},
		{"a range", "a:1 b:2 c:3", "1", "c b"},
		{"what runs", "a:1 b:2", "2", ""},
		{"another field of the Deployment changed", "a:1 b:2 c:2 d:3", "1", "d b"},
		{"back and forth", "a:1 b:2 c:1 d:2", "1", "d"},
		{"a revert goes back", "a:1 b:2 c:1", "2", "c"},
		{"operations are no commits", "a:1 b:2 -:1 c:3", "1", "c b"},
		{"not known", "a:1 b:2", "9", ""},
		{"imported", "c:3 a:1:2 b:2:1", "1", "c b"},
		{"a removal", "a:1 b:", "1", "b"},
		{"a removal after a change", "a:1 b:2 c:", "1", "c b"},
		{"removed and brought back", "a:1 b: c:1 d:2", "1", "d"},
		{"brought back as another", "a:1 b: c:2", "1", "c b"},
		{"a commit that came again", "a:1 b:2 c:1 b:2", "1", "b"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var rows []state.Row
			for i, f := range strings.Fields(c.rows) {
				p := strings.Split(f, ":")
				r := state.Row{Number: int64(i), Commit: p[0], Template: p[1]}
				if p[0] == "-" {
					r.Commit, r.Operation = "", "rollback"
				}
				if len(p) > 2 {
					r.Past = int64(p[2][0] - '0')
				}
				rows = append(rows, r)
			}
			if got := strings.Join(Commits(rows, c.to), " "); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
