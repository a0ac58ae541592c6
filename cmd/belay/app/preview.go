package app

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"path"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"golang.org/x/tools/txtar"

	"github.com/belay-dev/belay/cmd/belay/control"
	"github.com/belay-dev/belay/manifests"
	"github.com/belay-dev/belay/manifests/schema"
	"github.com/belay-dev/belay/reconciler"
	"github.com/belay-dev/belay/reconciler/engine"
	"github.com/belay-dev/belay/reconciler/rollout"
	"github.com/belay-dev/belay/state"
)

// Diff shows what a sync would change.
func (r *reader) Diff(ctx context.Context, q control.DiffQuery) (control.Diff, error) {
	source, err := r.sourceOf(q.Source)
	if err != nil {
		return control.Diff{}, err
	}
	commit, err := r.commitOf(source, q.Commit)
	if err != nil {
		return control.Diff{}, err
	}
	p, err := r.loop.Preview(ctx, source, commit)
	if err != nil {
		return control.Diff{}, err
	}
	out := control.Diff{
		Source: source, Commit: p.Commit, Commits: []control.CommitDiff{}, Objects: objectDiffs(p.Changes, q), Problems: []control.Problem{},
	}
	for _, st := range p.Steps {
		out.Commits = append(out.Commits, control.CommitDiff{
			Commit: st.Step.Hash, Author: st.Step.Author, Subject: st.Step.Subject, Objects: objectDiffs(st.Changes, q),
		})
	}
	for _, p := range p.Problems {
		if below(p.File, q.Path) {
			out.Problems = append(out.Problems, problemOf(p))
		}
	}
	return out, nil
}

// commitOf is the commit of a source whose hash begins so, of those in the history, imported ones included. A whole hash
// that is not there may be in the repository all the same, and is left as it is.
func (r *reader) commitOf(source, prefix string) (string, error) {
	switch hashes := r.store.FindHashes(source, prefix); len(hashes) {
	case 0:
		if prefix != "" && len(prefix) < wholeHash {
			return "", invalidRequest(fmt.Sprintf("no commit of the history begins with %q", prefix),
				"the history has the commits that changed something; of another one give the whole hash, as git rev-parse prints it")
		}
		return prefix, nil
	case 1:
		return hashes[0], nil
	default:
		return "", invalidRequest(fmt.Sprintf("several commits begin with %s", prefix), "write more of the hash")
	}
}

// wholeHash is how many digits the hash of a commit has.
const wholeHash = 40

// objectDiffs turns changes into what people see.
func objectDiffs(changes []reconciler.PreviewedChange, q control.DiffQuery) []control.ObjectDiff {
	out := []control.ObjectDiff{}
	for _, c := range changes {
		if !below(c.File, q.Path) || c.Before == nil && c.After == nil {
			continue
		}
		d := control.ObjectDiff{
			Action: "update", Kind: string(c.Key.Kind), Namespace: c.Key.Namespace, Name: c.Key.Name, File: c.File, Line: c.Line,
			Fields: []string{},
		}
		switch {
		case c.Before == nil:
			d.Action = "create"
		case c.After == nil:
			d.Action = "delete"
		default:
			for _, f := range manifests.Diff(c.Before, c.After) {
				d.Fields = append(d.Fields, f.String())
			}
		}
		if q.Patch {
			d.Patch = manifests.Patch(fmt.Sprintf("%s/%s/%s", d.Kind, d.Namespace, d.Name), plain(c.Before), plain(c.After))
		}
		out = append(out, d)
	}
	return out
}

// plain is an object without what no manifest says: status and the metadata that is given at run time.
func plain(o state.Object) schema.Object {
	if o == nil {
		return nil
	}
	o = o.DeepCopyObject().(state.Object)
	o.SetUID("")
	o.SetResourceVersion("")
	o.SetGeneration(0)
	o.SetCreationTimestamp(metav1.Time{})
	o.SetManagedFields(nil)
	if d, ok := o.(*appsv1.Deployment); ok {
		d.Status = appsv1.DeploymentStatus{}
		for key := range d.Annotations {
			if engine.Local(key) {
				delete(d.Annotations, key)
			}
		}
	}
	return o
}

// below reports whether a file is a path, or in the directory of that path. Everything is below an empty path.
func below(file, dir string) bool {
	dir = path.Clean("/" + dir)
	return dir == "/" || strings.HasPrefix("/"+file+"/", dir+"/")
}

// sourceOf finds the source that a person left out: the only one.
func (r *reader) sourceOf(name string) (string, error) {
	sources, _ := r.loop.Status()
	if name == "" && len(sources) == 1 {
		return sources[0].Name, nil
	}
	var names []string
	for _, s := range sources {
		if s.Name == name {
			return name, nil
		}
		names = append(names, s.Name)
	}
	e := &control.Error{Status: http.StatusNotFound, Message: fmt.Sprintf("no such source: %q", name), HintText: "configured: " + strings.Join(names, ", ")}
	if name == "" {
		e.Message = "there are several sources"
	}
	return "", e
}

