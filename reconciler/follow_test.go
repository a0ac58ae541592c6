package reconciler_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"golang.org/x/tools/txtar"

	"github.com/belay-dev/belay/manifests"
	"github.com/belay-dev/belay/reconciler"
	"github.com/belay-dev/belay/reconciler/ledger"
	"github.com/belay-dev/belay/state"
)

// deployments is an archive with one commit for each image given, which all Deployments named get.
func deployments(commits map[string]string, names ...string) *txtar.Archive {
	a := &txtar.Archive{}
	for commit, image := range commits {
		for _, name := range names {
			a.Files = append(a.Files, txtar.File{Name: commit + "/" + name + ".yaml", Data: fmt.Appendf(nil, `apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s}
spec:
  replicas: 2
  selector: {matchLabels: {app: %[1]s}}
  template:
    metadata: {labels: {app: %[1]s}}
    spec: {containers: [{name: web, image: %[2]q}]}
`, name, image)})
		}
	}
	return a
}

// another makes a source beside the one of the world, with a repository of its own.
func (w *world) another(name, commit string) (reconciler.Source, *fakeRepository) {
	repo := &fakeRepository{trees: map[string]manifests.Tree{}}
	w.pushTo(repo, commit)
	return reconciler.Source{
		Name: name, Branch: "main", Repository: repo, Trigger: never{}, Apps: []reconciler.App{{Name: name, Prune: true}},
		Cache: manifests.NewCache([]manifests.App{{Source: name, Name: name, Namespace: "default"}}, manifests.Options{}),
	}, repo
}

func (w *world) pushTo(repo *fakeRepository, commit string) {
	repo.trees[commit] = w.tree(commit)
	repo.steps = append(repo.steps, reconciler.Step{Kind: reconciler.StepLinear, Hash: commit, Subject: commit, Cause: commit})
}

func (w *world) follow(max int, sources ...reconciler.Source) {
	w.t.Helper()
	if err := w.loop.Follow(w.t.Context(), sources, max); err != nil {
		w.t.Fatal(err)
	}
	synctest.Wait()
}

func (w *world) sync(source string) {
	w.t.Helper()
	if err := w.loop.Sync(w.t.Context(), source, reconciler.SyncOptions{}); err != nil {
		w.t.Fatal(err)
	}
	pass(time.Minute)
}

// version is the resource version of a Deployment: whoever touches it changes it.
func (w *world) version(name string) string {
	w.t.Helper()
	d, ok := state.Get[*appsv1.Deployment](w.store, "default", name)
	if !ok {
		w.t.Fatalf("no Deployment %s", name)
	}
	return d.ResourceVersion
}

// A source that is added begins, one that stays is not touched, one that is taken out keeps running and is not followed,
// and one that comes back goes on from its cursor.
func TestFollowOtherSources(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := deployments(map[string]string{"c1": "web:1", "c2": "web:2"}, "web")
		a.Files = append(a.Files, deployments(map[string]string{"t1": "tool:1"}, "tool").Files...)
		w := newWorld(t, a)
		defer w.stop()
		w.do("push c1 one")
		w.sync("shop")
		before := w.version("web")

		tools, _ := w.another("tools", "t1")
		w.follow(10, w.shop, tools)
		w.sync("tools")
		w.sync("shop")
		if got := w.version("web"); got != before {
			t.Errorf("the source that stayed was touched: version %s, before %s", got, before)
		}
		w.version("tool")

		w.follow(10, tools)
		if err := w.loop.Sync(t.Context(), "shop", reconciler.SyncOptions{}); !errors.Is(err, reconciler.ErrNoSource) {
			t.Errorf("sync of a source that was taken out: %v", err)
		}
		w.do("push c2 two")
		pass(time.Hour)
		if got := w.version("web"); got != before {
			t.Errorf("what was taken out was touched: version %s, before %s", got, before)
		}
		if sources, problems := w.loop.Status(); len(sources) != 1 || sources[0].Name != "tools" || len(problems) != 0 {
			t.Errorf("status: %v %v", sources, problems)
		}

		w.follow(10, w.source(), tools)
		w.sync("shop")
		want := "1  c1 web:1 Complete | one\n2  c2 web:2 Complete | two\n"
		if got := w.history("web"); got != want {
			t.Errorf("the source that came back:\n%swant:\n%s", got, want)
		}
	})
}

