package change

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/rogpeppe/go-internal/diff"
	"golang.org/x/tools/txtar"
	appsv1 "k8s.io/api/apps/v1"

	"github.com/belay-dev/belay/manifests"
	"github.com/belay-dev/belay/reconciler/rollback"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the want sections of testdata")

// history is a branch in memory. A revert goes file by file: what was changed again since is a conflict.
type history []fstest.MapFS

var _ Repository = history(nil)

func (h history) Head() string { return strconv.Itoa(len(h)) }

func (h history) at(commit string) fstest.MapFS {
	n, err := strconv.Atoi(commit)
	if err != nil || n < 1 || n > len(h) {
		return fstest.MapFS{}
	}
	return h[n-1]
}

func (h history) Tree(_ context.Context, commit string) (manifests.Tree, error) {
	return manifests.DirTree(h.at(commit)), nil
}

func (h history) Reverted(_ context.Context, commits []string) (manifests.Tree, []string, error) {
	now := maps.Clone(h[len(h)-1])
	touched := map[string]bool{}
	for _, commit := range commits {
		n, _ := strconv.Atoi(commit)
		after, before := h.at(commit), h.at(strconv.Itoa(n-1))
		for name := range union(after, before) {
			a, b := after[name], before[name]
			if content(a) == content(b) {
				continue
			}
			if content(now[name]) != content(a) {
				return nil, nil, &ConflictError{Err: errors.New(name + ": changed on both sides")}
			}
			touched[name] = true
			if delete(now, name); b != nil {
				now[name] = b
			}
		}
	}
	return manifests.DirTree(now), slices.Sorted(maps.Keys(touched)), nil
}

func union(a, b fstest.MapFS) fstest.MapFS {
	out := maps.Clone(a)
	maps.Copy(out, b)
	return out
}

func content(f *fstest.MapFile) string {
	if f == nil {
		return "<none>"
	}
	return string(f.Data)
}

// TestPlans plans changes on the histories in testdata. A file "2/apps/web.yaml" is one of the second commit, which
// otherwise is as the first; an empty one is taken out. The comment gives the questions, one a line:
//
//	rollback NAME TO COMMITS [MODE] [secrets]   to what commit TO renders, which COMMITS changed since, newest first, or -
//	unknown NAME TO COMMITS                     the same without the tree of TO
//	scale NAME N | pause NAME | resume NAME | image NAME IMAGE [LIVE]
//	revert COMMIT NAMES TO [secrets] [only]     one commit for several Deployments
func TestPlans(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			plans(t, file)
		})
	}
}

