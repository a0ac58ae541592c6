package app

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/belay-dev/belay/cmd/belay/control"
	"github.com/belay-dev/belay/manifests"
	"github.com/belay-dev/belay/reconciler"
	"github.com/belay-dev/belay/reconciler/engine"
	"github.com/belay-dev/belay/reconciler/ledger"
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
}

// lives says what runs under a key now, and what all Deployments run at the moment of a snapshot.
type lives interface {
	Live(engine.Key) engine.Live
	Deployments(*state.Snapshot) map[engine.Key]engine.Live
}

var _ control.Reader = (*reader)(nil)

// Status shows every source, app, managed Deployment and problem. However much is going on, it is one moment's state.
func (r *reader) Status(context.Context) (control.Status, error) {
	sources, problems := r.loop.Status()
	now := r.store.Snapshot()
	running := r.engine.Deployments(now)
	inventory, managed := inventoryOf(now)
	out := control.Status{
		Sources: []control.Source{}, Apps: []control.App{}, Deployments: make([]control.Deployment, 0, managed), Problems: []control.Problem{},
	}
	var missing []control.Problem
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
		var found []control.Deployment
		if s.Suspended {
			found = r.found.deployments(s.Name)
			out.Deployments = append(out.Deployments, found...)
		}
		for _, m := range inventory[s.Name] {
			if !shown(found, m.Key) {
				out.Deployments = append(out.Deployments, r.deployment(now, m, s, running[m.Key]))
			}
			missing = append(missing, missingConfigs(now, m, running[m.Key].Deployment())...)
		}
		delete(inventory, s.Name)
		for _, p := range s.Problems {
			out.Problems = append(out.Problems, problemOf(p))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(inventory)) { // left over by sources that are not configured any more
		for _, m := range inventory[name] {
			out.Deployments = append(out.Deployments, r.deployment(now, m, reconciler.SourceStatus{Name: name}, running[m.Key]))
		}
	}
	for _, p := range problems {
		out.Problems = append(out.Problems, problemOf(p))
	}
	out.Problems = append(append(out.Problems, missing...), r.wrong()...)
	return out, nil
}

// inventoryOf lists the managed Deployments of each source, sorted by key, and counts them.
func inventoryOf(now *state.Snapshot) (bySource map[string][]state.Managed, n int) {
	all := slices.DeleteFunc(now.Inventory(""), func(m state.Managed) bool { return m.Key.Kind != state.KindDeployment })
	bySource = map[string][]state.Managed{}
	for i := 0; i < len(all); {
		end := i + 1
		for end < len(all) && all[end].Source == all[i].Source {
			end++
		}
		bySource[all[i].Source] = all[i:end:end]
		i = end
	}
	return bySource, len(all)
}

// missingConfigs are the ConfigMaps and Secrets that the pods of a Deployment, nil for none, do not find.
func missingConfigs(now *state.Snapshot, m state.Managed, d *appsv1.Deployment) []control.Problem {
	if d == nil {
		return nil
	}
	var out []control.Problem
	for _, p := range reconciler.MissingConfigs(now, m, d) {
		out = append(out, problemOf(p))
	}
	return out
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

// deployment shows one managed Deployment.
func (r *reader) deployment(now *state.Snapshot, m state.Managed, s reconciler.SourceStatus, live engine.Live) control.Deployment {
	out := control.Deployment{Namespace: m.Key.Namespace, Name: m.Key.Name, App: m.App, Images: []string{}, Health: control.Missing}
	var newest *state.Row // that says most about now: no commit overtaken before it ran
	if row, ok := now.LastRow(m.Key.Namespace, m.Key.Name, ledger.Superseded); ok {
		newest = &row
		out.Outcome = string(newest.Outcome)
		out.Reason = newest.Reason
	}
	d := live.Deployment()
	if d == nil {
		return out
	}
	if !slices.ContainsFunc(s.Apps, func(a reconciler.AppStatus) bool { return a.Name == m.App }) {
		out.Reason, out.Next = "Unmanaged", "its app left the configuration; it keeps running"
	}
	out.Images = list(reconciler.Images(d))
	out.Revision, out.Commit = live.Rollout.Revision, d.Annotations[engine.AnnotationCommit]
	out.Replicas, out.Updated = *d.Spec.Replicas, d.Status.UpdatedReplicas
	out.Ready, out.Available = d.Status.ReadyReplicas, d.Status.AvailableReplicas
	out.Health = healthOf(d, live.Rollout)
	if out.Reason == "" && live.Rollout.Waits != "" && out.Health != control.Healthy {
		out.Reason = live.Rollout.Waits
	}
	if newest != nil && newest.StartedAt.IsZero() && newest.Open && newest.Template != live.Rollout.Template {
		out.Wants = &control.Wants{Commit: newest.Commit, Images: list(newest.Images)}
	}
	out.Overrides = overridesOf(now.Overrides(m.Key.Namespace, m.Key.Name))
	if h, ok := now.Hold(m.Key.Namespace, m.Key.Name); ok {
		shown := r.hold(h)
		out.Wants, out.Next = r.wants(h), shown.Next
		shown.Next = "" // it is the Deployment's
		out.Hold = &shown
	}
	if out.Next == "" {
		out.Next = next(s, out, newest)
	}
	return out
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

// next says what happens next to a Deployment that is not as Git wants it, or what a person can do.
func next(s reconciler.SourceStatus, d control.Deployment, row *state.Row) string {
	switch {
	case s.Suspended && s.Head != s.Commit:
		return "belay resume " + s.Name
	case row == nil:
		return ""
	case row.Outcome == ledger.Waiting:
		return row.Message
	case row.Outcome == ledger.Paused:
		return "set spec.paused to false in Git"
	case row.Outcome == ledger.Failed, row.Outcome == ledger.Progressing && d.Reason != "":
		return back(d.Name, row.Commit)
	}
	return ""
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
		b, err := encode(o)
		if err != nil {
			return control.Objects{}, err
		}
		out.Items = append(out.Items, b)
	}
	return out, nil
}

func encode(o state.Object) (json.RawMessage, error) {
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
