package crash

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Which test kills a service at the points of which steps.
const (
	byStory    = "TestKilled"
	byRollback = "TestRollbackKilled"
	byTwice    = "TestKilledTwice"
	bySource   = "TestKilledAtEveryPoint of package source"
)

// killedAt says of each step by which something beside the state becomes durable which test kills a process around it.
var killedAt = map[string]string{
	"data directory": byStory, "lock": byStory, "service announced": byStory, "service withdrawn": byStory, "service cleared": byTwice,
	"socket": byStory, "socket gone": byStory, "cache directory": byStory, "cached": byStory, "cached gone": byStory, "cache cleared": byTwice,
	"mirror gone": byStory,

	"mirror directory": byStory, "mirror file": byStory, "mirror index": byStory, "mirror pack": byStory, "mirror head": byStory,
	"mirror kept ref": bySource, "mirror refs forgotten": bySource, "mirror pack dropped": bySource, "mirror index dropped": bySource,
	"mirror cleared": byTwice, "mirror set aside": bySource, "mirror exchanged": bySource,
	"push object": byRollback, "push lock": byRollback, "push branch": byRollback, "push unlock": byRollback, "push send": bySource,
}

// pointsOf are those of the steps that a test kills at.
func pointsOf(by string) map[string]bool {
	out := map[string]bool{}
	for step, test := range killedAt {
		if test == by {
			out[passing(step, false)], out[passing(step, true)] = true, true
		}
	}
	return out
}

// storyPoints are those that the story passes.
func storyPoints() map[string]bool {
	out := pointsOf(byStory)
	for _, name := range []string{
		"before write", "after write", "after claim", "reserve kept", "before copy", "after copy", "start pod", "stop pod", "remove pod",
	} {
		out[name] = true
	}
	return out
}

// TestStepsAreKilledAt: there is no step at which no test kills.
func TestStepsAreKilledAt(t *testing.T) {
	t.Parallel()
	found := map[string]bool{}
	for _, path := range []string{filepath.Join("cmd", "belay", "app", "files.go"), filepath.Join("source", "point.go")} {
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", "..", path), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if v, ok := n.(*ast.ValueSpec); ok && v.Type != nil && len(v.Values) == 1 {
				if text, ok := v.Values[0].(*ast.BasicLit); ok {
					found[strings.Trim(text.Value, `"`)] = true
				}
			}
			return true
		})
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(found)), slices.Sorted(maps.Keys(killedAt))); diff != "" {
		t.Errorf("steps (-there are +killed at):\n%s", diff)
	}
}

// TestKilledTwice plays the story with one process killed amid a step and the next one while it drops what that left.
func TestKilledTwice(t *testing.T) {
	t.Parallel()
	repo := newRepository(t)
	unbroken := play(t, repo, "unbroken", never)
	left := pointsOf(byTwice)
	for i, at := range [][2]string{
		{"before cached", "after cache cleared"}, {"before service announced", "after service cleared"}, {"before mirror head", "after mirror cleared"},
	} {
		delete(left, at[1])
		delete(left, strings.Replace(at[1], "after", "before", 1)) // where it was killed before
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			t.Parallel()
			got := play(t, repo, fmt.Sprint("twice-", i), at[0], at[1])
			if got.starts != 3 {
				t.Errorf("%d starts: it was not killed twice", got.starts)
			}
			if diff := cmp.Diff(unbroken.end, got.end); diff != "" {
				t.Errorf("it ends otherwise (-unbroken +killed):\n%s", diff)
			}
		})
	}
	if len(left) > 0 {
		t.Errorf("not killed at %v", left)
	}
}

// never is a point that no process passes.
const never = "0"

// moments are those of a run at which others are to be killed: each name of a point that comes after the first few, and of
// the points after those every n-th by its number, to beyond the last of them by a few: no two runs have as many. What is
// durable before a step is what was after the one before it, so that names are left out that begin another's step.
func moments(points []string, after, every int) []string {
	var out []string
	for i := after; i < len(points)+2; i++ {
		first := i < len(points) && slices.Index(points, points[i]) == i
		if first {
			step, before := strings.CutPrefix(points[i], "before ")
			first = every == 1 || !before || killedAt[step] == ""
		}
		if first {
			out = append(out, points[i])
		} else if (i+1)%every == 0 {
			out = append(out, fmt.Sprint(i+1))
		}
	}
	return out
}
