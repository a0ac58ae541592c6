package change

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	appsv1 "k8s.io/api/apps/v1"
	"pgregory.net/rapid"

	"github.com/belay-dev/belay/manifests"
	"github.com/belay-dev/belay/reconciler/rollback"
)

// world is a repository to draw histories of: web and api, in one file or in two, plain or as overlays of a shared base,
// with a ConfigMap that one or both name.
type world struct {
	together, overlays, shared bool
	image, replicas            map[string]int
	level, conf                int
}

func (w world) manifest(name string) string {
	env := ""
	if name == "web" || w.shared {
		env = "        envFrom: [{configMapRef: {name: conf}}]\n"
	}
	return fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s}   # %[1]s
spec:
  replicas: %[2]d
  selector: {matchLabels: {app: %[1]s}}
  template:
    metadata: {labels: {app: %[1]s}}
    spec:
      containers:
      # the only one
      - name: main
        image: "%[1]s:%[3]d"
        args: [--level=%[4]d]
%[5]s`, name, w.replicas[name], w.image[name], w.level, env)
}

func (w world) tree() fstest.MapFS {
	files := map[string]string{"apps/conf.yaml": fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: conf}\ndata: {v: \"%d\"}\n", w.conf)}
	switch {
	case w.overlays:
		files["base/kustomization.yaml"] = "resources: [web.yaml]\n"
		files["base/web.yaml"] = w.manifest("web")
		for _, name := range []string{"web", "api"} {
			suffix := ""
			if name == "api" {
				suffix = "nameSuffix: -api\n"
			}
			files["apps/"+name+"/kustomization.yaml"] = fmt.Sprintf("resources: [../../base]\n%simages:\n- name: web\n  newTag: \"%d\" # ours\n", suffix, w.image[name])
		}
	case w.together:
		files["apps/all.yaml"] = w.manifest("web") + "---\n" + w.manifest("api")
	default:
		files["apps/web.yaml"], files["apps/api.yaml"] = w.manifest("web"), w.manifest("api")
	}
	out := fstest.MapFS{}
	for name, text := range files {
		out[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return out
}

// step changes one or two things.
func (w world) step(t *rapid.T) world {
	w.image, w.replicas = maps.Clone(w.image), maps.Clone(w.replicas)
	for range rapid.IntRange(1, 2).Draw(t, "changes") {
		name := rapid.SampledFrom([]string{"web", "api"}).Draw(t, "name")
		n := rapid.IntRange(1, 3).Draw(t, "to")
		switch rapid.IntRange(0, 4).Draw(t, "what") {
		case 0, 1:
			w.image[name] = n
		case 2:
			w.replicas[name] = n
		case 3:
			w.level = n
		default:
			w.conf = n
		}
	}
	return w
}

// Whatever the history: a change that is made changes the Deployment's pod template to the wished one and nothing else but
// ConfigMaps of its own. Rendered from nothing, by nothing that the planner uses to decide.
func TestNothingElseChanges(t *testing.T) {
	t.Parallel()
	apps := []manifests.App{{Source: "s", Name: "shop", Path: "apps", Namespace: "default"}}
	render := func(t *rapid.T, tree manifests.Tree) map[manifests.ID]manifests.Object {
		c := manifests.NewCache(apps, manifests.Options{})
		if _, err := c.Sync(t.Context(), tree, "x"); err != nil || len(c.Problems()) > 0 {
			t.Fatal(err, c.Problems())
		}
		out := map[manifests.ID]manifests.Object{}
		for _, o := range c.Objects() {
			out[o.ID] = o
		}
		return out
	}
	made := map[rollback.Mode]int{}
	rapid.Check(t, func(t *rapid.T) {
		w := world{
			together: rapid.Bool().Draw(t, "together"), overlays: rapid.Bool().Draw(t, "overlays"), shared: rapid.Bool().Draw(t, "shared"),
			image: map[string]int{"web": 1, "api": 1}, replicas: map[string]int{"web": 1, "api": 1}, level: 1, conf: 1,
		}
		h := history{w.tree()}
		for range rapid.IntRange(1, 4).Draw(t, "commits") {
			w = w.step(t)
			h = append(h, w.tree())
		}
		base := manifests.NewCache(apps, manifests.Options{})
		if _, err := base.Sync(t.Context(), manifests.DirTree(h[0]), "1"); err != nil {
			t.Fatal(err)
		}
		web := id("web")
		var commits []string
		last := rendered(t, render(t, manifests.DirTree(h[0])), web)
		for i, tree := range h[1:] {
			if is := rendered(t, render(t, manifests.DirTree(tree)), web); rollback.Bare(&is.Spec.Template) != rollback.Bare(&last.Spec.Template) {
				commits, last = append(commits, fmt.Sprint(i+2)), is
			}
		}
		slices.Reverse(commits)
		then := render(t, manifests.DirTree(h[0]))
		task := Task{Wish: Wish{ID: web, Template: &rendered(t, then, web).Spec.Template}, Commits: commits}
		if rapid.Bool().Draw(t, "known") {
			task.Then = "1"
		}
		p, err := Make(t.Context(), base, h, task)
		if err != nil {
			t.Fatal(err)
		}
		if p.Mode == rollback.ModeHold {
			made["hold"]++
			return
		}
		made[p.Mode]++
		after := manifests.Overlay(manifests.DirTree(h[len(h)-1]), p.Files)
		if p.Mode == rollback.ModeRevert {
			if after, _, err = h.Reverted(t.Context(), p.Commits); err != nil {
				t.Fatal(err)
			}
		}
		compare(t, p, web, render(t, manifests.DirTree(h[len(h)-1])), render(t, after), then)
	})
	if !testing.Short() && (made[rollback.ModeRevert] == 0 || made[rollback.ModeRestore] == 0 || made["hold"] == 0) {
		t.Errorf("some way was never taken: %v", made)
	}
}

func rendered(t *rapid.T, objects map[manifests.ID]manifests.Object, id manifests.ID) *appsv1.Deployment {
	d, ok := objects[id].Object.(*appsv1.Deployment)
	if !ok {
		t.Fatalf("no %s", id)
	}
	return d
}

func compare(t *rapid.T, p Plan, web manifests.ID, before, after, then map[manifests.ID]manifests.Object) {
	for _, f := range p.Touched {
		if !strings.HasPrefix(f, "apps/") {
			t.Fatalf("%s is touched", f)
		}
	}
	if len(before) != len(after) {
		t.Fatalf("%d objects were %d", len(after), len(before))
	}
	for id, o := range after {
		if id != web && o.Digest != before[id].Digest && (id.Kind != "ConfigMap" || namedByOther(before, web)) {
			t.Fatalf("%s changes too", id)
		}
	}
	is, was, wished := rendered(t, after, web), rendered(t, before, web), rendered(t, then, web)
	if rollback.Bare(&is.Spec.Template) != rollback.Bare(&wished.Spec.Template) {
		t.Fatal("the template is not the wished one")
	}
	left := was.DeepCopy()
	left.Spec.Template = is.Spec.Template
	if d := manifests.Diff(left, is); len(d) > 0 {
		t.Fatalf("another field changes: %v", d)
	}
}

// namedByOther tells whether another Deployment takes its environment from a ConfigMap.
func namedByOther(objects map[manifests.ID]manifests.Object, web manifests.ID) bool {
	for id, o := range objects {
		if d, ok := o.Object.(*appsv1.Deployment); ok && id != web && len(d.Spec.Template.Spec.Containers[0].EnvFrom) > 0 {
			return true
		}
	}
	return false
}
