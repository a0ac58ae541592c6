package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/belay-dev/belay/manifests"
)

// Check renders and validates a working tree exactly as a sync of it would, without a service: the directory, or, when
// it lies in a repository's working tree, all that its kustomizations refer to in that. The files named in what it
// finds count from root.
func Check(ctx context.Context, dir, namespace string) (report manifests.Report, root string, err error) {
	dir, err = filepath.Abs(dir)
	if err != nil {
		return report, "", fmt.Errorf("validate: %w", err)
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return report, "", fmt.Errorf("validate: %w", err)
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return report, "", errors.Join(fmt.Errorf("validate: %s is no directory", dir), err)
	}
	root = workingTree(dir)
	path, err := filepath.Rel(root, dir)
	if err != nil {
		return report, "", fmt.Errorf("validate: %w", err)
	}
	app := manifests.App{Name: "validate", Path: cleanPath(filepath.ToSlash(path)), Namespace: namespace}
	tree, err := os.OpenRoot(root)
	if err != nil {
		return report, "", fmt.Errorf("validate: %w", err)
	}
	defer tree.Close()
	report, err = manifests.Validate(ctx, manifests.DirTree(tree.FS()), []manifests.App{app}, surveyOf(realPods{}))
	if err != nil {
		return report, "", fmt.Errorf("validate: %w", err)
	}
	if report.Roots == 0 && report.Objects == 0 && len(report.Problems) == 0 {
		return report, "", &hinted{fmt.Errorf("validate: no manifests below %s", dir), "name the directory that holds them: *.yaml, *.json or a kustomization"}
	}
	return report, root, nil
}

// workingTree is the top of the working tree that a directory lies in, or the directory itself.
func workingTree(dir string) string {
	for top := dir; ; top = filepath.Dir(top) {
		if _, err := os.Stat(filepath.Join(top, ".git")); err == nil {
			return top
		}
		if top == filepath.Dir(top) {
			return dir
		}
	}
}
