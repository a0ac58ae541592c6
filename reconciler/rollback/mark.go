package rollback

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/belay-dev/belay/reconciler/ledger"
	"github.com/belay-dev/belay/state"
)

// ran reports whether a row's template was handed to a rollout here, or was the head's before the first sync.
func ran(r state.Row) bool {
	return r.Template != "" && (!r.StartedAt.IsZero() || r.Outcome == ledger.Imported)
}

// firstRan is the index of the row with which a template first ran or was imported here; -1 when it never was.
func firstRan(rows []state.Row, digest string) int {
	return slices.IndexFunc(rows, func(r state.Row) bool { return ran(r) && bare(r) == digest })
}

// mark is what a rollback from one row to another leaves as bad. Only going back to a template that ran before leaves
// anything.
//
// With the rows 1: web:1, 2: web:2, 3: web:2 and another variable, 4: web:3, a rollback from 4 to 1 marks the images web:2
// and web:3, and three templates; one from 3 to 2 marks the variable, as no image differs, and one template.
func (f Facts) mark(id string, from, to state.Row, target *corev1.PodTemplateSpec, r Request) *state.Mark {
	after, upTo := firstRan(f.Rows, bare(to)), firstRan(f.Rows, bare(from))
	if after < 0 || upTo <= after {
		return nil
	}
	m := &state.Mark{
		ID: id, Namespace: f.Namespace, Name: f.Name, By: r.By, Reason: r.Why, Door: string(r.Door), Since: r.Now, From: from.ID, To: to.ID,
	}
	good := map[[2]string]bool{}
	for _, c := range containers(target) {
		good[[2]string{c.Name, c.Image}] = true
	}
	var last *corev1.PodTemplateSpec
	for i, row := range f.Rows[:upTo+1] {
		if i <= after || !ran(row) || firstRan(f.Rows, bare(row)) != i {
			continue
		}
		m.Templates = append(m.Templates, bare(row))
		t := f.Template(row.Template)
		if t == nil {
			continue
		}
		last = t
		for _, c := range containers(t) {
			if !good[[2]string{c.Name, c.Image}] {
				good[[2]string{c.Name, c.Image}] = true // once is enough
				m.Images = append(m.Images, state.BadImage{Container: c.Name, Image: c.Image, Commit: row.Commit})
			}
		}
	}
	if len(m.Images) == 0 && last != nil {
		m.Leaves = f.differing(last, target, after, upTo)
	}
	return m
}

// differing lists the leaves in which a template differs from an older one, with the commits that brought them.
func (f Facts) differing(bad, good *corev1.PodTemplateSpec, after, upTo int) []state.BadLeaf {
	is, was := leavesOf(bad), leavesOf(good)
	var out []state.BadLeaf
	for path, value := range is {
		if old, ok := was[path]; (!ok || old != value) && !filled(value, path, was) {
			out = append(out, state.BadLeaf{Path: path, Value: value})
		}
	}
	for path := range was {
		if _, ok := is[path]; !ok && !filled(was[path], path, is) {
			out = append(out, state.BadLeaf{Path: path, Absent: true})
		}
	}
	slices.SortFunc(out, func(a, b state.BadLeaf) int { return strings.Compare(a.Path, b.Path) })
	for i := after + 1; i <= upTo; i++ {
		if !ran(f.Rows[i]) {
			continue
		}
		t := f.Template(f.Rows[i].Template)
		if t == nil {
			continue
		}
		has := leavesOf(t)
		for j := range out {
			value, ok := has[out[j].Path]
			if out[j].Commit == "" && ok != out[j].Absent && value == out[j].Value {
				out[j].Commit = f.Rows[i].Commit
			}
		}
	}
	return out
}

// filled reports whether a value is an empty map of which the other template has leaves: those say it all.
func filled(value, path string, other map[string]string) bool {
	if value != "{}" {
		return false
	}
	for p := range other {
		if strings.HasPrefix(p, path+".") || strings.HasPrefix(p, path+"[") {
			return true
		}
	}
	return false
}

// without is what is left of marks once a person has gone to a template: what it carries is bad no more. Ended are the
// marks of which nothing is left, changed those that lost a part.
func without(marks []state.Mark, t *corev1.PodTemplateSpec, digest string) (changed, ended []state.Mark) {
	for _, m := range marks {
		if len(Tainted(t, digest, []state.Mark{m})) == 0 {
			continue
		}
		has := map[[2]string]bool{}
		for _, c := range containers(t) {
			has[[2]string{c.Name, c.Image}] = true
		}
		m.Images = slices.DeleteFunc(slices.Clone(m.Images), func(b state.BadImage) bool { return has[[2]string{b.Container, b.Image}] })
		m.Templates = slices.DeleteFunc(slices.Clone(m.Templates), func(d string) bool { return d == digest })
		if hasAll(t, m.Leaves) {
			m.Leaves = nil
		}
		if len(m.Images)+len(m.Leaves) == 0 {
			ended = append(ended, m)
			continue
		}
		changed = append(changed, m)
	}
	return changed, ended
}

// Bad reports whether the row's template is one that marks find bad. A template that is not in the ledger is not known to
// be.
func (f Facts) bad(r state.Row) []Taint {
	if len(f.Marks) == 0 {
		return nil
	}
	t := f.Template(r.Template)
	if t == nil {
		return nil
	}
	return Tainted(t, bare(r), f.Marks)
}

// keep is the marks as they are after some changed and some ended.
func keep(marks, changed, ended []state.Mark) []state.Mark {
	by := map[string]state.Mark{}
	for _, m := range marks {
		by[m.ID] = m
	}
	for _, m := range changed {
		by[m.ID] = m
	}
	for _, m := range ended {
		delete(by, m.ID)
	}
	out := make([]state.Mark, 0, len(by))
	for _, id := range slices.Sorted(maps.Keys(by)) {
		out = append(out, by[id])
	}
	return out
}
