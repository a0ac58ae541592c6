package manifests

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the want sections of testdata")

// TestCases renders the trees in testdata/cases. Every archive holds the files
// of a tree and the expected results: the section "want" is the full state
// after them. A file "NAME@2" replaces NAME in a second commit ("@2-" before
// the name removes it), whose update is the section "want@2", and so on. The
// comment may hold lines "app NAME PATH [NAMESPACE]"; the default is one app at
// the root of the tree.
func TestCases(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/cases/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			runCase(t, file)
		})
	}
}

func runCase(t *testing.T, file string) {
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	apps := caseApps(string(archive.Comment))
	want, steps := caseSteps(archive)
	cache := NewCache(apps, Options{})
	tree := newMemTree(nil)
	got := map[string]string{}
	for i, step := range steps {
		tree = tree.with(step)
		commit := fmt.Sprintf("c%d", i+1)
		preview, err := cache.Preview(t.Context(), tree, commit)
		if err != nil {
			t.Fatal(err)
		}
		update, err := cache.Sync(t.Context(), tree, commit)
		if err != nil {
			t.Fatal(err)
		}
		name := "want"
		if i > 0 {
			name = fmt.Sprintf("want@%d", i+1)
		}
		got[name] = describe(update)
		if p := describe(preview); p != got[name] {
			t.Errorf("%s: preview differs from sync:\n%s", name, p)
		}
	}
	if *rewrite {
		rewriteCase(t, file, archive, got)
		return
	}
	for name, text := range got {
		if text != want[name] {
			t.Errorf("-- %s --\n%s(wanted)\n%s", name, text, want[name])
		}
	}
}

func caseApps(comment string) []App {
	var apps []App
	for _, line := range strings.Split(comment, "\n") {
		f := strings.Fields(line)
		if len(f) < 3 || f[0] != "app" {
			continue
		}
		app := App{Source: "src", Name: f[1], Path: strings.TrimPrefix(f[2], "."), Namespace: "default"}
		if len(f) > 3 {
			app.Namespace = f[3]
		}
		apps = append(apps, app)
	}
	if len(apps) == 0 {
		apps = []App{{Source: "src", Name: "app", Namespace: "default"}}
	}
	return apps
}

func caseSteps(archive *txtar.Archive) (want map[string]string, steps []map[string]string) {
	want = map[string]string{}
	steps = []map[string]string{{}}
	for _, f := range archive.Files {
		if strings.HasPrefix(f.Name, "want") {
			want[f.Name] = string(f.Data)
			continue
		}
		name, data, step := f.Name, string(f.Data), 1
		if base, after, ok := strings.Cut(name, "@"); ok {
			remove := ""
			if _, err := fmt.Sscanf(after, "%d%s", &step, &remove); err != nil && step == 1 {
				continue
			}
			name = base
			if remove == "-" {
				data = ""
			}
		}
		for len(steps) < step {
			steps = append(steps, map[string]string{})
		}
		data = strings.NewReplacer("<CR>\n", "\r\n", "<TAB>", "\t", "<NUL>", "\x00", "<ESC>", "\x1b", "<BOM>", "\ufeff", "<NONL>\n", "").Replace(data)
		if data == "<MODULE>\n" {
			data = submodule
		}
		steps[step-1][name] = data
	}
	return want, steps
}

func rewriteCase(t *testing.T, file string, archive *txtar.Archive, got map[string]string) {
	var kept []txtar.File
	for _, f := range archive.Files {
		if !strings.HasPrefix(f.Name, "want") {
			kept = append(kept, f)
		}
	}
	for i := 1; i <= len(got); i++ {
		name := "want"
		if i > 1 {
			name = fmt.Sprintf("want@%d", i)
		}
		kept = append(kept, txtar.File{Name: name, Data: []byte(got[name])})
	}
	archive.Files = kept
	if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
		t.Fatal(err)
	}
}

// describe prints an update in full.
func describe(u Update) string {
	var b strings.Builder
	fmt.Fprintf(&b, "rendered %d\n", u.Rendered)
	for _, r := range u.Roots {
		path := r.Path
		if path == "" {
			path = "."
		}
		fmt.Fprintf(&b, "root %s %s %s", r.App, path, r.Kind)
		if r.Commit != "" {
			fmt.Fprintf(&b, " at %s", r.Commit)
		}
		for flag, text := range map[bool]string{r.Stale: " stale", r.Gone: " gone"} {
			if flag {
				b.WriteString(text)
			}
		}
		if r.KindChanged {
			b.WriteString(" kind changed")
		}
		b.WriteString("\n")
		for _, o := range r.Objects {
			fmt.Fprintf(&b, "  %s %s\n", o.ID, o.where())
		}
		for _, o := range r.Before {
			fmt.Fprintf(&b, "  before %s\n", o.ID)
		}
	}
	for _, p := range u.Problems {
		fmt.Fprintf(&b, "problem %s %s: %s\n", p.App, p.Commit, p)
	}
	return b.String()
}