// Plan shows how a rollout would go, step by step, when every new pod becomes ready.
func (r *reader) Plan(ctx context.Context, q control.PlanQuery) (control.Forecast, error) {
	ns, err := r.namespaceOf(q.Namespace, q.Name)
	if err != nil {
		return control.Forecast{}, err
	}
	d, ok := state.Get[*appsv1.Deployment](r.store, ns, q.Name)
	if !ok {
		return control.Forecast{}, &control.Error{Status: http.StatusNotFound, Message: fmt.Sprintf("Deployment %s/%s does not run", ns, q.Name)}
	}
	want, problems, err := r.asked(ctx, d, q)
	if err != nil {
		return control.Forecast{}, err
	}
	steps := rollout.Forecast(want, state.OwnedBy[*appsv1.ReplicaSet](r.store, d.UID))
	out := control.Forecast{Namespace: ns, Name: q.Name, Paused: want.Spec.Paused, Steps: []string{}, Problems: problems}
	for _, s := range steps {
		out.Steps = append(out.Steps, s.String())
	}
	return out, nil
}

// asked is the Deployment as a plan's query would have it, and what is to be known of its manifest.
func (r *reader) asked(ctx context.Context, d *appsv1.Deployment, q control.PlanQuery) (*appsv1.Deployment, []control.Problem, error) {
	want := d.DeepCopy()
	var problems []control.Problem
	if q.Manifest != "" {
		var err error
		if want, problems, err = r.manifestOf(ctx, d, q); err != nil {
			return nil, nil, err
		}
	}
	template := &want.Spec.Template
	for container, image := range q.Images {
		if !setImage(template, container, image) {
			return nil, nil, &control.Error{
				Status: http.StatusBadRequest, Message: fmt.Sprintf("unable to find container named %q", container),
				HintText: "containers: " + strings.Join(containers(template), ", "),
			}
		}
	}
	if q.Replicas != nil {
		if *q.Replicas < 0 {
			return nil, nil, &control.Error{Status: http.StatusBadRequest, Message: "replicas must not be negative"}
		}
		want.Spec.Replicas = q.Replicas
	}
	return want, problems, nil
}

func setImage(t *corev1.PodTemplateSpec, container, image string) bool {
	found := false
	for _, cs := range [][]corev1.Container{t.Spec.InitContainers, t.Spec.Containers} {
		for i := range cs {
			if cs[i].Name == container || container == "*" {
				cs[i].Image, found = image, true
			}
		}
	}
	return found
}

func containers(t *corev1.PodTemplateSpec) []string {
	var out []string
	for _, cs := range [][]corev1.Container{t.Spec.InitContainers, t.Spec.Containers} {
		for _, c := range cs {
			out = append(out, c.Name)
		}
	}
	return out
}

// manifestOf reads a Deployment's manifest as a commit's would be read, and makes of it what a sync would. Problems are those
// that would not keep it from being applied.
func (r *reader) manifestOf(ctx context.Context, d *appsv1.Deployment, q control.PlanQuery) (*appsv1.Deployment, []control.Problem, error) {
	const file = "manifest.yaml"
	fsys, err := txtar.FS(&txtar.Archive{Files: []txtar.File{{Name: file, Data: []byte(q.Manifest)}}})
	if err != nil {
		return nil, nil, fmt.Errorf("read the manifest: %w", err)
	}
	cache := manifests.NewCache([]manifests.App{{Name: "plan", Namespace: d.Namespace}}, manifests.Options{Survey: r.survey})
	up, err := cache.Sync(ctx, manifests.DirTree(fsys), "")
	if err != nil {
		return nil, nil, fmt.Errorf("read the manifest: %w", err)
	}
	refused := func(problems []manifests.Problem) error {
		var lines []string
		for _, p := range problems {
			if p.Reason.Blocks() {
				p.File = cmp.Or(q.File, file)
				lines = append(lines, p.String())
			}
		}
		if len(lines) == 0 {
			return nil
		}
		return &control.Error{Status: http.StatusBadRequest, Message: strings.Join(lines, "\n")}
	}
	if err := refused(up.Problems); err != nil {
		return nil, nil, err
	}
	var problems []control.Problem
	for _, p := range up.Problems {
		p.File, p.App = cmp.Or(q.File, file), ""
		problems = append(problems, problemOf(p))
	}
	key := state.KeyOf(d)
	next, ok := cache.Object(manifests.ID{Kind: string(key.Kind), Namespace: d.Namespace, Name: d.Name})
	if !ok {
		return nil, nil, &control.Error{Status: http.StatusBadRequest, Message: fmt.Sprintf("the manifest has no Deployment %s/%s", d.Namespace, d.Name)}
	}
	want := engine.Merge(d, engine.Change{Key: key, Desired: next.Object, Template: true, KeepReplicas: next.NoReplicas})
	prev := next
	prev.Object, next.Object = d, want
	if err := refused(manifests.ValidateUpdate(prev, next)); err != nil {
		return nil, nil, err
	}
	return want.(*appsv1.Deployment), problems, nil
}
