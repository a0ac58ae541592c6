package source

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/belay-dev/belay/source/merge"
)

// revert makes a draft at the head that takes commits back, newest first.
func revert(t testing.TB, m *Mirror, commits ...Hash) (*Draft, error) {
	t.Helper()
	s := snapshot(t, m)
	d, err := s.Draft(s.Head())
	for _, h := range commits {
		if err == nil {
			d, err = d.Revert(t.Context(), h)
		}
	}
	return d, err
}

// gitRevert has git revert a commit of branch main in a clone, and returns the new commit, or what git says.
func gitRevert(t testing.TB, clone *repo, h Hash, args ...string) (Hash, string) {
	t.Helper()
	clone.git("", "checkout", "-q", "-f", "--detach", "origin/main")
	if strings.Contains(clone.git("", "rev-list", "--parents", "-1", string(h)), " ") && strings.Count(clone.git("", "rev-list", "--parents", "-1", string(h)), " ") > 1 {
		args = append(args, "-m", "1")
	}
	out, err := clone.tryGit("", append(append([]string{"revert", "--no-edit"}, args...), string(h))...)
	if err != nil {
		_, _ = clone.tryGit("", "revert", "--abort")
		clone.git("", "reset", "-q", "--hard")
		return "", out
	}
	return Hash(clone.git("", "rev-parse", "HEAD")), ""
}

func (r *repo) clone() *repo {
	r.t.Helper()
	out := &repo{t: r.t, dir: filepath.Join(r.t.TempDir(), "clone")}
	r.git("", "clone", "-q", r.dir, out.dir)
	return out
}

// Any commit of a random history is reverted as git reverts it: the same tree and the same message, or both refuse.
func TestRevertAsGitReverts(t *testing.T) {
	t.Parallel()
	histories := 4
	if text := os.Getenv("REVERT_HISTORIES"); text != "" {
		var err error
		if histories, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	for i := range histories {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			revertAll(t, rand.New(rand.NewPCG(uint64(i), 9))) //nolint:gosec // not negative
		})
	}
}

func revertAll(t *testing.T, rnd *rand.Rand) {
	t.Helper()
	r := writable(t)
	files := map[string]string{}
	var commits []Hash
	edit := func() map[string]string {
		path := fmt.Sprintf("app%d/web.yaml", rnd.IntN(3))
		if rnd.IntN(8) == 0 && files[path] != "" {
			return map[string]string{path: ""}
		}
		var b strings.Builder
		for n := range 12 {
			value := 0
			if rnd.IntN(4) == 0 {
				value = rnd.IntN(4)
			}
			fmt.Fprintf(&b, "key%d: %d\n", n, value)
		}
		old := strings.SplitAfter(files[path], "\n")
		next := strings.SplitAfter(b.String(), "\n")
		if len(old) == len(next) && rnd.IntN(4) > 0 { // one line alone
			at := rnd.IntN(len(old) - 1)
			old[at] = fmt.Sprintf("key%d: %d\n", at, rnd.IntN(9))
			next = old
		}
		return map[string]string{path: strings.Join(next, "")}
	}
	for n := range 14 {
		if n > 2 && rnd.IntN(4) == 0 { // a branch and its merge
			fork := commits[len(commits)-1-rnd.IntN(2)]
			side := r.commit("side", fmt.Sprintf("side %d", n), map[string]string{fmt.Sprintf("side%d", rnd.IntN(3)): fmt.Sprintf("s%d\n", n)}, fork)
			commits = append(commits, side)
			commits = append(commits, r.commit("main", fmt.Sprintf("Merge side %d", n), map[string]string{fmt.Sprintf("side%d", rnd.IntN(3)): fmt.Sprintf("s%d\n", n)},
				Hash(r.git("", "rev-parse", "main")), side))
			continue
		}
		change := edit()
		commits = append(commits, r.commit("main", fmt.Sprintf("change %d", n), change))
		for path, content := range change {
			files[path] = content
		}
	}
	m := r.mirror()
	poll(t, m)
	clone := r.clone()
	clean := 0
	for _, h := range commits {
		want, said := gitRevert(t, clone, h)
		d, err := revert(t, m, h)
		changed := err == nil && d.tree != d.from
		if want == "" {
			if changed {
				t.Errorf("git does not revert %s: %s", h, said)
			}
			continue
		}
		if err != nil {
			var c *merge.Conflicts
			if !errors.As(err, &c) || c.List[0].Reason != merge.Renamed && c.List[0].Reason != merge.ModifyDelete {
				t.Errorf("git reverts %s: %v", h, err)
			}
			continue
		}
		clean++
		if got := clone.git("", "rev-parse", string(want)+"^{tree}"); got != d.tree.String() {
			t.Errorf("revert of %s: tree %s, git's is %s", h, d.tree, got)
		}
		if got := clone.git("", "log", "-1", "--format=%B", string(want)); got != strings.TrimSpace(d.Message()) {
			t.Errorf("revert of %s says\n%s\ngit says\n%s", h, d.Message(), got)
		}
	}
	if clean == 0 {
		t.Error("nothing was reverted")
	}
}

