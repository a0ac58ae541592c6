package reconciler_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/tools/txtar"
	appsv1 "k8s.io/api/apps/v1"

	"github.com/belay-dev/belay/manifests"
	"github.com/belay-dev/belay/reconciler"
	"github.com/belay-dev/belay/reconciler/controller"
	"github.com/belay-dev/belay/reconciler/embedded"
	"github.com/belay-dev/belay/reconciler/event"
	"github.com/belay-dev/belay/reconciler/garbage"
	"github.com/belay-dev/belay/reconciler/ledger"
	"github.com/belay-dev/belay/reconciler/node"
	"github.com/belay-dev/belay/reconciler/node/simulated"
	"github.com/belay-dev/belay/reconciler/replicaset"
	"github.com/belay-dev/belay/reconciler/rollback"
	"github.com/belay-dev/belay/reconciler/rollout"
	"github.com/belay-dev/belay/state"
)

var rewrite = flag.Bool("rewrite", false, "write what the scenarios print into their files; read the difference before you commit it")

// TestScenarios plays every file of testdata: a script of commands (`$ …`), each followed by what it prints, and the
// files of each commit as COMMIT/path. See the verbs in (*world).do.
func TestScenarios(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var got []byte
			synctest.Test(t, func(t *testing.T) { got = play(t, archive) })
			if bytes.Equal(got, archive.Comment) {
				return
			}
			if !*rewrite {
				t.Fatalf("the scenario prints something else:\n%s", got)
			}
			archive.Comment = got
			if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// play runs the script and returns it with what its commands print now.
func play(t *testing.T, archive *txtar.Archive) []byte {
	w := newWorld(t, archive)
	defer w.stop()
	var out bytes.Buffer
	for line := range strings.Lines(string(archive.Comment)) {
		switch command, ok := strings.CutPrefix(line, "$ "); {
		case ok:
			out.WriteString(line)
			out.WriteString(w.do(strings.TrimSpace(command)))
		case strings.HasPrefix(line, "#") || strings.TrimSpace(line) == "":
			out.WriteString(line)
		}
	}
	return out.Bytes()
}

// world is one source, its loop and everything that runs below it, in a bubble of fake time.
type world struct {
	t     *testing.T
	files map[string][]txtar.File
	repo  *fakeRepository
	store *state.Store
	apps  []manifests.App
	prune bool
	max   int
	past  int // older commits to import

	onFailure rollback.OnFailure

	windows []reconciler.Window

	shop      reconciler.Source // as the loop got it
	loop      *reconciler.Loop
	stopLoop  func()
	stopNodes func()
}

func newWorld(t *testing.T, archive *txtar.Archive) *world {
	w := &world{
		t: t, files: map[string][]txtar.File{}, repo: &fakeRepository{trees: map[string]manifests.Tree{}},
		apps: []manifests.App{{Source: "shop", Name: "shop", Namespace: "default"}}, prune: true, max: 10,
	}
	for _, f := range archive.Files {
		commit, name, _ := strings.Cut(f.Name, "/")
		w.files[commit] = append(w.files[commit], txtar.File{Name: name, Data: f.Data})
	}
	store, err := state.OpenMemory(state.Options{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	w.store = store
	w.start()
	return w
}

func (w *world) start() {
	options := simulated.Options{Delay: time.Second, Stop: time.Second, Images: map[string]simulated.Behaviour{
		"web:missing": simulated.Missing, "web:bad": simulated.Unready,
	}}
	log := zerolog.Nop()
	recorder := event.NewRecorder(w.store, "test", time.Now)
	w.stopNodes = w.background(
		rollout.New(w.store, recorder, log, time.Now), replicaset.New(w.store, recorder, log, time.Now),
		garbage.New(w.store, log, time.Now), node.New(w.store, simulated.New(options), log, time.Now),
	)
	w.startLoop()
}

// background runs controllers and returns what ends them and waits for it.
func (w *world) background(controllers ...controller.Config) func() {
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, len(controllers))
	for _, c := range controllers {
		go func() { done <- controller.Run(ctx, w.store, c) }()
	}
	return func() {
		cancel()
		for range controllers {
			if err := <-done; err != nil {
				w.t.Errorf("controller: %v", err)
			}
		}
	}
}

// source is the one source of a scenario, as its world is set now.
func (w *world) source() reconciler.Source {
	src := reconciler.Source{
		Name: "shop", Branch: "main", Repository: w.repo, Trigger: never{}, Cache: manifests.NewCache(w.apps, manifests.Options{}),
		Import: w.past, Windows: w.windows,
	}
	for _, a := range w.apps {
		src.Apps = append(src.Apps, reconciler.App{Name: a.Name, Path: a.Path, Prune: w.prune, OnFailure: w.onFailure})
	}
	return src
}

func (w *world) startLoop() {
	w.shop = w.source()
	w.loop = reconciler.New(reconciler.Options{
		Store: w.store, Engine: embedded.New(w.store, nil), Sources: []reconciler.Source{w.shop}, MaxRollouts: w.max,
		Now: time.Now, Log: zerolog.Nop(), Recorder: event.NewRecorder(w.store, "belay", time.Now),
	})
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() { done <- w.loop.Run(ctx) }()
	w.stopLoop = func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("loop: %v", err)
		}
	}
}

