package change

import (
	"fmt"
	"path"
	"reflect"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/belay-dev/belay/manifests"
	"github.com/belay-dev/belay/reconciler/engine"
	"github.com/belay-dev/belay/reconciler/rollback"
	"github.com/belay-dev/belay/reconciler/rollout"
	"github.com/belay-dev/belay/state"
)

// Wish is what Git should say of one Deployment. Exactly one of Template, Replicas, Paused and Asked is set.
type Wish struct {
	ID manifests.ID
	// Template is the pod template to go back to.
	Template *corev1.PodTemplateSpec
	// Removed says that Git has the Deployment no more: its manifest is put back, as it was with Template, into App.
	Removed  bool
	App      string
	Replicas *int32
	Paused   *bool
	// Asked is the Deployment as somebody asked for it through the API, with other images than Live, which is the one that
	// runs. The files must change by the same fields, from the same values.
	Asked, Live *appsv1.Deployment
}

// Accept is the acceptance check: it tells what is wrong with a change of files that brings what is rendered from before
// to update. Nothing is wrong when the only differences are the wished fields of the Deployment, now as wished, and
// ConfigMaps that no other Deployment names; for a removed Deployment, when it is the one object that is added.
func Accept(before *manifests.Cache, update manifests.Update, files []string, w Wish) []Refusal {
	c := check{wish: w, before: map[manifests.ID]manifests.Object{}, after: map[manifests.ID]manifests.Object{}}
	for _, o := range before.Objects() {
		c.before[o.ID], c.after[o.ID] = o, o
	}
	for _, r := range update.Roots {
		for _, o := range r.Before {
			delete(c.after, o.ID)
		}
	}
	for _, r := range update.Roots {
		for _, o := range r.Objects {
			c.after[o.ID] = o
		}
	}
	c.inside(before.Apps(), files)
	for _, r := range update.Stale {
		c.refuse(Refusal{Reason: Unrendered, File: r.Path, Message: unrendered(r.Problems)})
	}
	for id := range c.before {
		if _, left := c.after[id]; !left {
			c.object(id)
		}
	}
	for id, o := range c.after {
		if was, had := c.before[id]; !had || !alike(was, o) {
			c.object(id)
		}
	}
	c.target()
	slices.SortFunc(c.out, compareRefusals)
	return slices.Compact(c.out)
}

// unrendered says that a root cannot be rendered, and the problem that keeps it from that.
func unrendered(problems []manifests.Problem) string {
	const text = "cannot be rendered"
	for _, p := range slices.Backward(problems) {
		if p.Reason.Blocks() {
			return text + ": " + p.String()
		}
	}
	return text
}

// alike tells whether an object means the same before and after.
func alike(a, b manifests.Object) bool {
	return a.Digest == b.Digest && a.NoReplicas == b.NoReplicas && a.App == b.App
}

type check struct {
	wish          Wish
	before, after map[manifests.ID]manifests.Object
	out           []Refusal
}

func (c *check) refuse(r Refusal) { c.out = append(c.out, r) }

// inside refuses files outside the path of the Deployment's app.
func (c *check) inside(apps []manifests.App, files []string) {
	name := c.wish.App
	if o, ok := c.before[c.wish.ID]; ok {
		name = o.App
	}
	i := slices.IndexFunc(apps, func(a manifests.App) bool { return a.Name == name })
	if i < 0 {
		c.refuse(Refusal{Reason: NotThere, Object: c.wish.ID, Message: "belongs to no app of the source"})
		return
	}
	top := path.Clean("/" + apps[i].Path)[1:]
	for _, f := range files {
		if top != "" && !strings.HasPrefix(f, top+"/") {
			c.refuse(Refusal{
				Reason: OutsideApp, File: f, Message: fmt.Sprintf("is outside the path %s of app %s", top, name), Hint: sharedHint,
			})
		}
	}
}

// sharedHint is what helps instead: it takes the commit back for everything that it changed. SHA stands for it.
const sharedHint = "take the commit back for all of them with: belay rollback --commit SHA"

// object judges one object that differs.
func (c *check) object(id manifests.ID) {
	was, had := c.before[id]
	is, left := c.after[id]
	file := is.File
	if !left {
		file = was.File
	}
	did := "would change too"
	switch {
	case !had:
		did = "would be added"
	case !left:
		did = "would be removed"
	}
	switch {
	case id == c.wish.ID:
		if !left {
			c.refuse(Refusal{Reason: NotAsked, File: file, Object: id, Message: did})
		}
	case id.Kind == string(state.KindSecret):
		c.refuse(Refusal{Reason: SecretChanges, File: file, Object: id, Message: did})
	case id.Kind == string(state.KindConfigMap) && c.wish.Template != nil && !c.wish.Removed:
		for _, other := range c.naming(id) {
			c.refuse(Refusal{Reason: ConfigMapShared, File: file, Object: id, Message: fmt.Sprintf("%s, and %s names it", did, other), Hint: sharedHint})
		}
	case id.Kind == string(state.KindDeployment):
		c.refuse(Refusal{Reason: OtherDeployment, File: file, Object: id, Message: did, Hint: sharedHint})
	default:
		c.refuse(Refusal{Reason: OtherObject, File: file, Object: id, Message: did})
	}
}

