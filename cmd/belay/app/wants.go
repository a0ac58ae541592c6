package app

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/belay-dev/belay/cmd/belay/control"
	"github.com/belay-dev/belay/reconciler/ledger"
	"github.com/belay-dev/belay/reconciler/rollback"
	"github.com/belay-dev/belay/state"
)

// wants is what Git wants of a held Deployment, with what is bad of it; nil when it wants what is held.
func (r *reader) wants(h state.Hold) *control.Wants {
	rows := r.store.Rows(h.Namespace, h.Name)
	i := len(rows) - 1
	for i >= 0 && (rows[i].Commit == "" || rows[i].Operation != "") {
		i--
	}
	if i < 0 || rows[i].Template == h.Template {
		return nil
	}
	row := rows[i]
	out := &control.Wants{Commit: row.Commit, Images: list(row.Images)}
	t, ok := r.store.Template(row.Template)
	if !ok {
		return out
	}
	for _, taint := range rollback.Tainted(&t.Template, rollback.Bare(&t.Template), r.store.Marks(h.Namespace, h.Name)) {
		switch {
		case strings.HasSuffix(taint.Field, ".image"):
			out.Tainted = "image"
		case out.Tainted == "image":
		case taint.Field == "":
			out.Tainted = "template"
		default:
			out.Tainted = "fields"
		}
		if bad := strings.TrimSpace(taint.Field + " " + taint.Value); bad != "" && !slices.Contains(out.Bad, bad) {
			out.Bad = append(out.Bad, bad)
		}
	}
	return out
}

// stable reports whether what a hold keeps completed once, and is not bad.
func (r *reader) stable(h state.Hold, t *corev1.PodTemplateSpec) bool {
	return ledger.Stable(r.store.Rows(h.Namespace, h.Name), h.Template) &&
		len(rollback.Tainted(t, rollback.Bare(t), r.store.Marks(h.Namespace, h.Name))) == 0
}

// overrides shows what people set on a Deployment beside Git.
func (r *reader) overrides(all []state.Override) []control.Override {
	var out []control.Override
	for _, o := range all {
		out = append(out, control.Override{
			Field: o.Field, Value: o.Value, By: o.By, Since: utc(o.Since), GitChange: r.gitChange(o.ID, o.Namespace, o.Name, o.Field),
		})
	}
	return out
}

func imagesOf(t *corev1.PodTemplateSpec) []string {
	var out []string
	for _, c := range t.Spec.Containers {
		out = append(out, c.Image)
	}
	return out
}

// markOf shows what is bad.
func markOf(m state.Mark) control.Mark {
	out := control.Mark{ID: m.ID, Namespace: m.Namespace, Name: m.Name, By: m.By, Reason: m.Reason, Since: utc(m.Since), Bad: []string{}}
	for _, b := range m.Images {
		out.Bad = append(out.Bad, b.Container+"="+b.Image)
	}
	for _, l := range m.Leaves {
		out.Bad = append(out.Bad, l.Path)
	}
	if len(out.Bad) == 0 {
		out.Bad = append(out.Bad, "the whole pod template")
	}
	return out
}
