package rollout_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const contributing = "../../CONTRIBUTING.md"

// TestMutantsTable holds the table in CONTRIBUTING.md against the one that is run.
func TestMutantsTable(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile(contributing)
	if err != nil {
		t.Fatal(err)
	}
	const head = "| file | instead of | a mutant has | killed by |\n|---|---|---|---|\n"
	before, rest, ok := strings.Cut(string(data), head)
	if !ok {
		t.Fatalf("%s has no table of mutants", contributing)
	}
	end := 0
	for _, line := range strings.SplitAfter(rest, "\n") {
		if !strings.HasPrefix(line, "|") {
			break
		}
		end += len(line)
	}
	want := mutantsTable()
	if *rewrite {
		if err := os.WriteFile(contributing, []byte(before+head+want+rest[end:]), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, rest[:end]); diff != "" {
		t.Errorf("%s (-want +got); -rewrite writes it:\n%s", contributing, diff)
	}
}

func mutantsTable() string {
	cell := func(text string) string {
		if text = strings.TrimSpace(text); text == "" {
			return "nothing"
		}
		return "`" + strings.ReplaceAll(text, "|", `\|`) + "`"
	}
	var b strings.Builder
	for _, m := range mutants {
		tests := strings.ReplaceAll("`"+m.test+"`", "|", "` or `")
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", m.file, cell(m.old), cell(m.new), tests)
	}
	return b.String()
}