func plans(t *testing.T, file string) {
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	h, want, wantAt := historyOf(archive)
	app := []manifests.App{{Source: "s", Name: "shop", Path: "apps", Namespace: "default"}}
	base := manifests.NewCache(app, manifests.Options{})
	if _, err := base.Sync(t.Context(), manifests.DirTree(h[0]), "1"); err != nil {
		t.Fatal(err)
	}
	got := ""
	for _, line := range strings.Split(string(archive.Comment), "\n") {
		f := strings.Fields(line)
		if len(f) < 2 || !slices.Contains([]string{"rollback", "unknown", "scale", "pause", "resume", "image", "revert"}, f[0]) {
			continue
		}
		got += "> " + line + "\n" + answer(t, base, h, f)
	}
	if *rewrite {
		if wantAt < 0 {
			wantAt, archive.Files = len(archive.Files), append(archive.Files, txtar.File{Name: "want"})
		}
		archive.Files[wantAt].Data = []byte(got)
		if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func historyOf(archive *txtar.Archive) (h history, want string, wantAt int) {
	wantAt = -1
	for i, f := range archive.Files {
		number, name, _ := strings.Cut(f.Name, "/")
		n, err := strconv.Atoi(number)
		if err != nil {
			want, wantAt = string(f.Data), i
			continue
		}
		for len(h) < n {
			next := fstest.MapFS{}
			if len(h) > 0 {
				next = maps.Clone(h[len(h)-1])
			}
			h = append(h, next)
		}
		text := strings.ReplaceAll(string(f.Data), "<CR>", "\r")
		if cut, ok := strings.CutSuffix(text, "<EOF>\n"); ok {
			text = cut
		}
		if delete(h[n-1], name); text != "" {
			h[n-1][name] = &fstest.MapFile{Data: []byte(text), Mode: fs.FileMode(0o644)}
		}
	}
	return h, want, wantAt
}

func id(name string) manifests.ID {
	return manifests.ID{Kind: "Deployment", Namespace: "default", Name: name}
}

func renderedAt(t *testing.T, base *manifests.Cache, h history, commit, name string) *appsv1.Deployment {
	t.Helper()
	c, err := base.Fork(t.Context(), manifests.DirTree(h.at(commit)), commit)
	if err != nil {
		t.Fatal(err)
	}
	o, _ := c.Object(id(name))
	d, _ := o.Object.(*appsv1.Deployment)
	return d
}

func answer(t *testing.T, base *manifests.Cache, h history, f []string) string {
	t.Helper()
	task := Task{Wish: Wish{ID: id(f[1])}}
	head := renderedAt(t, base, h, h.Head(), f[1])
	switch f[0] {
	case "revert":
		return reverted(t, base, h, f)
	case "rollback", "unknown":
		to := renderedAt(t, base, h, f[2], f[1])
		if to == nil {
			t.Fatalf("%s is not in commit %s", f[1], f[2])
		}
		task.Template, task.Removed = &to.Spec.Template, head == nil
		if f[0] == "rollback" {
			task.Then = f[2]
		}
		if f[3] != "-" {
			task.Commits = strings.Split(f[3], ",")
		}
		if len(f) > 4 {
			task.Mode = rollback.Mode(f[4])
		}
		task.Secrets = len(f) > 5
	case "scale":
		n, _ := strconv.ParseInt(f[2], 10, 32)
		count := int32(n)
		task.Replicas = &count
	case "pause", "resume":
		paused := f[0] == "pause"
		task.Paused = &paused
	case "image":
		task.Live, task.Asked = head.DeepCopy(), head.DeepCopy()
		if len(f) > 3 {
			task.Live.Spec.Template.Spec.Containers[0].Image = f[3]
		}
		task.Asked.Spec.Template.Spec.Containers[0].Image = f[2]
	}
	p, err := Make(t.Context(), base, h, task)
	if err != nil {
		return "error: " + err.Error() + "\n"
	}
	return described(p, h) + fmt.Sprintf("message: %q\n", p.Message(task.Wish, "revision 1", ""))
}

func reverted(t *testing.T, base *manifests.Cache, h history, f []string) string {
	var wishes []Wish
	for _, name := range strings.Split(f[2], ",") {
		wishes = append(wishes, Wish{ID: id(name), Template: &renderedAt(t, base, h, f[3], name).Spec.Template})
	}
	flags := f[min(len(f), 4):]
	p, verdicts, err := MakeRevert(t.Context(), base, h, Undo{
		Commit: f[1], Wishes: wishes, Secrets: slices.Contains(flags, "secrets"), Only: slices.Contains(flags, "only"),
	})
	if err != nil {
		return "error: " + err.Error() + "\n"
	}
	out := described(p, h)
	for _, v := range verdicts {
		out += v.ID.String() + ": " + orOK(Why(v.Why)) + "\n"
	}
	return out
}

func orOK(s string) string {
	if s == "" {
		return "ok"
	}
	return s
}

func described(p Plan, h history) string {
	out := fmt.Sprintf("%s at %s", p.Mode, p.Head)
	if p.Agrees {
		out += ", agrees already"
	}
	out += "\n"
	for _, f := range p.Failed {
		for _, r := range f.Why {
			out += fmt.Sprintf("not %s: %s\n", f.Mode, r)
			if r.Hint != "" {
				out += "  hint: " + r.Hint + "\n"
			}
		}
	}
	if len(p.Commits) > 0 {
		out += "reverts " + strings.Join(p.Commits, ", ") + "\n"
	}
	if len(p.Touched) > 0 {
		out += "touches " + strings.Join(p.Touched, ", ") + "\n"
	}
	for _, c := range p.Objects {
		out += fmt.Sprintf("%s %s\n", c.Op, c.ID)
	}
	for _, name := range slices.Sorted(maps.Keys(p.Files)) {
		old := ""
		if f := h[len(h)-1][name]; f != nil {
			old = string(f.Data)
		}
		out += strings.ReplaceAll(string(diff.Diff("a/"+name, []byte(old), "b/"+name, p.Files[name])), "\r", "<CR>")
	}
	return out
}
