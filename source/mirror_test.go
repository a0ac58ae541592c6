package source

import (
	"io/fs"
	"testing"
)

func TestFollowsABranch(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	first := r.commit("main", "first", map[string]string{"app/web.yaml": "a: 1\n", "README": "hello\n"})
	m := r.mirror()
	if head := poll(t, m); head.Commit != first || !head.Changed {
		t.Fatalf("first poll = %+v, want %s changed", head, first)
	}
	if head := poll(t, m); head.Commit != first || head.Changed || head.At.IsZero() {
		t.Fatalf("second poll = %+v, want %s unchanged", head, first)
	}
	second := r.commit("main", "second", map[string]string{"app/web.yaml": "a: 2\n"})
	if head := poll(t, m); head.Commit != second || !head.Changed {
		t.Fatalf("third poll = %+v, want %s changed", head, second)
	}
	s := snapshot(t, m)
	tree, err := s.Tree(second)
	if err != nil {
		t.Fatal(err)
	}
	data, err := tree.ReadFile("app/web.yaml")
	if err != nil || string(data) != "a: 2\n" {
		t.Fatalf("ReadFile = %q, %v", data, err)
	}
	if want := r.git("", "rev-parse", string(second)+"^{tree}"); tree.Hash() != want {
		t.Fatalf("Hash = %s, want %s", tree.Hash(), want)
	}
	list, err := tree.ReadDir("")
	if err != nil || len(list) != 2 || list[0].Name() != "README" || list[1].Name() != "app" || !list[1].IsDir() {
		t.Fatalf("ReadDir = %v, %v", list, err)
	}
	if h, ok := list[1].(interface{ Hash() string }); !ok || h.Hash() != r.git("", "rev-parse", string(second)+":app") {
		t.Fatalf("entry hash is not that of the tree")
	}
	if _, err := tree.Stat("nope"); !isNotExist(err) {
		t.Fatalf("Stat of nothing = %v", err)
	}
	if e, err := tree.Stat(""); err != nil || e.Name() != "." || !e.IsDir() || e.Type() != fs.ModeDir {
		t.Fatalf("Stat of the root = %v, %v", e, err)
	}
}
