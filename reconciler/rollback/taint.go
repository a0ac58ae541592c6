package rollback

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/belay-dev/belay/manifests"
	"github.com/belay-dev/belay/reconciler/rollout"
	"github.com/belay-dev/belay/state"
)

// Bare returns the digest of a template without its restartedAt: two templates that differ in nothing else have one.
func Bare(t *corev1.PodTemplateSpec) string {
	if _, ok := t.Annotations[Restarted]; !ok {
		return rollout.Digest(t)
	}
	bare := t.DeepCopy()
	delete(bare.Annotations, Restarted)
	if len(bare.Annotations) == 0 {
		bare.Annotations = nil
	}
	return rollout.Digest(bare)
}

// bare is the digest of a row's template without its restartedAt.
func bare(r state.Row) string {
	if r.Bare != "" {
		return r.Bare
	}
	return r.Template
}

// Taint is one thing of a template that a rollback left as bad.
type Taint struct {
	Mark   string // ID of the mark, and of the rollback
	Field  string // path in the template; empty: the whole template
	Value  string // of an image or a resource; empty for everything else
	Commit string // that brought it; empty: not known
	By     string // who rolled it back
	Why    string
}

// String says what is bad, and whose rollback says so.
func (t Taint) String() string { return t.what() + t.who(1) }

func (t Taint) what() string {
	s := cmpOr(t.Field, "the whole pod template")
	if t.Value != "" {
		s += " " + t.Value
	}
	if t.Commit != "" {
		s += " of " + Short(t.Commit)
	}
	return s
}

func (t Taint) who(n int) string {
	s := " was rolled back"
	if n > 1 {
		s = " were rolled back"
	}
	if t.By != "" {
		s += " by " + t.By
	}
	if t.Why != "" {
		s += fmt.Sprintf(" (%q)", t.Why)
	}
	return s
}

func cmpOr(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// Short is a hash as people see it.
func Short(hash string) string { return hash[:min(7, len(hash))] }

// Tainted lists what marks find bad in a template, whose digest without restartedAt is given: an image that is bad, all
// of the leaves that are bad together, or the very template. None: it is clean.
func Tainted(t *corev1.PodTemplateSpec, bare string, marks []state.Mark) []Taint {
	var out []Taint
	for _, m := range marks {
		add := func(field, value, commit string) {
			out = append(out, Taint{Mark: m.ID, Field: field, Value: value, Commit: commit, By: m.By, Why: m.Reason})
		}
		n := len(out)
		for _, c := range containers(t) {
			for _, b := range m.Images {
				if b.Container == c.Name && b.Image == c.Image {
					add(imagePath(t, c.Name), c.Image, b.Commit)
				}
			}
		}
		if len(out) == n && hasAll(t, m.Leaves) {
			for _, l := range m.Leaves {
				add(l.Path, shown(l), l.Commit)
			}
		}
		if len(out) == n && slices.Contains(m.Templates, bare) {
			add("", "", "")
		}
	}
	return out
}

// hasAll reports whether a template has every one of the leaves. It has not when there are none.
func hasAll(t *corev1.PodTemplateSpec, bad []state.BadLeaf) bool {
	if len(bad) == 0 {
		return false
	}
	has := leavesOf(t)
	return !slices.ContainsFunc(bad, func(l state.BadLeaf) bool {
		value, ok := has[l.Path]
		return ok == l.Absent || ok && value != l.Value
	})
}

// shown is the value of a leaf, where it can hold nothing that is secret.
func shown(l state.BadLeaf) string {
	switch {
	case !strings.HasSuffix(l.Path, ".image") && !strings.Contains(l.Path, ".resources."):
		return ""
	case l.Absent:
		return "(removed)"
	}
	if text, err := strconv.Unquote(l.Value); err == nil {
		return text
	}
	return l.Value
}

// leavesOf flattens a template, without its restartedAt and the hash label.
func leavesOf(t *corev1.PodTemplateSpec) map[string]string {
	all := manifests.Leaves(t)
	for path := range all {
		if strings.HasSuffix(path, "["+Restarted+"]") || path == "metadata.labels.pod-template-hash" {
			delete(all, path)
		}
	}
	return all
}

func containers(t *corev1.PodTemplateSpec) []corev1.Container {
	return slices.Concat(t.Spec.InitContainers, t.Spec.Containers)
}

func imagePath(t *corev1.PodTemplateSpec, container string) string {
	list := "containers"
	if slices.ContainsFunc(t.Spec.InitContainers, func(c corev1.Container) bool { return c.Name == container }) {
		list = "initContainers"
	}
	return "spec." + list + "[" + container + "].image"
}