func (w *world) stop() {
	w.stopLoop()
	w.stopNodes()
	if err := w.store.Close(); err != nil {
		w.t.Errorf("close: %v", err)
	}
}

// pass lets fake time go on.
func pass(d time.Duration) { <-time.After(d); synctest.Wait() }

// do carries out one command and returns what it prints.
func (w *world) do(command string) string {
	verb, rest, _ := strings.Cut(command, " ")
	switch verb {
	case "push": // COMMIT [kind=KIND] [reverts=COMMIT] [releases=NAME] MESSAGE: a new head
		return w.push(rest)
	case "sync": // [prune] [accept-render] [override=WHY]: look once, and let a minute pass
		o := reconciler.SyncOptions{Prune: strings.Contains(rest, "prune"), AcceptRender: strings.Contains(rest, "accept-render")}
		_, o.OverrideWindow, _ = strings.Cut(rest, "override=")
		out := failure(w.loop.Sync(w.t.Context(), "shop", o))
		pass(time.Minute)
		return out
	case "look": // look once, and let what follows at the same instant happen, but no time pass
		out := failure(w.loop.Sync(w.t.Context(), "shop", reconciler.SyncOptions{}))
		synctest.Wait()
		return out
	case "suspend", "resume":
		out := failure(w.loop.Suspend(w.t.Context(), "shop", verb == "suspend"))
		pass(time.Minute)
		return out
	case "tick": // DURATION
		d, err := time.ParseDuration(rest)
		if err != nil {
			return failure(err)
		}
		pass(d)
		return ""
	case "restart": // the loop begins anew over the same store
		w.stopLoop()
		w.startLoop()
		synctest.Wait()
		return ""
	case "max-rollouts":
		n, err := strconv.Atoi(rest)
		w.max = n
		return failure(err) + w.do("restart")
	case "import": // N: older commits that the first sync imports
		n, err := strconv.Atoi(rest)
		w.past = n
		return failure(err) + w.do("restart")
	case "forget": // COMMIT: its files cannot be read any more
		delete(w.repo.trees, rest)
		return ""
	case "rerender": // COMMIT AS: what the commit renders to is from now on what another one does
		commit, as, _ := strings.Cut(rest, " ")
		w.repo.trees[commit] = w.tree(as)
		return ""
	case "stable": // NAME: the commits whose templates are stable
		var out []string
		rows := w.store.Rows("default", rest)
		for _, r := range rows {
			if ledger.Stable(rows, r.Template) {
				out = append(out, r.Commit)
			}
		}
		return strings.Join(out, " ") + "\n"
	case "windows": // [allow|deny DURATION SCHEDULE; ...]
		return w.setWindows(rest)
	case "waiting": // NAME: why the newest row of a Deployment waits, or who did not let it
		rows := w.store.Rows("default", rest)
		r := rows[len(rows)-1]
		return fmt.Sprintf("%s %s: %s%s\n", r.Commit, r.Outcome, r.Message, r.Override)
	case "on-failure": // none|hold
		w.onFailure = rollback.OnFailure(rest)
		return w.do("restart")
	case "down": // DURATION: nothing runs, neither the loop nor the controllers
		w.stopLoop()
		w.stopNodes()
		out := w.do("tick " + rest)
		w.start()
		synctest.Wait()
		return out
	case "no-prune":
		w.prune = false
		return w.do("restart")
	case "fetch-fails":
		w.repo.err = errors.New(rest)
		return ""
	case "delete": // KIND NAME: somebody deletes an object behind Git's back
		kind, name, _ := strings.Cut(rest, " ")
		_, err := w.store.Commit(state.Delete(state.Key{Kind: state.Kind(kind), Namespace: "default", Name: name}, state.DeleteOptions{}))
		pass(time.Minute)
		return failure(err)
	case "scale": // NAME N: somebody scales what Git does not
		return w.scale(rest)
	case "history":
		return w.history(rest)
	case "commits":
		return w.commits()
	case "configs": // NAME: what the templates of a Deployment's rows name, and what that held
		return w.configs(rest)
	case "get":
		return w.get()
	case "problems":
		return w.problems()
	}
	return w.goBack(verb, rest)
}

func (w *world) scale(rest string) string {
	var name string
	var n int32
	if _, err := fmt.Sscanf(rest, "%s %d", &name, &n); err != nil {
		w.t.Fatal(err)
	}
	d, ok := state.Get[*appsv1.Deployment](w.store, "default", name)
	if !ok {
		return "no such Deployment\n"
	}
	d = d.DeepCopy()
	d.Spec.Replicas = &n
	_, err := w.store.Commit(state.Update(d))
	pass(time.Minute)
	return failure(err)
}

