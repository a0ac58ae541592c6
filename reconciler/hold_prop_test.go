package reconciler

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/dump"
	"pgregory.net/rapid"

	"github.com/belay-dev/belay/manifests"
	"github.com/belay-dev/belay/reconciler/engine"
	"github.com/belay-dev/belay/reconciler/rollback"
	"github.com/belay-dev/belay/reconciler/rollout"
	"github.com/belay-dev/belay/state"
)

// atOnce is an engine in which every rollout ends at once, as the test says: complete, or not.
type atOnce struct {
	store    *state.Store
	live     map[engine.Key]*appsv1.Deployment
	revision map[string]int64 // by template
	phase    engine.Phase
	uid      int
	began    func(before, after *appsv1.Deployment)
}

func (e *atOnce) Live(k engine.Key) engine.Live {
	d := e.live[k]
	if d == nil {
		return engine.Live{}
	}
	digest := rollout.Digest(&d.Spec.Template)
	l := engine.Live{Object: d, Rollout: engine.Rollout{Phase: e.phase, Template: digest, Revision: e.revision[digest], ReplicaSet: digest}}
	if d.Spec.Paused && e.phase != engine.PhaseComplete {
		l.Rollout.Phase = engine.PhasePaused
	}
	return l
}

func (e *atOnce) Apply(_ context.Context, c engine.Change) error {
	before := e.live[c.Key]
	if c.Desired == nil {
		_, err := e.store.Commit(c.Ledger...)
		if err == nil {
			delete(e.live, c.Key)
		}
		return err
	}
	var old state.Object
	if before != nil {
		old = before
	}
	after := engine.Merge(old, c).(*appsv1.Deployment)
	digest := rollout.Digest(&after.Spec.Template)
	anew := before == nil || digest != rollout.Digest(&before.Spec.Template)
	if anew {
		e.began(before, after)
	}
	if _, err := e.store.Commit(c.Ledger...); err != nil { // both or none
		return err
	}
	if before == nil {
		e.uid++
		after.UID = types.UID(strconv.Itoa(e.uid))
		e.revision = map[string]int64{}
	}
	if anew {
		var newest int64
		for _, n := range e.revision {
			newest = max(newest, n)
		}
		e.revision[digest] = newest + 1
	}
	e.live[c.Key] = after
	return nil
}

func (e *atOnce) Watch(ctx context.Context, _ func([]engine.Key)) error {
	<-ctx.Done()
	return ctx.Err()
}
func (e *atOnce) Supports(state.Object) []engine.Unsupported { return nil }

// walk is a random history of one Deployment.
type walk struct {
	t      failing
	draw   *rapid.T // nil: nothing is drawn
	drawn  []int    // so far
	replay []int    // instead of drawing
	store  *state.Store
	engine *atOnce
	loop   *Loop
	source *follower
	now    time.Time
	step   int
	asked  bool // a person asked for what happens now
	kill   int  // the transaction, from now on, before which the process is killed; 0: none
}

// pick draws one of n, or takes what another walk drew.
func (w *walk) pick(n int, label string) int {
	if w.replay != nil {
		i := w.replay[0]
		w.replay = w.replay[1:]
		return i
	}
	i := rapid.IntRange(0, n-1).Draw(w.draw, label)
	w.drawn = append(w.drawn, i)
	return i
}

var walkKey = engine.Key{Kind: state.KindDeployment, Namespace: "default", Name: "web"}

func newWalk(t failing) *walk {
	w := &walk{t: t, now: epoch}
	store, err := state.OpenMemory(state.Options{Now: w.clock})
	if err != nil {
		t.Fatal(err)
	}
	return w.over(store)
}

// over lets the history be written into a store.
func (w *walk) over(store *state.Store) *walk {
	w.store = store
	w.engine = &atOnce{store: store, live: map[engine.Key]*appsv1.Deployment{}, phase: engine.PhaseComplete, began: w.began}
	w.begin(nil)
	return w
}

// failing is what a walk needs of a test.
type failing interface {
	Fatal(...any)
	Fatalf(string, ...any)
}

// begin makes a loop over what is stored, which wants what the one before did.
func (w *walk) begin(desired map[engine.Key]*Desired) {
	src := Source{Name: "shop", Cache: manifests.NewCache(nil, manifests.Options{}), Apps: []App{{Name: "shop", Prune: true}}}
	w.loop = New(Options{Store: w.store, Engine: w.engine, Sources: []Source{src}, Now: func() time.Time { return w.now }, Log: zerolog.Nop()})
	w.loop.work.load(w.store, w.loop.configured)
	w.source = w.loop.followers()[0]
	w.source.based = true
	if desired != nil {
		w.source.desired = desired
	}
}

