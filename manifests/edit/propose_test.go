package edit

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/rogpeppe/go-internal/diff"
	"golang.org/x/tools/txtar"
	appsv1 "k8s.io/api/apps/v1"

	"github.com/belay-dev/belay/manifests"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the want sections of testdata")

// TestPropose renders two trees: "then/" and "head/", where a file of head that
// is not given is as it was, and one that is empty is gone. The Deployment web
// is to become again as it was then: its pod template, or what the comment names
// after "(field ". "want" are the first proposals that have the effect and no
// other, knowing the old tree and not knowing it, as differences of files.
func TestPropose(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/propose/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			propose(t, file)
		})
	}
}

func propose(t *testing.T, file string) {
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	then, head := fstest.MapFS{}, fstest.MapFS{}
	want, wantAt := "", -1
	for i, f := range archive.Files {
		text := strings.ReplaceAll(string(f.Data), "<CR>", "\r")
		if cut, ok := strings.CutSuffix(text, "<EOF>\n"); ok {
			text = cut
		}
		switch {
		case f.Name == "want":
			want, wantAt = string(f.Data), i
		case strings.HasPrefix(f.Name, "then/"):
			name := strings.TrimPrefix(f.Name, "then/")
			then[name] = &fstest.MapFile{Data: []byte(text)}
			head[name] = then[name]
		case text == "":
			delete(head, strings.TrimPrefix(f.Name, "head/"))
		default:
			head[strings.TrimPrefix(f.Name, "head/")] = &fstest.MapFile{Data: []byte(text)}
		}
	}
	field := "template"
	if _, name, ok := strings.Cut(string(archive.Comment), "(field "); ok {
		field, _, _ = strings.Cut(name, ")")
	}
	got := ""
	for _, known := range []bool{true, false} {
		got += fmt.Sprintf("known=%t: %s", known, proposed(t, then, head, field, known))
	}
	if *rewrite {
		if wantAt < 0 {
			wantAt = len(archive.Files)
			archive.Files = append(archive.Files, txtar.File{Name: "want"})
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

func rendered(t *testing.T, c *manifests.Cache) (web manifests.Object, kind manifests.RootKind, others string) {
	t.Helper()
	for _, p := range c.Problems() {
		others += p.String() + "\n"
	}
	for _, r := range c.Roots() {
		for _, o := range r.Objects {
			if o.ID.Kind == "Deployment" && strings.HasSuffix(o.ID.Name, "web") {
				web, kind = o, r.Kind
				continue
			}
			if o.ID.Kind != "ConfigMap" {
				others += o.ID.String() + " " + o.Digest + "\n"
			}
		}
	}
	return web, kind, others
}

func part(t *testing.T, o manifests.Object, field string) any {
	t.Helper()
	data, err := json.Marshal(o.Object.(*appsv1.Deployment).Spec)
	if err != nil {
		t.Fatal(err)
	}
	v, err := valueOfJSON(data)
	if err != nil {
		t.Fatal(err)
	}
	spec := &value{kind: mapping}
	spec.put(field, v.get(field))
	return &value{kind: mapping, keys: []string{"spec"}, items: []*value{spec}}
}

func proposed(t *testing.T, then, head fstest.MapFS, field string, known bool) string {
	app := []manifests.App{{Source: "s", Name: "shop", Path: "apps", Namespace: "default"}}
	was, is := manifests.NewCache(app, manifests.Options{}), manifests.NewCache(app, manifests.Options{})
	if _, err := was.Sync(t.Context(), manifests.DirTree(then), "then"); err != nil {
		t.Fatal(err)
	}
	tree := manifests.DirTree(head)
	if _, err := is.Sync(t.Context(), tree, "head"); err != nil {
		t.Fatal(err)
	}
	target, kindThen, _ := rendered(t, was)
	now, kind, others := rendered(t, is)
	if target.Object == nil {
		t.Fatal(was.Problems())
	}
	var list []Proposal
	var err error
	if now.Object == nil {
		var p Proposal
		p, err = PutBack(tree, manifests.DirTree(then), target, kindThen)
		list = []Proposal{p}
	} else {
		w := Wish{Tree: tree, Object: now, Kind: kind, Have: part(t, now, field), Want: part(t, target, field)}
		if known {
			w.Then = manifests.DirTree(then)
		}
		list, err = Propose(w)
	}
	if err != nil {
		return "refused: " + err.Error() + "\n"
	}
	var why []string
	for _, p := range list {
		fork, err := is.Fork(t.Context(), manifests.Overlay(tree, p.Files), "new")
		if err != nil {
			t.Fatal(err)
		}
		after, _, left := rendered(t, fork)
		switch {
		case left != others:
			why = append(why, p.How+": other objects change")
		case after.Object == nil || !samePart(t, part(t, after, field), part(t, target, field)):
			why = append(why, p.How+": it is not as wanted")
		default:
			return strings.Join(append(why, p.How), "; ") + "\n" + differences(head, p.Files)
		}
	}
	return "none has the effect: " + strings.Join(why, "; ") + "\n"
}

func samePart(t *testing.T, a, b any) bool {
	t.Helper()
	return a.(*value).same(b.(*value))
}

func differences(head fstest.MapFS, files map[string][]byte) string {
	out := ""
	for _, name := range slices.Sorted(maps.Keys(files)) {
		var old []byte
		if f := head[name]; f != nil {
			old = f.Data
		}
		out += strings.ReplaceAll(string(diff.Diff("a/"+name, old, "b/"+name, files[name])), "\r", "<CR>")
	}
	return out
}
