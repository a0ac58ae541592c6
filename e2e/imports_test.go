package e2e

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const module = "github.com/belay-dev/belay"

// layers says which packages of this module a package may import; the row that names it most precisely counts.
// "x/..." is everything below x, without x. In no layer may a parent import its child, but for the reconciler (its
// seam to the children lies in reconciler/engine), the wiring, manifests, whose rendering ends in its child schema, and
// source, whose merging is its child's, and the embedded driver, whose pods' process is its child.
var layers = []layer{
	{"cmd/belay", []string{"cmd/belay/app", "cmd/belay/kube", "cmd/belay/verbs", "reconciler/node/embedded/shim/takeover"}},
	{"cmd/belay/kube", []string{"cmd/belay/app", "state", "state/..."}},
	{"cmd/belay/app", []string{"cmd/belay/control", "cmd/belay/dashboard", "source", "source/...", "manifests", "manifests/...",
		"state", "state/...", "reconciler", "reconciler/..."}},
	{"cmd/belay/verbs", []string{"cmd/belay/app", "cmd/belay/control"}},
	{"cmd/belay/verbs/site", nil},
	{"cmd/belay/control", []string{"manifests", "state", "reconciler", "reconciler/..."}},
	{"cmd/belay/dashboard", []string{"cmd/belay/control"}},
	{"cmd/belay-shim", []string{"reconciler/node/embedded/shim"}},

	{"source", []string{"source/merge"}}, // its pure part
	{"source/merge", nil},
	{"source/...", []string{"source"}},
	{"manifests", []string{"manifests/schema"}}, // what rendering ends with; schema knows nothing of it
	{"manifests/...", []string{"manifests"}},
	{"state", nil},
	{"state/...", []string{"state"}},

	{"reconciler", []string{"reconciler/...", "manifests", "state"}},
	{"reconciler/...", []string{"reconciler/...", "manifests", "manifests/edit", "state"}},
	{"reconciler/owner", nil},
	{"reconciler/rollout/scenario", []string{"reconciler/controller", "reconciler/rollout", "reconciler/replicaset", "state"}},
	{"reconciler/node/embedded/shim", nil},
	{"reconciler/node/embedded/shim/takeover", []string{"reconciler/node/embedded/shim"}},

	{"e2e", nil},
	{"e2e/...", nil}, // tests alone, but for their package comment
}

// homes says who alone may import what is heavy. An entry covers what lies below it.
var homes = []home{
	{"github.com/go-git/go-git/v5", []string{"source"}},
	{"github.com/go-git/go-billy/v5", []string{"source"}},
	{"github.com/fsnotify/fsnotify", []string{"source/trigger"}},
	{"github.com/robfig/cron/v3", []string{"source/trigger"}},
	{"sigs.k8s.io/kustomize", []string{"manifests"}},
	{kubernetes, []string{"manifests/schema", "state/api"}},
	{"k8s.io/apiserver", []string{"state/api"}},
	{"go.etcd.io/bbolt", []string{"state"}},
	{"github.com/moby/moby", []string{"reconciler/node/docker"}},
	{"github.com/google/go-containerregistry", []string{"reconciler/node/image"}},
	{"gvisor.dev/gvisor", []string{"reconciler/service/podnet"}},
	{"github.com/prometheus/client_golang", []string{"cmd/belay/app", "state/api"}},
	{"github.com/spf13/cobra", []string{"cmd/belay", "cmd/belay/verbs"}},
	{"github.com/mattn/go-isatty", []string{"cmd/belay", "cmd/belay/verbs"}},
	{"k8s.io/kubectl", []string{"cmd/belay/verbs"}},
	{"k8s.io/cli-runtime", []string{"cmd/belay/verbs"}},
	{"os/exec", []string{"cmd/belay/verbs", "reconciler/node/embedded/shim"}},
}

// kubernetes has one home in tests too; the oracle, in this package, is the exception.
const kubernetes = "k8s.io/kubernetes"

// forbidden says what a package must do without, itself and (with "/...") those below it.
var forbidden = []ban{
	{[]string{"manifests", "manifests/..."}, []string{"os", "net", "net/http"}, "it does no I/O of its own"},
	{[]string{"state"}, []string{"net", "net/http"}, "it serves nothing itself"},
	{[]string{"reconciler", "reconciler/engine", "reconciler/rollback", "reconciler/change", "reconciler/controller", "reconciler/rollout",
		"reconciler/rollout/scenario", "reconciler/replicaset", "reconciler/garbage", "reconciler/owner", "reconciler/event",
		"reconciler/embedded"},
		[]string{"os", "net", "net/http"}, "it reaches the world through an Engine only"},
}

// pureFiles decide, wherever they lie below manifests and reconciler, so they have no use for these.
var (
	pureFiles = []string{"plan.go", "arithmetic.go", "health.go", "windows.go", "diff.go"}
	impure    = []string{"context", "log", "log/slog", "github.com/rs/zerolog", "os", "net", "net/http",
		module + "/reconciler/controller"}
)

// standardOnly need nothing but the standard library and golang.org/x/sys.
var standardOnly = []string{"cmd/belay-shim", "reconciler/node/embedded/shim", "reconciler/node/embedded/shim/takeover"}

// vague names say nothing about what a package owns.
var vague = []string{"util", "utils", "helper", "helpers", "manager", "managers", "common", "misc", "shared"}

const (
	maxLines     = 450 // of any Go file
	maxMainLines = 30  // of the whole package cmd/belay
)

// topLevel is all that the repository's root holds, besides dot files and what .gitignore names.
var topLevel = []string{
	"cmd", "reconciler", "source", "state", "manifests", "e2e", "go.mod", "go.sum", "README.md", "LICENSE", "Makefile",
	"CHANGELOG.md", "CONTRIBUTING.md",
}

// machinePaths are places of somebody's machine. They are put together here so that this file does not name them.
var machinePaths = []string{
	"/wo" + "rk/main", "/wo" + "rk/shared", "/wo" + "rk/.", "/ro" + "ot/", "/ho" + "me/", "/Us" + "ers/",
	"/tm" + "p/seams", "/tm" + "p/lint", "/tm" + "p/bash_jobs",
}

// TestLayout holds the tree against the rules above. It parses the files itself: what `go list` says would not be
// noticed by the cache of test results.
func TestLayout(t *testing.T) {
	t.Parallel()
	for _, problem := range check(readTree(t, "..")) {
		t.Error(problem)
	}
}

// readTree returns the text files below root by slash-separated path, without what git does not keep.
func readTree(t *testing.T, root string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			if rel != "." && strings.HasPrefix(d.Name(), ".") && rel != ".ci" {
				return filepath.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() || ignored(rel) || rel == ".git" { // a file, in a linked work tree
			return nil
		}
		data, err := os.ReadFile(name)
		files[rel] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 10 {
		t.Fatalf("only %d files found below %s", len(files), root)
	}
	return files
}

// ignored says what .gitignore says, and what a linked work tree has at its root.
func ignored(rel string) bool {
	return rel == ".git" || rel == "belay" || strings.HasSuffix(rel, ".test") || strings.HasSuffix(rel, ".out")
}
