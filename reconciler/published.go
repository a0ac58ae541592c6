package reconciler

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/belay-dev/belay/manifests"
	"github.com/belay-dev/belay/reconciler/engine"
)

// SourceStatus is what a source looks like from outside.
type SourceStatus struct {
	Name      string
	URL       string
	Branch    string
	Head      string // newest commit seen
	Commit    string // newest commit recorded
	LastPoll  time.Time
	NextPoll  time.Time
	Suspended bool
	Err       error // of the last look; nil: it went well
	Apps      []AppStatus
	Problems  []manifests.Problem
}

// AppStatus is what one app of a source looks like.
type AppStatus struct {
	Name   string
	Path   string
	Commit string // its oldest last good commit: the source's, unless a root is stale
	Stale  bool
	// Opening says whether changes may begin now.
	Opening Opening
}

// publish makes a source's state visible to Status.
func (l *Loop) publish(f *follower) {
	s := SourceStatus{
		Name: f.Name, URL: f.URL, Branch: f.Branch, Head: f.head, Commit: f.cursor.Commit, LastPoll: f.lastPoll,
		Suspended: f.cursor.Suspended, Err: f.err, Problems: slices.Clone(f.Cache.Problems()),
	}
	for i := range s.Problems {
		s.Problems[i].Source = f.Name
	}
	for _, a := range f.Apps {
		as := AppStatus{Name: a.Name, Path: a.Path, Commit: f.cursor.Commit}
		if slices.ContainsFunc(s.Problems, func(p manifests.Problem) bool { return p.App == a.Name && p.Reason == manifests.AppPathMissing }) {
			as.Commit, as.Stale = "", true // unless a root of it is known from before
		}
		for id := range f.stale {
			if app, _, _ := strings.Cut(id, "\x00"); app == a.Name {
				as.Stale = true
				if c := f.cursor.Roots[id]; c != "" {
					as.Commit = c
				}
			}
		}
		s.Apps = append(s.Apps, as)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.published[f.Name] = s
}

// Status returns every source in configuration order, and the problems of planning and applying, sorted by object.
// It never waits for a pass.
func (l *Loop) Status() ([]SourceStatus, []manifests.Problem) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []SourceStatus
	for _, f := range l.followers() {
		st := l.published[f.Name]
		st.NextPoll = f.Trigger.NextAt()
		openings := f.openings.at(l.o.Now(), f.Source)
		st.Apps = slices.Clone(st.Apps)
		for i := range st.Apps {
			st.Apps[i].Opening = openings[st.Apps[i].Name]
		}
		out = append(out, st)
	}
	var ps []manifests.Problem
	for _, problems := range []map[engine.Key]manifests.Problem{l.problems, l.shared} {
		for _, k := range slices.SortedFunc(maps.Keys(problems), compareKeys) {
			ps = append(ps, problems[k])
		}
	}
	return out, ps
}
