package app

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/belay-dev/belay/cmd/belay/control"
	"github.com/belay-dev/belay/manifests"
	"github.com/belay-dev/belay/reconciler"
	"github.com/belay-dev/belay/reconciler/engine"
	"github.com/belay-dev/belay/state"
)

// reader answers control's questions from what is stored and published.
type reader struct {
	store  *state.Store
	engine lives
	loop   *reconciler.Loop
	doing  func(source string) string // what is going on with a source's repository
	wrong  func() []control.Problem   // of the newest configuration
	found  *found
	survey manifests.Survey // of manifests that are asked about
	memory memory
}

// lives says what runs under a key now, and what one Deployment or all of them run at the moment of a snapshot.
type lives interface {
	Live(engine.Key) engine.Live
	Deployment(now *state.Snapshot, namespace, name string) engine.Live
	Deployments(*state.Snapshot) []engine.Live // sorted by namespace and name
}

var _ control.Reader = (*reader)(nil)

// Status shows every source, app, managed Deployment and problem. However much is going on, it is one moment's state.
func (r *reader) Status(context.Context) (control.EncodedStatus, error) {
	sources, problems := r.loop.Status()
	b := r.look()
	defer b.end()
	deployments, missing, err := b.deployments(sources)
	if err != nil {
		return control.EncodedStatus{}, err
	}
	out := control.EncodedStatus{Sources: []control.Source{}, Apps: []control.App{}, Deployments: deployments, Problems: []control.Problem{}}
	for _, s := range sources {
		src := control.Source{
			Name: s.Name, URL: s.URL, Branch: s.Branch, Head: s.Head, Commit: s.Commit, LastPoll: utc(s.LastPoll), NextPoll: utc(s.NextPoll),
			Suspended: s.Suspended, Activity: r.doing(s.Name),
		}
		src.Error, src.Hint = texts(s.Err)
		out.Sources = append(out.Sources, src)
		for _, a := range s.Apps {
			out.Apps = append(out.Apps, control.App{Source: s.Name, Name: a.Name, Path: a.Path, Commit: a.Commit, Stale: a.Stale, Closed: closed(a.Opening)})
		}
		for _, p := range s.Problems {
			out.Problems = append(out.Problems, problemOf(p))
		}
	}
	for _, p := range problems {
		out.Problems = append(out.Problems, problemOf(p))
	}
	out.Problems = append(append(out.Problems, missing...), r.wrong()...)
	return out, nil
}

// shown reports whether what runs of a Deployment is listed already, by namespace and name.
func shown(ds []control.Deployment, k state.Key) bool {
	_, ok := slices.BinarySearchFunc(ds, k, func(d control.Deployment, k state.Key) int {
		return cmp.Or(cmp.Compare(d.Namespace, k.Namespace), cmp.Compare(d.Name, k.Name))
	})
	return ok
}

// closed shows a window that keeps changes of an app from beginning; nil: none does.
func closed(o reconciler.Opening) *control.Closed {
	if !o.Closed {
		return nil
	}
	return &control.Closed{By: o.By, Until: utc(o.Until)}
}

// texts splits an error into what it says and its hint.
func texts(err error) (message, hint string) {
	if err == nil {
		return "", ""
	}
	if h, ok := errors.AsType[interface {
		error
		Hint() string
	}](err); ok {
		hint = h.Hint()
	}
	return err.Error(), hint
}

func problemOf(p manifests.Problem) control.Problem {
	return control.Problem{
		Reason: string(p.Reason), Source: p.Source, App: p.App, Root: p.Root, Commit: p.Commit, File: p.File, Line: p.Line,
		Field: p.Field, Message: p.Message, Warning: p.Reason == manifests.Warned || p.Reason == manifests.Reason(reconciler.ReasonConfigMissing),
	}
}

// healthOf sums up a Deployment, worst first.
func healthOf(d *appsv1.Deployment, r engine.Rollout) control.Health {
	switch {
	case r.Phase == engine.PhaseFailed:
		return control.Degraded
	case d.Spec.Paused:
		return control.Suspended
	case r.Phase == engine.PhasePending || r.Phase == engine.PhaseProgressing:
		return control.Progress
	case r.Phase != engine.PhaseComplete:
		return control.UnknownLive
	case !available(d):
		return control.Degraded
	}
	return control.Healthy
}

func available(d *appsv1.Deployment) bool {
	return slices.ContainsFunc(d.Status.Conditions, func(c appsv1.DeploymentCondition) bool {
		return c.Type == appsv1.DeploymentAvailable && c.Status == corev1.ConditionTrue
	})
}

// back says how to get away from what does not come up.
func back(name, commit string) string {
	s := "belay rollback deploy/" + name + ", or push a fix"
	if commit != "" {
		s += ", or git revert " + commit[:min(7, len(commit))]
	}
	return s
}

// objectKinds are the kinds that Objects shows.
var objectKinds = map[string]state.Kind{
	"Deployment": state.KindDeployment, "ReplicaSet": state.KindReplicaSet, "Pod": state.KindPod,
}

// Objects lists live objects with their kind set, as the Kubernetes API shows them.
func (r *reader) Objects(ctx context.Context, q control.ObjectQuery) (control.Objects, error) {
	kind, ok := objectKinds[q.Kind]
	if !ok {
		return control.Objects{}, &control.Error{Status: http.StatusBadRequest, Message: fmt.Sprintf("objects of kind %q are not shown", q.Kind)}
	}
	if q.After > 0 {
		if _, err := r.store.WaitChange(ctx, q.After); err != nil {
			return control.Objects{}, fmt.Errorf("wait for a change: %w", err)
		}
	}
	out := control.Objects{Version: r.store.Version(), Items: []json.RawMessage{}}
	for _, o := range r.store.List(kind, q.Namespace) {
		if q.Name != "" && o.GetName() != q.Name {
			continue
		}
		b, err := encodeObject(o)
		if err != nil {
			return control.Objects{}, err
		}
		out.Items = append(out.Items, b)
	}
	return out, nil
}

func encodeObject(o state.Object) (json.RawMessage, error) {
	c := o.DeepCopyObject()
	gv := corev1.SchemeGroupVersion
	switch c.(type) {
	case *appsv1.Deployment, *appsv1.ReplicaSet:
		gv = appsv1.SchemeGroupVersion
	}
	c.GetObjectKind().SetGroupVersionKind(gv.WithKind(string(state.KeyOf(o).Kind)))
	b, err := json.Marshal(runtime.Object(c))
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", state.KeyOf(o), err)
	}
	return b, nil
}
