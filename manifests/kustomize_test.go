package manifests

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/tools/txtar"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// checkOut writes the files of a tree to a directory.
func checkOut(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if link, ok := strings.CutPrefix(content, "-> "); ok {
			if err := os.Symlink(strings.TrimSpace(link), p); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.WriteFile(p, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// buildTree runs kustomize on a tree without the limits and checks around it.
func buildTree(t testing.TB, tree Tree, root string) (string, *treeFS, error) {
	t.Helper()
	v, err := newView(tree, new(sync.Mutex))
	if err != nil {
		t.Fatal(err)
	}
	fsys := newTreeFS(v.reader(), new(inspections))
	if err := kustomizeRuns.turn.take(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	defer kustomizeRuns.turn.give()
	kustomizeRuns.warm.Do(kustomizeRuns.warmUp)
	m, err := build(fsys, "/"+root)
	if err != nil {
		return "", fsys, err
	}
	text, err := m.AsYaml()
	return string(text), fsys, err
}

func buildDisk(t testing.TB, dir, root string) (string, error) {
	t.Helper()
	if err := kustomizeRuns.turn.take(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	defer kustomizeRuns.turn.give()
	m, err := build(filesys.MakeFsOnDisk(), filepath.Join(dir, root))
	if err != nil {
		return "", err
	}
	text, err := m.AsYaml()
	return string(text), err
}

// TestKustomizeLikeOnDisk renders every archive in testdata/kustomize from a
// tree and from a checked-out directory: both must give the same bytes. The
// root is the directory "o".
func TestKustomizeLikeOnDisk(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/kustomize/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no archives: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			tree := map[string]string{}
			for _, f := range archive.Files {
				tree[f.Name] = string(f.Data)
			}
			want, err := buildDisk(t, checkOut(t, tree), "o")
			if err != nil {
				t.Fatalf("on disk: %v", err)
			}
			for name, tr := range map[string]Tree{"memory": newMemTree(tree), "directory": DirTree(os.DirFS(checkOut(t, tree)))} {
				got, fsys, err := buildTree(t, tr, "o")
				if err != nil {
					t.Fatalf("%s: %v (refused: %v)", name, err, fsys.refusal)
				}
				if got != want {
					t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
				}
				if !strings.Contains(got, "kind: Deployment") && !strings.Contains(got, "kind: ConfigMap") && !strings.Contains(got, "kind: Secret") {
					t.Errorf("%s renders nothing of interest:\n%s", name, got)
				}
			}
		})
	}
}
