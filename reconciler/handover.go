package reconciler

import (
	"cmp"
	"maps"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/belay-dev/belay/reconciler/engine"
	"github.com/belay-dev/belay/reconciler/ledger"
	"github.com/belay-dev/belay/state"
)

// annotate returns the Deployment with the annotations that name a row's commit.
func annotate(d *appsv1.Deployment, r state.Row) *appsv1.Deployment {
	d = d.DeepCopy()
	a := maps.Clone(d.Annotations)
	if a == nil {
		a = map[string]string{}
	}
	set := func(key, value string) {
		if value == "" {
			delete(a, key)
			return
		}
		a[key] = value
	}
	set(engine.ChangeCause, r.ChangeCause)
	set(engine.AnnotationCommit, r.Commit)
	set(engine.AnnotationAuthor, r.Author)
	if !r.CommittedAt.IsZero() {
		set(engine.AnnotationCommittedAt, r.CommittedAt.UTC().Format(time.RFC3339))
	}
	d.Annotations = a
	return d
}

// named is the row that names the commit of the template that is handed over: of a rollback, the one that is gone back
// to; of a restart, the one that is restarted.
func named(s Subject, r state.Row) state.Row {
	var of state.Row
	switch {
	case r.Commit != "":
		return r
	case s.Hold != nil:
		of.Commit = s.Hold.Commit
		for _, o := range s.Rows {
			if o.ID == s.Hold.Row {
				of = o
			}
		}
	default:
		if d := s.Live.Deployment(); d != nil {
			of.Commit, of.Author = d.Annotations[engine.AnnotationCommit], d.Annotations[engine.AnnotationAuthor]
			of.CommittedAt, _ = time.Parse(time.RFC3339, d.Annotations[engine.AnnotationCommittedAt])
		}
	}
	r.Commit, r.Author, r.CommittedAt = of.Commit, of.Author, of.CommittedAt
	return r
}

// ranBefore is the index of the row, other than the i-th, that was handed over last with its template; -1 when it never
// ran.
func ranBefore(rows []state.Row, i int) int {
	found := -1
	for j, r := range rows {
		if j != i && !r.StartedAt.IsZero() && r.Template == rows[i].Template && (found < 0 || !r.StartedAt.Before(rows[found].StartedAt)) {
			found = j
		}
	}
	return found
}

// letGo reports whether row j is what a person ran past Git until row i, of a commit, has its turn again: a release, or a
// commit that was held off, does not roll back the older template that was held.
func letGo(rows []state.Row, j, i int) bool {
	return rows[i].Operation == "" && rows[j].Operation != "" && rows[j].Commit == "" && firstRan(rows, rows[j]) < firstRan(rows, rows[i])
}

// firstRan is the index of the row with which a row's template first ran, or was imported, here.
func firstRan(rows []state.Row, of state.Row) int {
	return slices.IndexFunc(rows, func(r state.Row) bool {
		return cmp.Or(r.Bare, r.Template) == cmp.Or(of.Bare, of.Template) && (!r.StartedAt.IsZero() || r.Outcome == ledger.Imported)
	})
}

// ranAfter reports whether row j was handed over after row i.
func ranAfter(rows []state.Row, j, i int) bool {
	a, b := rows[j].StartedAt, rows[i].StartedAt
	return !a.IsZero() && (a.After(b) || a.Equal(b) && j > i)
}

// undone moves on the rows that handing row i over overtakes. Going back to a template that ran before rolls back
// everything that ran after it, but for what is let go; otherwise what is still open is superseded, but for the commits
// that a person's operation leaves waiting.
func undone(s Subject, i int, now time.Time) []state.Row {
	back := ranBefore(s.Rows, i)
	var out []state.Row
	for j, r := range s.Rows {
		started := !r.StartedAt.IsZero()
		to := ledger.Superseded
		switch {
		case j == i:
			continue
		case back >= 0 && ranAfter(s.Rows, j, back) && !letGo(s.Rows, j, i):
			to = ledger.RolledBack
		case !r.Open || !started && (j > i || s.Rows[i].Operation != ""):
			continue
		}
		next, ok := ledger.Become(r, to)
		if !ok {
			continue
		}
		if to == ledger.RolledBack {
			next.RolledBackBy = s.Rows[i].ID
		} else {
			next.SupersededBy = s.Rows[i].ID
		}
		if next.EndedAt.IsZero() {
			next.EndedAt = now
		}
		next.Reason, next.Message = "", ""
		out = append(out, next)
	}
	return out
}
