package e2e

import (
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Each row changes a tree that is in order and names all that the check says then: a check that cannot fail checks
// nothing.
func TestLayoutCheck(t *testing.T) {
	t.Parallel()
	const doc = "// Package x never sleeps.\n"
	file := func(pkg string, imports ...string) string {
		var b strings.Builder
		b.WriteString(doc + "package " + pkg + "\n")
		for _, imp := range imports {
			b.WriteString("import _ \"" + imp + "\"\n")
		}
		return b.String()
	}
	ours := func(pkg string) string { return module + "/" + pkg }
	inOrder := map[string]string{
		"go.mod":              "module " + module + "\n",
		"README.md":           "# Belay\n",
		".ci/run":             "exec true\n",
		"state/doc.go":        file("state", "go.etcd.io/bbolt", "fmt"),
		"state/state_test.go": "package state\nimport _ \"" + ours("manifests") + "\"\n",
		"reconciler/doc.go":   file("reconciler", ours("state"), ours("reconciler/engine")),
	}

	tests := map[string]struct {
		add  map[string]string
		want []string
	}{
		"in order": {nil, nil},

		"layers": {map[string]string{
			"source/a.go":                 file("source", ours("manifests")),
			"state/b.go":                  file("state", ours("reconciler")),
			"reconciler/rollout/a.go":     file("rollout", ours("reconciler"), ours("reconciler/controller"), ours("source")),
			"reconciler/a.go":             file("reconciler", ours("state/api")),
			"cmd/belay/verbs/a.go":        file("verbs", ours("state"), ours("cmd/belay/control")),
			"manifests/edit/a.go":         file("edit", ours("manifests"), ours("manifests/schema")),
			"reconciler/node/shim/ok.go":  file("shim", ours("state")),
			"cmd/belay/control/client.go": file("control", ours("cmd/belay/app")),
		}, []string{
			"cmd/belay/control/client.go: imports cmd/belay/app: cmd/belay/control may import manifests, state, reconciler, reconciler/...",
			"cmd/belay/verbs/a.go: imports state: cmd/belay/verbs may import cmd/belay/app, cmd/belay/control",
			"manifests/edit/a.go: imports manifests/schema: manifests/edit may import manifests",
			"reconciler/a.go: imports state/api: reconciler may import reconciler/..., manifests, state",
			"reconciler/rollout/a.go: imports reconciler: reconciler/rollout may import reconciler/..., manifests, manifests/edit, state",
			"reconciler/rollout/a.go: imports source: reconciler/rollout may import reconciler/..., manifests, manifests/edit, state",
			"source/a.go: imports manifests: source may import source/merge",
			"state/b.go: imports reconciler: state may import no package of this module",
		}},
		"parents and children": {map[string]string{
			"e2e/cli/doc.go":              file("cli"),
			"source/a.go":                 file("source", ours("source/trigger")),
			"source/trigger/a.go":         file("trigger", ours("source")),
			"reconciler/node/a.go":        file("node", ours("reconciler/node/simulated")),
			"reconciler/node/docker/a.go": file("docker", ours("reconciler/node")),
		}, []string{
			"reconciler/node/a.go: imports reconciler/node/simulated: a parent never imports its child",
			"source/a.go: imports source/trigger: a parent never imports its child",
		}},
		"heavy modules": {map[string]string{
			"manifests/a.go":            file("manifests", "sigs.k8s.io/kustomize/api/krusty", "github.com/go-git/go-git/v5/plumbing"),
			"state/api/a.go":            file("api", "k8s.io/apiserver/pkg/server", "k8s.io/kubernetes/pkg/apis/apps", "go.etcd.io/bbolt"),
			"reconciler/node/a.go":      file("node", "github.com/moby/moby/client", "k8s.io/kubernetesque"),
			"source/a.go":               file("source", "os/exec"),
			"reconciler/rollout/a.go":   "//go:build deps\n\npackage rollout\n\nimport _ \"k8s.io/kubernetes/pkg/controller\"\n",
			"reconciler/rollout/doc.go": file("rollout"),
		}, []string{
			"manifests/a.go: imports github.com/go-git/go-git/v5/plumbing: only source may",
			"reconciler/node/a.go: imports github.com/moby/moby/client: only reconciler/node/docker may",
			"reconciler/rollout/a.go: imports k8s.io/kubernetes/pkg/controller: only manifests/schema, state/api may",
			"source/a.go: imports os/exec: only cmd/belay/verbs, reconciler/node/embedded/shim may",
			"state/api/a.go: imports go.etcd.io/bbolt: only state may",
		}},
		"tests": {map[string]string{
			"reconciler/a_test.go":       file("reconciler", "github.com/go-git/go-git/v5", "k8s.io/kubernetes/pkg/controller"),
			"manifests/schema/a_test.go": file("schema", "k8s.io/kubernetes/pkg/apis/apps"),
			"e2e/oracle_test.go":         file("e2e", "k8s.io/kubernetes/pkg/controller"),
		}, []string{
			"reconciler/a_test.go: imports k8s.io/kubernetes/pkg/controller: only manifests/schema, state/api may, and the oracle in e2e",
		}},
		"outside world": {map[string]string{
			"manifests/a.go":          file("manifests", "os"),
			"manifests/schema/a.go":   file("schema", "net/http", "net/url"),
			"reconciler/rollout/a.go": file("rollout", "os", "time"),
			"source/a.go":             file("source", "os"),
		}, []string{
			"manifests/a.go: imports os: it does no I/O of its own",
			"manifests/schema/a.go: imports net/http: it does no I/O of its own",
			"reconciler/rollout/a.go: imports os: it reaches the world through an Engine only",
		}},
		"pure files": {map[string]string{
			"reconciler/rollout/plan.go":  file("rollout", "context", "github.com/rs/zerolog", ours("reconciler/controller"), "time"),
			"reconciler/rollout/shell.go": file("rollout", "context", "github.com/rs/zerolog", ours("reconciler/controller")),
			"source/plan.go":              file("source", "context"),
		}, []string{
			"reconciler/rollout/plan.go: imports context: this file decides, and does nothing else",
			"reconciler/rollout/plan.go: imports " + ours("reconciler/controller") + ": this file decides, and does nothing else",
			"reconciler/rollout/plan.go: imports github.com/rs/zerolog: this file decides, and does nothing else",
		}},
		"shim": {map[string]string{
			"cmd/belay-shim/main.go":                file("main", "os", "golang.org/x/sys/unix", ours("reconciler/node/embedded/shim")),
			"reconciler/node/embedded/shim/shim.go": file("shim", "github.com/rs/zerolog", ours("state"), "os/exec"),
		}, []string{
			"reconciler/node/embedded/shim/shim.go: imports github.com/rs/zerolog: only the standard library and golang.org/x/sys may be",
			"reconciler/node/embedded/shim/shim.go: imports state: reconciler/node/embedded/shim may import no package of this module",
		}},
		"names and places": {map[string]string{
			"reconciler/util/a.go":     file("util"),
			"reconciler/node/a.go":     file("common"),
			"pkg/a.go":                 file("pkg"),
			"cmd/other/main.go":        file("main", ours("state")),
			"notes.txt":                "",
			"e2e/testdata/util/bad.go": "not Go",
		}, []string{
			"cmd/other: the layout has no such package",
			"notes.txt: notes.txt has no place at the top level",
			"pkg/a.go: pkg has no place at the top level",
			"pkg: the layout has no such package",
			"reconciler/node/a.go: package common says nothing about what it owns",
			"reconciler/util/a.go: package util says nothing about what it owns",
		}},
		"package comments": {map[string]string{
			"source/a.go":         "// Package source owns Git.\npackage source\n",
			"source/a_test.go":    file("source"),
			"manifests/a.go":      "package manifests\n",
			"manifests/b.go":      file("manifests"),
			"state/api/deps.go":   "//go:build deps\n\n" + file("api"),
			"state/api/a_test.go": file("api"),
			"e2e/a_test.go":       "package e2e\n",
		}, []string{
			"source: no package comment that says what it never does",
			"state/api: no package comment that says what it never does",
		}},
		"sizes": {map[string]string{
			"state/long.go":       file("state") + strings.Repeat("\n", 449),
			"state/most.go":       file("state") + strings.Repeat("\n", 448),
			"state/l_test.go":     "package state\n" + strings.Repeat("\n", 450),
			"cmd/belay/main.go":   file("main") + strings.Repeat("\n", 20),
			"cmd/belay/more.go":   file("main") + strings.Repeat("\n", 20),
			"cmd/belay/deps.go":   "//go:build deps\n\npackage main\n" + strings.Repeat("\n", 20),
			"cmd/belay/x_test.go": "package main\n" + strings.Repeat("\n", 20),
		}, []string{
			"cmd/belay: 44 lines, more than 30",
			"state/l_test.go: 451 lines, more than 450",
			"state/long.go: 451 lines, more than 450",
		}},
		"sleeping": {map[string]string{
			"state/a.go":      file("state", "time") + "\nfunc f() { time.Sl" + "eep(1) }\n",
			"state/a_test.go": "package state\nimport \"time\"\nfunc f() { time.Sl" + "eep(1) }\n",
			"state/b_test.go": "package state\nimport (\n\"testing/synctest\"\n\"time\"\n)\nfunc f() { time.Sl" + "eep(1) }\n",
		}, []string{
			"state/a.go: sleeps outside a synctest bubble: wait for the event",
			"state/a_test.go: sleeps outside a synctest bubble: wait for the event",
		}},
		"machine paths": {map[string]string{
			"README.md":   "see\n/ho" + "me/alice/belay\n",
			"e2e/a.md":    "/wo" + "rk/main/x",
			"e2e/good.md": "/var/home /workspace /root-less",
		}, []string{
			"README.md:2: names a path of somebody's machine: /ho" + "me/",
			"e2e/a.md:1: names a path of somebody's machine: /wo" + "rk/main",
		}},
		"module": {map[string]string{
			"go.mod": "module example.com/x\n\nreplace a => ../a\n",
		}, []string{
			`go.mod: "module example.com/x", want module github.com/belay-dev/belay`,
			"go.mod: replaces a module by a directory",
		}},
		"not Go": {map[string]string{"state/bad.go": "pakage state\n"}, []string{
			"state/bad.go: state/bad.go:1:1: expected 'package', found pakage",
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tree := maps.Clone(inOrder)
			maps.Copy(tree, tt.add)
			if diff := cmp.Diff(tt.want, check(tree)); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}
