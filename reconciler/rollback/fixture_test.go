package rollback

import (
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/belay-dev/belay/reconciler/ledger"
	"github.com/belay-dev/belay/reconciler/rollout"
	"github.com/belay-dev/belay/state"
)

var epoch = time.Date(2026, 11, 22, 2, 14, 0, 0, time.UTC)

// pods is a pod template of one container with an image and variables.
func pods(image string, env map[string]string) *corev1.PodTemplateSpec {
	c := corev1.Container{Name: "web", Image: image}
	for _, name := range slices.Sorted(maps.Keys(env)) {
		c.Env = append(c.Env, corev1.EnvVar{Name: name, Value: env[name]})
	}
	t := &corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{c}}}
	t.Labels = map[string]string{"app": "web"}
	return t
}

// past is a history of one Deployment: each template ran to its end, the last one runs.
type past struct {
	facts     Facts
	templates map[string]*corev1.PodTemplateSpec
}

func newPast(templates ...*corev1.PodTemplateSpec) *past {
	p := &past{templates: map[string]*corev1.PodTemplateSpec{}}
	p.facts = Facts{Namespace: "default", Name: "web", Template: func(digest string) *corev1.PodTemplateSpec { return p.templates[digest] }}
	p.facts.Running.UID = "uid"
	for _, t := range templates {
		p.run(t, ledger.Complete)
	}
	return p
}

// run hands a template over, as a commit does, and Git wants it.
func (p *past) run(t *corev1.PodTemplateSpec, outcome state.Outcome) state.Row {
	n := len(p.facts.Rows) + 1
	r := state.Row{
		ID: fmt.Sprintf("r%d", n), Number: int64(n), Namespace: "default", Name: "web", UID: "uid", Commit: fmt.Sprintf("c%d", n),
		Template: rollout.Digest(t), Images: []string{t.Spec.Containers[0].Image}, Revision: int64(n), ReplicaSet: fmt.Sprintf("web-%d", n),
		Outcome: outcome, Open: ledger.IsOpen(outcome), StartedAt: epoch.Add(time.Duration(n) * time.Minute),
	}
	if b := Bare(t); b != r.Template {
		r.Bare = b
	}
	p.facts.Rows = append(p.facts.Rows, r)
	p.templates[r.Template] = t
	p.facts.Running = Running{UID: "uid", Template: r.Template, Bare: Bare(t), Revision: r.Revision}
	p.facts.Git = Bare(t)
	return r
}
