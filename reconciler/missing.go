package reconciler

import (
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/belay-dev/belay/manifests"
	"github.com/belay-dev/belay/reconciler/engine"
	"github.com/belay-dev/belay/state"
)

// MissingConfigs are what a managed Deployment's pods name, cannot do without, and do not find: their containers do not
// start. Each ConfigMap or Secret is a problem at the place of the manifest and the first field that names it.
func MissingConfigs(now state.Reading, m state.Managed, d *appsv1.Deployment) []manifests.Problem {
	problems := missing(m.Key, &d.Spec.Template.Spec, func(k engine.Key) bool {
		_, there := state.Find(now, k)
		return there
	})
	for i := range problems {
		p := &problems[i]
		p.Source, p.App, p.Root, p.Commit, p.File, p.Line = m.Source, m.App, m.Root, m.Commit, m.File, m.Line
	}
	return problems
}

// missing are the problems of what a Deployment's pod names and cannot do without, where it is not there.
func missing(deployment engine.Key, pod *corev1.PodSpec, there func(engine.Key) bool) []manifests.Problem {
	var out []manifests.Problem
	said := map[engine.Key]bool{}
	for _, u := range engine.ConfigUses(deployment.Namespace, pod) {
		if u.Optional || said[u.Key] || there(u.Key) {
			continue
		}
		said[u.Key] = true
		p := problemOf(deployment, nil, ReasonConfigMissing, fmt.Sprintf("%s %q not found", strings.ToLower(string(u.Key.Kind)), u.Key.Name))
		p.Field = "spec.template.spec." + u.Field
		out = append(out, p)
	}
	return out
}

// missingAt are the same of what a preview would change, when all is applied that is wanted then.
func (l *Loop) missingAt(changes []PreviewedChange, wanted map[engine.Key]*Desired, source, commit string) []manifests.Problem {
	var out []manifests.Problem
	for _, c := range changes {
		d, ok := c.After.(*appsv1.Deployment)
		if !ok {
			continue
		}
		for _, p := range missing(c.Key, &d.Spec.Template.Spec, func(k engine.Key) bool {
			return wanted[k] != nil || l.o.Engine.Live(k).Object != nil
		}) {
			p.Source, p.Commit, p.File, p.Line = source, commit, c.File, c.Line
			out = append(out, p)
		}
	}
	return out
}