func TestRevertMessages(t *testing.T) {
	t.Parallel()
	r := writable(t)
	r.commit("main", "first", map[string]string{"f": "0", "g": "0"})
	one := r.commit("main", "one\nmore of it\n\nbody", map[string]string{"f": "1"})
	two := r.commit("main", "two \x1b[31mred", map[string]string{"g": "2"})
	undo := r.commit("main", "Revert \"two\"\n\nThis reverts commit "+string(two)+".", map[string]string{"g": "0"})
	again := r.commit("main", "Reapply \"two\"\n\nThis reverts commit "+string(undo)+".", map[string]string{"g": "2"})
	twice := r.commit("main", "Revert \"Revert \"x\"\"", map[string]string{"h": "2"})
	m := r.mirror()
	poll(t, m)
	rows := []struct {
		commits []Hash
		want    string
	}{
		{[]Hash{one}, "Revert \"one\"\n\nThis reverts commit " + string(one) + ".\n"},
		{[]Hash{again}, "Revert \"Reapply \"two\"\"\n\nThis reverts commit " + string(again) + ".\n"},
		{[]Hash{twice}, "Revert \"Revert \"Revert \"x\"\"\"\n\nThis reverts commit " + string(twice) + ".\n"},
		{[]Hash{again, undo}, "Revert \"Reapply \"two\"\" and one commit before it\n\nThis reverts commit " + string(again) + ".\nThis reverts commit " + string(undo) + ".\n"},
		{[]Hash{again, undo, two}, "Revert \"Reapply \"two\"\" and 2 commits before it\n\nThis reverts commit " + string(again) + ".\nThis reverts commit " + string(undo) +
			".\nThis reverts commit " + string(two) + ".\n"},
	}
	for _, row := range rows {
		d, err := revert(t, m, row.commits...)
		if err != nil {
			t.Fatal(err)
		}
		if got := d.Message(); got != row.want {
			t.Errorf("message %q, want %q", got, row.want)
		}
	}
	r.point("main", undo)
	poll(t, m)
	d, err := revert(t, m, undo)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := d.Message(), "Reapply \"two\"\n\nThis reverts commit "+string(undo)+".\n"; got != want {
		t.Errorf("message %q, want %q", got, want)
	}
	if _, err = revert(t, m, again); KindOf(err) != KindNotFound {
		t.Errorf("a commit that the branch left: %v", err)
	}
}

