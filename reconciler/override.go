package reconciler

import (
	"maps"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/belay-dev/belay/reconciler/rollback"
	"github.com/belay-dev/belay/reconciler/rollout"
	"github.com/belay-dev/belay/state"
)

// override is the base with a pod template and what a person set past Git. An override ends when Git says the same. One
// of replicas that Git does not name is applied once: from then on it is what runs.
func (p *planner) override(s Subject, base *Desired, t podTemplate) *Desired {
	if base.Object().(*appsv1.Deployment) == nil || (t.exact == base.Template && len(s.Overrides) == 0) {
		return base
	}
	out := *base
	d := base.Object().(*appsv1.Deployment).DeepCopy()
	d.Spec.Template = *t.spec.DeepCopy()
	out.Template, out.Bare, out.Manifest.Object = t.exact, t.bare, d
	fromGit := base.Inventory == nil
	for _, o := range s.Overrides {
		switch o.Field {
		case rollback.FieldReplicas:
			p.overrideReplicas(&out, d, o, fromGit)
		case rollback.FieldPaused:
			paused := o.Value == strconv.FormatBool(true)
			if fromGit && d.Spec.Paused == paused {
				p.holds.Unset = append(p.holds.Unset, o.Field)
			}
			d.Spec.Paused = paused
		case rollback.FieldRestartedAt:
			if o.Template != t.bare {
				p.restarted = o.Field // it ends when a template is handed over
				continue
			}
			a := maps.Clone(d.Spec.Template.Annotations)
			if a == nil {
				a = map[string]string{}
			}
			a[rollback.Restarted] = o.Value
			d.Spec.Template.Annotations = a
			out.Template = rollout.Digest(&d.Spec.Template)
		}
	}
	return &out
}

func (p *planner) overrideReplicas(out *Desired, d *appsv1.Deployment, o state.Override, fromGit bool) {
	n, err := strconv.ParseInt(o.Value, 10, 32)
	if err != nil {
		return
	}
	if fromGit && (out.KeepReplicas || d.Spec.Replicas != nil && int64(*d.Spec.Replicas) == n) {
		p.holds.Unset = append(p.holds.Unset, o.Field)
	}
	out.KeepReplicas = false
	d.Spec.Replicas = new(int32(n))
}
