package app

import (
	"cmp"
	"slices"
	"sync"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/belay-dev/belay/cmd/belay/control"
	"github.com/belay-dev/belay/reconciler"
	"github.com/belay-dev/belay/reconciler/engine"
	"github.com/belay-dev/belay/reconciler/ledger"
	"github.com/belay-dev/belay/state"
)

// memory is how Deployments were shown last: of thousands few have changed when somebody asks again.
type memory struct {
	mu   sync.Mutex // held while a board is in use
	last map[state.Key]*remembered
}

// remembered is one of them, and what it follows from.
type remembered struct {
	basis basis
	row   control.Deployment
	needs []engine.ConfigUse // ConfigMaps and Secrets that its pods cannot do without
}

// basis is all that a Deployment without a hold and overrides is shown from: where it is equal, so is what is shown.
type basis struct {
	managed    *state.Managed
	deployment *appsv1.Deployment
	rollout    engine.Rollout
	newest     *state.Row // that says most about now: no commit overtaken before it ran
	configured bool       // its app is
	behind     bool       // its source is suspended, and not at the head
}

// board is the Deployments at one moment. One is in use at a time.
type board struct {
	*reader
	now     *state.Snapshot
	managed []*state.Managed // sorted by source and key
	live    []engine.Live    // sorted by namespace and name
	next    map[state.Key]*remembered
}

func (r *reader) look() *board {
	r.memory.mu.Lock()
	now := r.store.Snapshot()
	b := &board{reader: r, now: now, managed: now.Inventory(state.KindDeployment), live: r.engine.Deployments(now)}
	b.next = make(map[state.Key]*remembered, len(b.managed))
	return b
}

// end remembers what was shown, and forgets what was not.
func (b *board) end() {
	b.memory.last = b.next
	b.memory.mu.Unlock()
}

// of are the managed Deployments of a source, sorted by key.
func (b *board) of(source string) []*state.Managed {
	bySource := func(m *state.Managed, source string) int { return cmp.Compare(m.Source, source) }
	begin, _ := slices.BinarySearchFunc(b.managed, source, bySource)
	n, _ := slices.BinarySearchFunc(b.managed[begin:], source+"\x00", bySource)
	return b.managed[begin : begin+n]
}

// liveOf is what runs under a key.
func (b *board) liveOf(k state.Key) engine.Live {
	i, ok := slices.BinarySearchFunc(b.live, k, func(l engine.Live, k state.Key) int {
		return cmp.Or(cmp.Compare(l.Object.GetNamespace(), k.Namespace), cmp.Compare(l.Object.GetName(), k.Name))
	})
	if !ok {
		return engine.Live{}
	}
	return b.live[i]
}

// deployment shows a managed Deployment of a source, and the ConfigMaps and Secrets that its pods do not find.
func (b *board) deployment(m *state.Managed, s reconciler.SourceStatus) (control.Deployment, []control.Problem) {
	live := b.liveOf(m.Key)
	from := basis{
		managed: m, deployment: live.Deployment(), rollout: live.Rollout, newest: b.now.LastRow(m.Key.Namespace, m.Key.Name, ledger.Superseded),
		configured: slices.ContainsFunc(s.Apps, func(a reconciler.AppStatus) bool { return a.Name == m.App }),
		behind:     s.Suspended && s.Head != s.Commit,
	}
	known := b.memory.last[m.Key]
	if known == nil || known.basis != from {
		known = &remembered{basis: from, row: from.show(), needs: needs(from.deployment)}
	}
	b.next[m.Key] = known
	row := b.beside(known.row)
	if row.Next == "" && from.deployment != nil {
		row.Next = from.next(row)
	}
	return row, b.missing(known)
}

func needs(d *appsv1.Deployment) []engine.ConfigUse {
	if d == nil {
		return nil
	}
	return slices.DeleteFunc(engine.ConfigUses(d.Namespace, &d.Spec.Template.Spec), func(u engine.ConfigUse) bool { return u.Optional })
}

// missing are the ConfigMaps and Secrets that the pods of a Deployment do not find.
func (b *board) missing(d *remembered) []control.Problem {
	if !slices.ContainsFunc(d.needs, func(u engine.ConfigUse) bool { _, there := state.Find(b.now, u.Key); return !there }) {
		return nil
	}
	return missingConfigs(b.now, d.basis.managed, d.basis.deployment)
}

// missingConfigs are the ConfigMaps and Secrets that the pods of a Deployment do not find.
func missingConfigs(now *state.Snapshot, m *state.Managed, d *appsv1.Deployment) []control.Problem {
	var out []control.Problem
	for _, p := range reconciler.MissingConfigs(now, *m, d) {
		out = append(out, problemOf(p))
	}
	return out
}

// show shows a Deployment but for what people set beside Git.
func (f basis) show() control.Deployment {
	d, k := f.deployment, f.managed.Key
	out := control.Deployment{Namespace: k.Namespace, Name: k.Name, App: f.managed.App, Images: []string{}, Health: control.Missing}
	if f.newest != nil {
		out.Outcome = string(f.newest.Outcome)
		out.Reason = f.newest.Reason
	}
	if d == nil {
		return out
	}
	if !f.configured {
		out.Reason, out.Next = "Unmanaged", "its app left the configuration; it keeps running"
	}
	out.Images = list(reconciler.Images(d))
	out.Revision, out.Commit = f.rollout.Revision, d.Annotations[engine.AnnotationCommit]
	out.Replicas, out.Updated = *d.Spec.Replicas, d.Status.UpdatedReplicas
	out.Ready, out.Available = d.Status.ReadyReplicas, d.Status.AvailableReplicas
	out.Health = healthOf(d, f.rollout)
	if out.Reason == "" && f.rollout.Waits != "" && out.Health != control.Healthy {
		out.Reason = f.rollout.Waits
	}
	if n := f.newest; n != nil && n.StartedAt.IsZero() && n.Open && n.Template != f.rollout.Template {
		out.Wants = &control.Wants{Commit: n.Commit, Images: list(n.Images)}
	}
	return out
}

// beside adds what people set beside Git.
func (b *board) beside(d control.Deployment) control.Deployment {
	if d.Health == control.Missing {
		return d
	}
	d.Overrides = overridesOf(b.now.Overrides(d.Namespace, d.Name))
	if h, ok := b.now.Hold(d.Namespace, d.Name); ok {
		shown := b.hold(h)
		d.Wants, d.GitChange, d.Next = b.wants(h), shown.GitChange, shown.Next
		shown.GitChange, shown.Next = nil, "" // they are the Deployment's
		d.Hold = &shown
	}
	return d
}

// next says what happens next to a Deployment that is not as Git wants it, or what a person can do.
func (f basis) next(d control.Deployment) string {
	switch row := f.newest; {
	case f.behind:
		return "belay resume " + f.managed.Source
	case row == nil:
		return ""
	case row.Outcome == ledger.Waiting:
		return row.Message
	case row.Outcome == ledger.Paused:
		return "set spec.paused to false in Git"
	case row.Outcome == ledger.Failed, row.Outcome == ledger.Progressing && d.Reason != "":
		return back(d.Name, row.Commit)
	}
	return ""
}