// A range is one commit, its tree that of reverting one after the other.
func TestRevertOfARange(t *testing.T) {
	t.Parallel()
	r := writable(t)
	first := r.commit("main", "first", map[string]string{"f": "a\nb\nc\nd\ne\n"})
	one := r.commit("main", "one", map[string]string{"f": "a\nB\nc\nd\ne\n"})
	two := r.commit("main", "two", map[string]string{"f": "a\nBB\nc\nd\ne\n", "g": "new\n"})
	r.commit("main", "unrelated", map[string]string{"f": "a\nBB\nc\nd\nE\n"})
	m := r.mirror()
	poll(t, m)
	_, err := revert(t, m, one)
	wantKind(t, err, KindConflict)
	if !strings.Contains(err.Error(), "f:2: changed on both sides") {
		t.Errorf("error %v does not name file and line", err)
	}
	d, err := revert(t, m, two, one)
	if err != nil {
		t.Fatal(err)
	}
	tree, err := d.Tree()
	if err != nil {
		t.Fatal(err)
	}
	if got := string(must(tree.ReadFile("f"))); got != "a\nb\nc\nd\nE\n" {
		t.Errorf("f is %q", got)
	}
	if _, err := tree.Stat("g"); !isNotExist(err) {
		t.Errorf("g is there: %v", err)
	}
	if got := must(d.Changed()); !slices.Equal(got, []string{"f", "g"}) {
		t.Errorf("changed %v", got)
	}
	d, err = revert(t, m, Hash(r.git("", "rev-parse", "main")), two, one, first)
	if err != nil || d.tree != emptyTree {
		t.Errorf("without the first commit: %v, %v", d, err)
	}
}

func TestEditsKeepModes(t *testing.T) {
	t.Parallel()
	r := writable(t)
	r.commit("main", "first", map[string]string{"a/run": "1", "a/file": "1", "a/b/gone": "1"})
	clone := r.clone()
	clone.git("", "update-index", "--chmod=+x", "a/run")
	if err := os.Symlink("file", filepath.Join(clone.dir, "a", "link")); err != nil {
		t.Fatal(err)
	}
	clone.git("", "add", "a/link")
	clone.git("", "commit", "-q", "-m", "modes")
	clone.git("", "push", "-q")
	_, w := writer(t, r.config(), Push{})
	plan := func(edits ...FileEdit) func(context.Context, *Snapshot) (*Proposal, error) {
		return func(_ context.Context, s *Snapshot) (*Proposal, error) {
			d, err := s.Draft(s.Head())
			if err == nil {
				d, err = d.Edit(edits)
			}
			if err != nil {
				return nil, err
			}
			return w.Commit(d, Text{Message: "edit", At: time.Unix(1, 0)})
		}
	}
	if _, err := w.Land(t.Context(), plan(FileEdit{Path: "a/run", Content: []byte("2\r\n")}, FileEdit{Path: "a/new/file", Content: []byte("x")},
		FileEdit{Path: "a/b/gone", Delete: true})); err != nil {
		t.Fatal(err)
	}
	if got := r.git("", "ls-tree", "-r", "--format=%(objectmode) %(path)", "main"); got != "100644 a/file\n120000 a/link\n100644 a/new/file\n100755 a/run" {
		t.Errorf("tree\n%s", got)
	}
	if got := r.git("", "cat-file", "blob", "main:a/run"); got != "2" {
		t.Errorf("a/run is %q", got)
	}
	sound(t, r)
	rows := []struct {
		edit FileEdit
		kind Kind
	}{
		{FileEdit{Path: "a/run", Content: []byte("2\r\n")}, KindNothing},
		{FileEdit{Path: "a/link", Content: []byte("x")}, KindInvalid},
		{FileEdit{Path: "a", Content: []byte("x")}, KindInvalid},
		{FileEdit{Path: "a/file/below", Content: []byte("x")}, KindConflict},
		{FileEdit{Path: "../x", Content: []byte("x")}, KindInvalid},
		{FileEdit{Path: ".git/config", Content: []byte("x")}, KindInvalid},
		{FileEdit{Path: "nope", Delete: true}, KindInvalid},
	}
	for _, row := range rows {
		if _, err := w.Land(t.Context(), plan(row.edit)); err == nil {
			t.Errorf("%q was edited", row.edit.Path)
		} else if KindOf(err) != row.kind {
			t.Errorf("%q: %v is of kind %s, want %s", row.edit.Path, err, KindOf(err), row.kind)
		}
	}
}
