// Package conformance is the suite that every engine passes: what the sync loop relies on.
//
// It owns no engine and never decides; tests of engines call Run.
package conformance

import (
	"context"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/belay-dev/belay/reconciler/engine"
	"github.com/belay-dev/belay/state"
)

// Engine is the interface under test, as package reconciler declares it.
type Engine interface {
	Live(engine.Key) engine.Live
	Apply(context.Context, engine.Change) error
	Watch(ctx context.Context, changed func([]engine.Key)) error
	Supports(state.Object) []engine.Unsupported
}

// World is one engine with what the suite needs around it. Its namespace "default" exists.
type World struct {
	Engine Engine
	Store  *state.Store // where ledger writes arrive
	// Settle lets what is applied run until it is ready, and Digest is the digest of a pod template.
	Settle func()
	Digest func(*corev1.PodTemplateSpec) string
}

// Run checks an engine. Each part gets a world of its own from make.
func Run(t *testing.T, inWorld func(t *testing.T, f func(*testing.T, World))) {
	for name, part := range map[string]func(*testing.T, World){
		"absent is zero":                                    absent,
		"a rollout is followed to its end":                  rolledOut,
		"applying again changes nothing":                    repeated,
		"the rest is applied without the template":          rest,
		"a template that ran before gets a higher revision": back,
		"a deleted object is gone":                          deleted,
		"ledger writes arrive with the change":              ledger,
		"watch begins with what lives and names what moves": watched,
		"what cannot run is named":                          unsupported,
	} {
		t.Run(name, func(t *testing.T) { inWorld(t, part) })
	}
}

var webKey = engine.Key{Kind: state.KindDeployment, Namespace: "default", Name: "web"}

// web is a Deployment as package manifests gives it: defaulted.
func web(image string, replicas int32) *appsv1.Deployment {
	labels := map[string]string{"app": "web"}
	grace := int64(30)
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: "web",
			Annotations: map[string]string{engine.ChangeCause: "run " + image, engine.AnnotationCommit: image},
		},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
			RevisionHistoryLimit: new(int32(10)), ProgressDeadlineSeconds: new(int32(600)),
			Strategy: appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{
					RestartPolicy: corev1.RestartPolicyAlways, DNSPolicy: corev1.DNSClusterFirst, SchedulerName: corev1.DefaultSchedulerName,
					TerminationGracePeriodSeconds: &grace, SecurityContext: &corev1.PodSecurityContext{},
					Containers: []corev1.Container{{
						Name: "web", Image: image, ImagePullPolicy: corev1.PullIfNotPresent,
						TerminationMessagePath: corev1.TerminationMessagePathDefault, TerminationMessagePolicy: corev1.TerminationMessageReadFile,
					}},
				},
			},
		},
	}
}

func rollOut(t *testing.T, w World, d *appsv1.Deployment) engine.Live {
	t.Helper()
	apply(t, w, engine.Change{Key: webKey, Desired: d, Template: true})
	w.Settle()
	return w.Engine.Live(webKey)
}

func apply(t *testing.T, w World, c engine.Change) {
	t.Helper()
	if err := w.Engine.Apply(t.Context(), c); err != nil {
		t.Fatalf("apply %s: %v", c.Key, err)
	}
}

func absent(t *testing.T, w World) {
	if l := w.Engine.Live(webKey); l.Object != nil || l.Rollout != (engine.Rollout{}) || l.Serving != nil {
		t.Errorf("something lives: %+v", l)
	}
	apply(t, w, engine.Change{Key: webKey}) // deleting what is not there is done already
}

func rolledOut(t *testing.T, w World) {
	d := web("web:1", 2)
	apply(t, w, engine.Change{Key: webKey, Desired: d, Template: true})
	if p := w.Engine.Live(webKey).Rollout.Phase; p != engine.PhasePending && p != engine.PhaseProgressing {
		t.Errorf("a rollout that just began is %s", p)
	}
	w.Settle()
	r := w.Engine.Live(webKey).Rollout
	if r.Phase != engine.PhaseComplete || r.Revision != 1 || r.ReplicaSet == "" || r.Template != w.Digest(&d.Spec.Template) {
		t.Errorf("a settled rollout is %+v", r)
	}
}