// naming lists the other Deployments that name a ConfigMap, before or after.
func (c *check) naming(id manifests.ID) []manifests.ID {
	seen := map[manifests.ID]bool{}
	for _, objects := range []map[manifests.ID]manifests.Object{c.before, c.after} {
		for other, o := range objects {
			if other != c.wish.ID && other.Namespace == id.Namespace && names(o, id) {
				seen[other] = true
			}
		}
	}
	var out []manifests.ID
	for other := range seen {
		out = append(out, other)
	}
	slices.SortFunc(out, func(a, b manifests.ID) int { return strings.Compare(a.String(), b.String()) })
	return out
}

func names(o manifests.Object, id manifests.ID) bool {
	d, ok := o.Object.(*appsv1.Deployment)
	return ok && slices.Contains(engine.ConfigKeys("", &d.Spec.Template.Spec), engine.Key{Kind: state.Kind(id.Kind), Name: id.Name})
}

// target judges the Deployment itself.
func (c *check) target() {
	was, had := c.before[c.wish.ID]
	is, left := c.after[c.wish.ID]
	after, ok := is.Object.(*appsv1.Deployment)
	switch {
	case !left || !ok:
		c.refuse(Refusal{Reason: NotThere, Object: c.wish.ID, Message: "would not be in Git"})
		return
	case c.wish.Removed && had:
		c.refuse(Refusal{Reason: NotThere, Object: c.wish.ID, Message: "is in Git again"})
		return
	case !c.wish.Removed && !had:
		c.refuse(Refusal{Reason: NotThere, Object: c.wish.ID, Message: "is not in Git"})
		return
	}
	before, _ := was.Object.(*appsv1.Deployment)
	refuse := func(reason Reason, message string) {
		c.refuse(Refusal{Reason: reason, File: is.File, Object: c.wish.ID, Message: message})
	}
	if f, differs := c.missing(before, after); differs {
		refuse(NotAsked, "would not be as wished: "+f)
	}
	if c.wish.Template != nil {
		c.configMaps(before, after, is.File)
	}
	if c.wish.Removed {
		return
	}
	if was.NoReplicas != is.NoReplicas {
		refuse(OtherField, "spec.replicas would be Git's, or no more")
	}
	for _, f := range manifests.Diff(before, after) {
		if !c.wish.covers(f.Path) {
			refuse(OtherField, shown(f))
		}
	}
}

// covers tells whether a field of the Deployment is one that the wish is about.
func (w Wish) covers(field string) bool {
	switch {
	case w.Template != nil:
		return field == "spec.template" || strings.HasPrefix(field, "spec.template.")
	case w.Replicas != nil:
		return field == "spec.replicas"
	case w.Paused != nil:
		return field == "spec.paused"
	default:
		return true // every difference is compared with what was asked
	}
}

// missing names the first field of the Deployment that is not as wished.
func (c *check) missing(before, after *appsv1.Deployment) (string, bool) {
	switch w := c.wish; {
	case w.Template != nil:
		return differs(&after.Spec.Template, w.Template)
	case w.Replicas != nil:
		return fmt.Sprintf("spec.replicas is not %d", *w.Replicas), after.Spec.Replicas == nil || *after.Spec.Replicas != *w.Replicas
	case w.Paused != nil:
		return fmt.Sprintf("spec.paused is not %t", *w.Paused), after.Spec.Paused != *w.Paused
	case w.Asked != nil:
		asked, got := manifests.Diff(w.Live, w.Asked), manifests.Diff(before, after)
		for i, f := range asked {
			if i >= len(got) || !reflect.DeepEqual(got[i], f) {
				return shown(f), true
			}
		}
		if len(got) > len(asked) {
			return shown(got[len(asked)]), true
		}
	}
	return "", false
}

// differs names the first field in which two pod templates differ. Restarts, and the label with the hash, do not count.
func differs(is, want *corev1.PodTemplateSpec) (string, bool) {
	if rollback.Bare(is) == rollback.Bare(want) {
		return "", false
	}
	a, b := &appsv1.Deployment{}, &appsv1.Deployment{}
	a.Spec.Template, b.Spec.Template = *Plain(is), *Plain(want)
	for _, f := range manifests.Diff(a, b) {
		return shown(f), true
	}
	return "spec.template", !rollout.Equal(Plain(is), Plain(want))
}

// shown names a field that differs. Values of a pod template are told where they can hold nothing that is secret.
func shown(f manifests.FieldChange) string {
	if strings.HasPrefix(f.Path, "spec.template.") && !strings.HasSuffix(f.Path, ".image") && !strings.Contains(f.Path, ".resources.") {
		return f.Path
	}
	return f.String()
}

// Plain is a pod template without what no manifest says: when it was restarted, and the label with its hash.
func Plain(t *corev1.PodTemplateSpec) *corev1.PodTemplateSpec {
	t = t.DeepCopy()
	delete(t.Annotations, rollback.Restarted)
	if len(t.Annotations) == 0 {
		t.Annotations = nil
	}
	delete(t.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
	return t
}

// configMaps refuses a pod template that names a ConfigMap which it did not name before and which Git does not have: it
// would run only as long as somebody else keeps it.
func (c *check) configMaps(before, after *appsv1.Deployment, file string) {
	var had []engine.Key
	if before != nil {
		had = engine.ConfigKeys("", &before.Spec.Template.Spec)
	}
	for _, k := range engine.ConfigKeys("", &after.Spec.Template.Spec) {
		id := manifests.ID{Kind: string(k.Kind), Namespace: c.wish.ID.Namespace, Name: k.Name}
		if _, there := c.after[id]; there || k.Kind != state.KindConfigMap || slices.Contains(had, k) {
			continue
		}
		c.refuse(Refusal{Reason: ConfigMapMissing, File: file, Object: id, Message: "would be named by the pod template and is not in Git"})
	}
}