// began is told of every rollout: none is onto a tainted template, but those that a person asked for.
func (w *walk) began(_, after *appsv1.Deployment) {
	if w.asked {
		return
	}
	t := &after.Spec.Template
	if bad := rollback.Tainted(t, rollback.Bare(t), w.store.Marks("default", "web")); len(bad) > 0 {
		w.t.Fatalf("a rollout begins onto what is bad: %v", bad)
	}
}

// commit makes a commit the newest; without an image it removes the manifest.
func (w *walk) commit(image, mode string, replicas int32) {
	if w.source.cursor.Suspended {
		return // nothing is recorded
	}
	w.step++
	before := w.source.desired[walkKey]
	var after *Desired
	hash := fmt.Sprintf("c%d", w.step)
	if image != "" {
		d := running("web", image)
		d.Spec.Replicas = &replicas
		if mode != "" {
			d.Spec.Template.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "MODE", Value: mode}}
		}
		object := manifests.Object{Object: d, App: "shop", File: "web.yaml", Digest: image + mode + strconv.Itoa(int(replicas))}
		after = w.source.want(object, hash)
	}
	if before == nil && after == nil {
		return
	}
	st := Step{Kind: StepLinear, Hash: hash, Cause: hash}
	if marks := w.store.AllMarks(); w.draw != nil && len(marks) > 0 && w.pick(10, "releases") == 0 {
		st.Releases = []string{marks[0].ID}
		w.asked = true
	}
	if after == nil {
		delete(w.source.desired, walkKey)
	} else {
		w.source.desired[walkKey] = after
	}
	if _, err := w.loop.record(w.source, []Rendered{{Step: st, Deltas: []Delta{{Key: walkKey, Before: before, After: after}}}}); err != nil {
		w.t.Fatal(err)
	}
	w.settle()
}

// running is a Deployment as package manifests gives it: defaulted and valid.
func running(name, image string) *appsv1.Deployment {
	d := deployment(name, image)
	grace := int64(30)
	d.Spec.RevisionHistoryLimit, d.Spec.ProgressDeadlineSeconds = new(int32(10)), new(int32(600))
	d.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}
	pod := &d.Spec.Template.Spec
	pod.RestartPolicy, pod.DNSPolicy, pod.SchedulerName = corev1.RestartPolicyAlways, corev1.DNSClusterFirst, corev1.DefaultSchedulerName
	pod.TerminationGracePeriodSeconds, pod.SecurityContext = &grace, &corev1.PodSecurityContext{}
	c := &pod.Containers[0]
	c.ImagePullPolicy, c.TerminationMessagePath = corev1.PullIfNotPresent, corev1.TerminationMessagePathDefault
	c.TerminationMessagePolicy = corev1.TerminationMessageReadFile
	return d
}

// settle plans until nothing moves: what a rollout comes to is seen in the next pass.
func (w *walk) settle() {
	for range 5 {
		w.loop.pass(context.Background(), []engine.Key{walkKey})
	}
}

// refusable fails on every error that is no refusal.
func (w *walk) refusable(err error) {
	if _, ok := errors.AsType[*rollback.Refusal](err); err != nil && !ok {
		w.t.Fatal(err)
	}
}

func (w *walk) revisionOf(label string) int64 {
	return int64(w.pick(2+len(w.engine.revision), label))
}