func repeated(t *testing.T, w World) {
	d := web("web:1", 2)
	before := rollOut(t, w, d)
	after := rollOut(t, w, d)
	if before.Object.GetResourceVersion() != after.Object.GetResourceVersion() || before.Rollout != after.Rollout {
		t.Errorf("repeating a change moved the object from %s to %s", before.Object.GetResourceVersion(), after.Object.GetResourceVersion())
	}
}

func rest(t *testing.T, w World) {
	before := rollOut(t, w, web("web:1", 2))
	d := web("web:2", 3)
	d.Labels = map[string]string{"team": "shop"}
	apply(t, w, engine.Change{Key: webKey, Desired: d})
	w.Settle()
	after := w.Engine.Live(webKey)
	live := after.Deployment()
	switch {
	case after.Rollout.Template != before.Rollout.Template || after.Rollout.Revision != 1:
		t.Errorf("the template moved: %+v", after.Rollout)
	case *live.Spec.Replicas != 3 || live.Labels["team"] != "shop":
		t.Errorf("the rest was not applied: %d replicas, labels %v", *live.Spec.Replicas, live.Labels)
	case live.Annotations[engine.AnnotationCommit] != "web:1" || live.Annotations[engine.ChangeCause] != "run web:1":
		t.Errorf("the template's annotations moved: %v", live.Annotations)
	}
	apply(t, w, engine.Change{Key: webKey, Desired: web("web:1", 1), KeepReplicas: true})
	if got := *w.Engine.Live(webKey).Deployment().Spec.Replicas; got != 3 {
		t.Errorf("the scale that the manifest leaves open is %d, was 3", got)
	}
}

func back(t *testing.T, w World) {
	first := rollOut(t, w, web("web:1", 1)).Rollout
	rollOut(t, w, web("web:2", 1))
	again := rollOut(t, w, web("web:1", 1)).Rollout
	if again.Phase != engine.PhaseComplete || again.Revision != 3 || again.ReplicaSet != first.ReplicaSet {
		t.Errorf("back on the first template: %+v, first it was %+v", again, first)
	}
}

func deleted(t *testing.T, w World) {
	rollOut(t, w, web("web:1", 1))
	apply(t, w, engine.Change{Key: webKey})
	w.Settle()
	if l := w.Engine.Live(webKey); l.Object != nil {
		t.Errorf("it still lives: %+v", l)
	}
}

func ledger(t *testing.T, w World) {
	row := state.Row{ID: "r1", Namespace: "default", Name: "web", Outcome: "Progressing", Open: true}
	apply(t, w, engine.Change{Key: webKey, Desired: web("web:1", 1), Template: true, Ledger: []state.Write{state.PutRow(row)}})
	if got, ok := w.Store.Row("r1"); !ok || got.Outcome != row.Outcome {
		t.Errorf("the row is %+v", got)
	}
	row.Outcome = "Complete"
	apply(t, w, engine.Change{Key: webKey, Desired: web("web:1", 1), Template: true, Ledger: []state.Write{state.PutRow(row)}})
	if got, _ := w.Store.Row("r1"); got.Outcome != row.Outcome {
		t.Errorf("a change that is there already did not record its row: %+v", got)
	}
}

func watched(t *testing.T, w World) {
	rollOut(t, w, web("web:1", 1))
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	seen := make(chan []engine.Key, 64)
	ended := make(chan error, 1)
	go func() { ended <- w.Engine.Watch(ctx, func(keys []engine.Key) { seen <- slices.Clone(keys) }) }()
	if keys := <-seen; !slices.Contains(keys, webKey) {
		t.Errorf("the first call names %v", keys)
	}
	w.Settle()
	apply(t, w, engine.Change{Key: webKey, Desired: web("web:1", 2)})
	if keys := <-seen; !slices.Contains(keys, webKey) {
		t.Errorf("a change names %v", keys)
	}
	cancel()
	for {
		select {
		case <-seen:
		case <-ended:
			return
		}
	}
}

func unsupported(t *testing.T, w World) {
	if u := w.Engine.Supports(web("web:1", 1)); len(u) != 0 {
		t.Errorf("a plain Deployment is not supported: %v", u)
	}
	if u := w.Engine.Supports(&corev1.Event{}); len(u) == 0 {
		t.Error("an Event is supported")
	}
}