func (w *world) setWindows(rest string) string {
	w.windows = nil
	for text := range strings.SplitSeq(rest, "; ") {
		kind, text, _ := strings.Cut(text, " ")
		duration, schedule, _ := strings.Cut(text, " ")
		d, err := time.ParseDuration(duration)
		if err != nil {
			w.t.Fatal(err)
		}
		w.windows = append(w.windows, window(w.t, kind == "deny", schedule, d))
	}
	return w.do("restart")
}

func failure(err error) string {
	if err == nil {
		return ""
	}
	return "error: " + err.Error() + "\n"
}

func (w *world) push(rest string) string {
	hash, message, _ := strings.Cut(rest, " ")
	step := reconciler.Step{
		Kind: reconciler.StepLinear, Hash: hash, Author: "Alice <alice@example.com>", CommittedAt: time.Now(), Subject: message, Cause: message,
	}
	for rest := message; ; step.Subject, step.Cause = rest, rest {
		option, after, _ := strings.Cut(rest, " ")
		key, value, ok := strings.Cut(option, "=")
		switch {
		case ok && key == "kind":
			step.Kind = reconciler.StepKind(value)
		case ok && key == "reverts":
			step.Reverts = append(step.Reverts, value)
		case ok && key == "releases": // of the Deployment named: the newest mark, and the hold of that ID
			marks := w.store.Marks("default", value)
			step.Releases = append(step.Releases, marks[len(marks)-1].ID)
		default:
			ok = false
		}
		if !ok {
			break
		}
		rest = after
	}
	if _, ok := w.repo.trees[hash]; !ok {
		w.repo.trees[hash] = w.tree(hash)
	}
	w.repo.steps = append(w.repo.steps, step)
	return ""
}

func (w *world) tree(commit string) manifests.Tree {
	fsys, err := txtar.FS(&txtar.Archive{Files: w.files[commit]})
	if err != nil {
		w.t.Fatal(err)
	}
	return manifests.DirTree(fsys)
}

func (w *world) history(name string) string {
	var b strings.Builder
	rows := w.store.Rows("default", name)
	by := map[string]string{}
	for _, r := range rows {
		by[r.ID] = cmp.Or(r.Commit, r.Operation)
	}
	for _, r := range rows {
		if r.Fills != "" {
			continue // it is seen in the row that it fills
		}
		revision := "-"
		if r.Revision > 0 {
			revision = strconv.FormatInt(r.Revision, 10)
		}
		outcome := string(r.Outcome)
		switch {
		case r.SupersededBy != "":
			outcome += "(by " + by[r.SupersededBy] + ")"
		case r.RolledBackBy != "":
			outcome += "(by " + by[r.RolledBackBy] + ")"
		case r.Reason != "":
			outcome += "(" + r.Reason + ")"
		}
		fmt.Fprintf(&b, "%-2s %s %s %s | %s\n", revision, cmp.Or(r.Commit, r.Operation+" by "+r.By), strings.Join(r.Images, ","), outcome, r.ChangeCause)
	}
	return b.String()
}

func (w *world) commits() string {
	var b strings.Builder
	for _, c := range w.store.Commits("shop", 0) {
		fmt.Fprintf(&b, "%d %s %s\n", c.Step, c.Hash, ledger.CommitOutcome(c, w.store.RowsOf("shop", c.Step)))
	}
	return b.String()
}

// get prints the live Deployments with their ReplicaSets' revisions, and the names of all else that is managed.
func (w *world) get() string {
	var b strings.Builder
	for _, d := range state.List[*appsv1.Deployment](w.store, "default") {
		fmt.Fprintf(&b, "%s %s %d/%d ready", d.Name, strings.Join(reconciler.Images(d), ","), d.Status.ReadyReplicas, *d.Spec.Replicas)
		sets := state.OwnedBy[*appsv1.ReplicaSet](w.store, d.UID)
		slices.SortFunc(sets, func(a, b *appsv1.ReplicaSet) int { return cmp.Compare(revisionOf(a), revisionOf(b)) })
		for _, rs := range sets {
			fmt.Fprintf(&b, " | %d: %s %d", revisionOf(rs), rs.Spec.Template.Spec.Containers[0].Image, *rs.Spec.Replicas)
		}
		b.WriteString("\n")
	}
	for _, m := range w.store.Inventory("shop") {
		if m.Key.Kind != state.KindDeployment {
			fmt.Fprintf(&b, "%s\n", m.Key)
		}
	}
	return b.String()
}

func revisionOf(rs *appsv1.ReplicaSet) int64 {
	n, _ := rollout.Revision(rs.Annotations)
	return n
}

func (w *world) problems() string {
	var b strings.Builder
	sources, held := w.loop.Status()
	for _, s := range sources {
		if s.Err != nil {
			fmt.Fprintf(&b, "%s: %v\n", s.Name, s.Err)
		}
		for _, p := range s.Problems {
			fmt.Fprintln(&b, p)
		}
	}
	for _, p := range held {
		fmt.Fprintln(&b, p)
	}
	return b.String()
}
