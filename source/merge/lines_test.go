package merge_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/belay-dev/belay/source/merge"
)

func TestLines(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name, base, ours, theirs, want string
		conflicts                      []int
	}{
		{"nothing", "a\nb\n", "a\nb\n", "a\nb\n", "a\nb\n", nil},
		{"theirs alone", "a\nb\n", "a\nb\n", "a\nB\n", "a\nB\n", nil},
		{"ours alone", "a\nb\n", "A\nb\n", "a\nb\n", "A\nb\n", nil},
		{"apart", "a\nb\nc\nd\n", "A\nb\nc\nd\n", "a\nb\nc\nD\n", "A\nb\nc\nD\n", nil},
		{"neighbours", "a\nb\nc\nd\n", "a\nB\nc\nd\n", "a\nb\nC\nd\n", "", []int{2}},
		{"the same", "a\nb\nc\n", "a\nB\nc\n", "a\nB\nc\n", "a\nB\nc\n", nil},
		{"not the same", "a\nb\nc\n", "a\nB\nc\n", "a\n2\nc\n", "", []int{2}},
		{"no newline at the end", "a\nb\nc", "A\nb\nc", "a\nb\nc", "A\nb\nc", nil},
		{"newline taken away", "a\nb\nc\n", "A\nb\nc\n", "a\nb\nc", "A\nb\nc", nil},
		{"carriage returns", "a\r\nb\r\nc\r\n", "A\r\nb\r\nc\r\n", "a\r\nb\r\nC\r\n", "A\r\nb\r\nC\r\n", nil},
		{"deleted and changed", "a\nb\nc\n", "a\nc\n", "a\nB\nc\n", "", []int{2}},
		{"from nothing", "", "a\n", "b\n", "", []int{1}},
		{"two places", "a\nb\nc\nd\ne\n", "A\nb\nc\nd\nE\n", "1\nb\nc\nd\n5\n", "", []int{1, 5}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			got := merge.Lines([]byte(row.base), []byte(row.ours), []byte(row.theirs))
			if string(got.Merged) != row.want || !slices.Equal(got.Conflicts, row.conflicts) || got.Repetitive {
				t.Errorf("got %q %v %v, want %q %v", got.Merged, got.Conflicts, got.Repetitive, row.want, row.conflicts)
			}
		})
	}
}

func TestLinesThatAllRepeat(t *testing.T) {
	t.Parallel()
	many := strings.Repeat("a\n", 100)
	if got := merge.Lines([]byte(many), []byte(many+"b\n"), []byte("c\n"+many)); !got.Repetitive {
		t.Errorf("merged to %q", got.Merged)
	}
}

// manifest makes up a long file in which most lines repeat.
func (w world) manifest() string {
	var b strings.Builder
	for i := range 1 + w.IntN(40) {
		fmt.Fprintf(&b, "---\nkind: Deployment\nname: web-%d\nspec:\n  replicas: %d\n  image: app:%d\n  ports:\n  - 80\n", i, w.IntN(3), w.IntN(4))
	}
	return b.String()
}

// Long files whose lines repeat are merged as git does.
func TestLongFilesAsGitMerges(t *testing.T) {
	t.Parallel()
	n := cases(t, 200)
	for from := 0; from < n; from += 1000 {
		w := world{rand.New(rand.NewPCG(seed(t)+uint64(from), 8))} //nolint:gosec // not negative
		var list []triple
		for range min(1000, n-from) {
			base := w.manifest()
			ours, theirs := base, base
			for range 1 + w.IntN(4) {
				ours = w.change(ours)
			}
			for range 1 + w.IntN(4) {
				theirs = w.change(theirs)
			}
			one := func(s string) map[string]file { return map[string]file{"f": {merge.ModeFile, s}} }
			list = append(list, triple{one(base), one(ours), one(theirs)})
		}
		clean, refused, alone := 0, 0, 0
		want := gitMerges(t, list)
		for i, c := range list {
			m := newMemory()
			got, _, err := merge.Trees(m, m.put(t, c.base), m.put(t, c.ours), m.put(t, c.theirs))
			var conflicts *merge.Conflicts
			switch {
			case want[i] == "" && errors.As(err, &conflicts):
				refused++
			case err == nil && want[i] == fmt.Sprintf("%x", got):
				clean++
			case errors.As(err, &conflicts) && conflicts.List[0].Reason == merge.Repetitive:
				alone++
			default:
				t.Errorf("case %d: git %q, Belay %x %v\nbase   %s\nours   %s\ntheirs %s", i, want[i], got, err, show(c.base), show(c.ours), show(c.theirs))
			}
		}
		t.Logf("%d clean, %d refused by both, %d by Belay alone", clean, refused, alone)
		if clean < len(list)/5 || refused < len(list)/50 || alone > len(list)/20 {
			t.Error("the cases say little")
		}
	}
}