// An app that is added to a source begins at the commit that is known already; one that is taken out keeps running.
func TestFollowOtherApps(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, deployments(map[string]string{"c1": "web:1", "c2": "web:2"}, "a/web", "b/web"))
		defer w.stop()
		for i, f := range w.files["c1"] { // the two have names of their own
			for _, commit := range []string{"c1", "c2"} {
				w.files[commit][i].Data = []byte(string(deployments(map[string]string{"x": "web:" + commit[1:]}, f.Name[:1]).Files[0].Data))
			}
		}
		w.apps = []manifests.App{{Source: "shop", Name: "a", Path: "a", Namespace: "default"}, {Source: "shop", Name: "b", Path: "b", Namespace: "default"}}
		w.do("push c1 one")
		w.do("restart")
		w.sync("shop")
		before := w.version("b")

		if _, err := w.store.Commit(state.Create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "other"}})); err != nil {
			t.Fatal(err)
		}
		w.apps = append(w.apps, manifests.App{Source: "shop", Name: "c", Path: "b", Namespace: "other"})
		w.follow(10, w.source())
		w.sync("shop")
		if rows := w.store.Rows("other", "b"); len(rows) != 1 || rows[0].Outcome != ledger.Complete || rows[0].ChangeCause != "one" {
			t.Errorf("an app that was added at a commit known already: %+v", rows)
		}
		w.sync("shop")
		w.follow(10, w.source())
		w.sync("shop")
		if rows := w.store.Rows("other", "b"); len(rows) != 1 || len(w.store.Rows("default", "a")) != 1 {
			t.Errorf("rows without a commit: %+v", rows)
		}

		w.apps = w.apps[:1]
		w.follow(10, w.source())
		w.sync("shop")
		w.do("push c2 two")
		w.sync("shop")
		if got, want := w.history("a"), "1  c1 web:1 Complete | one\n2  c2 web:2 Complete | two\n"; got != want {
			t.Errorf("the app that stayed:\n%swant:\n%s", got, want)
		}
		if got := w.version("b"); got != before {
			t.Errorf("the app that was taken out was touched: version %s, before %s", got, before)
		}
	})
}

// The slot of a rollout that stands still goes to somebody else when its source is taken out, at once and after a restart.
func TestFollowFreesSlots(t *testing.T) {
	t.Parallel()
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprint("restart=", restart), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a := deployments(map[string]string{"c1": "web:1", "c2": "web:missing"}, "web")
				a.Files = append(a.Files, deployments(map[string]string{"t1": "tool:1", "t2": "tool:2"}, "tool").Files...)
				w := newWorld(t, a)
				defer w.stop()
				w.max = 1
				tools, repo := w.another("tools", "t1")
				w.follow(1, w.shop, tools)
				w.do("push c1 one")
				w.sync("shop")
				w.sync("tools")
				w.do("push c2 two")
				w.sync("shop")
				w.pushTo(repo, "t2")
				w.sync("tools")
				if rows := w.store.Rows("default", "tool"); rows[len(rows)-1].Outcome != ledger.Waiting {
					t.Fatalf("the second rollout does not wait:\n%s", w.history("tool"))
				}
				if restart {
					w.stopLoop()
					tools, repo = w.another("tools", "t1")
					w.pushTo(repo, "t2")
					w.startLoop()
				}
				w.follow(1, tools)
				w.sync("tools")
				want := "1  t1 tool:1 Complete | t1\n2  t2 tool:2 Complete | t2\n"
				if got := w.history("tool"); got != want {
					t.Errorf("after the other source was taken out:\n%swant:\n%s", got, want)
				}
			})
		})
	}
}