// actions are what may happen.
func (w *walk) actions() map[string]func() {
	ctx := context.Background()
	images, modes := []string{"web:1", "web:2", "web:3"}, []string{"", "fast", "slow"}
	return map[string]func(){
		"commit": func() {
			w.commit(images[w.pick(3, "image")], modes[w.pick(3, "mode")], int32(1+w.pick(3, "replicas")))
		},
		"remove": func() {
			if w.pick(4, "really") == 0 {
				w.commit("", "", 0)
			}
		},
		"rollback": func() {
			w.asked = true
			_, err := w.loop.rollback(ctx, rollback.Request{Namespace: "default", Name: "web", ToRevision: w.revisionOf("to"), By: "alice"}, false)
			w.refusable(err)
		},
		"pin": func() {
			w.asked = true
			r := rollback.PinRequest{Namespace: "default", Name: "web", ToRevision: w.revisionOf("to"), By: "alice"}
			if w.pick(2, "ends") == 0 {
				r.Until = w.now.Add(90 * time.Second)
			}
			_, err := w.loop.pin(ctx, r)
			w.refusable(err)
		},
		"release": func() {
			w.asked = true
			_, err := w.loop.release(ctx, rollback.ReleaseRequest{Namespace: "default", Name: "web"})
			w.refusable(err)
		},
		"override": func() {
			w.asked = true
			value := map[string]string{rollback.FieldReplicas: "5", rollback.FieldPaused: strconv.FormatBool(w.pick(2, "paused") == 0)}
			field := []string{rollback.FieldReplicas, rollback.FieldPaused, rollback.FieldRestartedAt}[w.pick(3, "field")]
			_, err := w.loop.override(ctx, rollback.OverrideRequest{Namespace: "default", Name: "web", Field: field, Value: value[field]})
			w.refusable(err)
		},
		"fails":    func() { w.engine.phase = engine.PhaseFailed; w.settle() },
		"recovers": func() { w.engine.phase = engine.PhaseComplete; w.settle() },
		"restart":  func() { w.begin(w.source.desired); w.settle() },
		"suspend": func() {
			if err := w.loop.suspend(ctx, w.source, !w.source.cursor.Suspended); err != nil {
				w.t.Fatal(err)
			}
			w.settle()
		},
	}
}

// TestHistories: over random histories no rollout begins onto what is bad unless a person asked; a held Deployment runs
// what is held; what nothing holds runs what Git wants; a settled world has an empty plan, before and after a restart.
func TestHistories(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := newWalk(t)
		w.draw = t
		defer func() {
			if err := w.store.Close(); err != nil {
				t.Fatal(err)
			}
		}()
		w.commit("web:1", "", 2)
		for range rapid.IntRange(1, 15).Draw(t, "steps") {
			w.check(w.move())
		}
	})
}

// move lets a minute pass and something happen, and gives its name.
func (w *walk) move() string {
	w.now = w.now.Add(time.Minute)
	return w.act()
}

// act lets something happen, and gives its name.
func (w *walk) act() string {
	actions := w.actions()
	names := slices.Sorted(maps.Keys(actions))
	name := names[w.pick(len(names), "action")]
	w.asked = false
	actions[name]()
	w.asked = false
	w.settle()
	return name
}

func (w *walk) check(after string) {
	live := w.engine.Live(walkKey)
	in := w.loop.input([]engine.Key{walkKey})
	before := dump.ForHash(in)
	plan := Make(in)
	if dump.ForHash(in) != before {
		w.t.Fatalf("after %s: the plan edited its input", after)
	}
	if len(plan.Actions) > 0 {
		w.t.Fatalf("after %s: not settled: %v", after, plan.Actions)
	}
	hold, held := w.store.Hold("default", "web")
	d := live.Deployment()
	switch {
	case d == nil:
		if held {
			w.t.Fatalf("after %s: held, and gone", after)
		}
		return
	case held:
		if got := rollback.Bare(&d.Spec.Template); got != rollback.Bare(w.loop.template(hold.Template)) {
			w.t.Fatalf("after %s: something else runs than what is held", after)
		}
	case w.source.cursor.Suspended:
	case w.source.desired[walkKey] == nil:
		w.t.Fatalf("after %s: it runs although nobody wants it", after)
	case rollback.Bare(&d.Spec.Template) != w.source.desired[walkKey].Bare:
		w.t.Fatalf("after %s: nothing holds it, and it does not run what Git wants: %v", after, plan.Held)
	}
	rows := w.store.Rows("default", "web")
	i := current(rows, live)
	bad := rollback.Tainted(&d.Spec.Template, rollback.Bare(&d.Spec.Template), w.store.Marks("default", "web"))
	if len(bad) > 0 && !hold.Manual && (i < 0 || rows[i].Operation == "" || rows[i].Operation == rollback.OperationRollback) {
		w.t.Fatalf("after %s: what runs is bad, and nobody pinned it: %v", after, bad)
	}
	for _, r := range rows {
		if strings.HasPrefix(string(r.Outcome), "Held") && !held && !w.source.cursor.Suspended {
			w.t.Fatalf("after %s: row %s is held by nothing", after, r.Commit)
		}
	}
}
