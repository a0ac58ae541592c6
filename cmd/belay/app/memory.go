package app

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/belay-dev/belay/cmd/belay/control"
	"github.com/belay-dev/belay/reconciler"
	"github.com/belay-dev/belay/reconciler/engine"
	"github.com/belay-dev/belay/reconciler/ledger"
	"github.com/belay-dev/belay/state"
)

// memory is how Deployments were shown last: of thousands few have changed when somebody asks again.
type memory struct {
	mu      sync.Mutex    // held while a board is in use
	last    []*remembered // sorted by source and key
	version int64         // of the store when they were shown
}

// remembered is one of them, and what it follows from.
type remembered struct {
	basis basis
	text  []byte             // as JSON, but for what people set beside Git
	asked types.UID          // the ReplicaSet whose pods the basis depends on; empty: on none
	needs []engine.ConfigUse // ConfigMaps and Secrets that its pods cannot do without
	// missing are those of them that were not there when so many ConfigMaps and Secrets had come and gone.
	missing []control.Problem
	moves   int64
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
	shown   []*remembered    // how each is shown; until it is, how it was
	since   *changed         // nil: anything may have changed
	all     []engine.Live    // sorted by namespace and name; nil: they are asked one by one
	newest  func(namespace, name string) *state.Row
	aside   map[types.NamespacedName]bool // those with holds or overrides
	moves   int64                         // how many ConfigMaps and Secrets have come and gone
}

func (r *reader) look() *board {
	r.memory.mu.Lock()
	now, since, known := r.store.SnapshotAfter(r.memory.version, state.KindDeployment, state.KindReplicaSet, state.KindPod)
	b := &board{
		reader: r, now: now, managed: now.Inventory(state.KindDeployment), newest: now.Newest(ledger.Superseded),
		aside: map[types.NamespacedName]bool{}, moves: now.Moves(state.KindConfigMap) + now.Moves(state.KindSecret),
	}
	for namespace, name := range now.Aside() {
		b.aside[types.NamespacedName{Namespace: namespace, Name: name}] = true
	}
	if known {
		b.since = changedBy(since)
	}
	if b.since == nil || len(r.memory.last) == 0 || len(b.since.names) > len(b.managed)/4 {
		b.all = r.engine.Deployments(now)
	}
	b.shown = make([]*remembered, len(b.managed))
	last := r.memory.last
	for i, m := range b.managed {
		last, b.shown[i] = after(last, m)
	}
	return b
}

// after finds how a managed Deployment was shown, most often the first of a list, and gives the list from there on.
func after(list []*remembered, m *state.Managed) (rest []*remembered, found *remembered) {
	compare := func(was *remembered, m *state.Managed) int {
		return cmp.Or(cmp.Compare(was.basis.managed.Source, m.Source), was.basis.managed.Key.Compare(m.Key))
	}
	if len(list) > 0 && compare(list[0], m) == 0 {
		return list[1:], list[0]
	}
	i, ok := slices.BinarySearchFunc(list, m, compare)
	if ok {
		found = list[i]
	}
	return list[i:], found
}

// remember keeps how all were shown.
func (b *board) remember() {
	b.memory.last, b.memory.version = b.shown, b.now.Version()
}

// end lets the next board be used.
func (b *board) end() { b.memory.mu.Unlock() }

// changed is what may be shown in another way than before.
type changed struct {
	names  map[types.NamespacedName]bool // Deployments that changed themselves, or whose rows did
	owners map[types.UID]bool            // of ReplicaSets and pods that did
}

func changedBy(since state.Changes) *changed {
	c := &changed{names: map[types.NamespacedName]bool{}, owners: map[types.UID]bool{}}
	for _, name := range since.Rows {
		c.names[name] = true
	}
	for _, e := range since.Events {
		if k := e.Key(); k.Kind == state.KindDeployment {
			c.names[types.NamespacedName{Namespace: k.Namespace, Name: k.Name}] = true
			continue
		}
		for _, o := range []state.Object{e.Old, e.Object} {
			if o == nil {
				continue
			}
			for _, owner := range o.GetOwnerReferences() {
				c.owners[owner.UID] = true
			}
		}
	}
	return c
}

// same reports whether what a managed Deployment was shown from has not changed: itself, its rows, the ReplicaSets that it
// owns, and the pods that are asked.
func (c *changed) same(was *remembered, m *state.Managed) bool {
	return c != nil && was != nil && was.basis.managed == m && !c.names[types.NamespacedName{Namespace: m.Key.Namespace, Name: m.Key.Name}] &&
		(was.basis.deployment == nil || !c.owners[was.basis.deployment.UID]) && !c.owners[was.asked]
}

// live is what runs of a managed Deployment.
func (b *board) live(k state.Key) engine.Live {
	if b.all == nil {
		return b.engine.Deployment(b.now, k.Namespace, k.Name)
	}
	i, ok := slices.BinarySearchFunc(b.all, k, func(l engine.Live, k state.Key) int {
		return cmp.Or(cmp.Compare(l.Object.GetNamespace(), k.Namespace), cmp.Compare(l.Object.GetName(), k.Name))
	})
	if !ok {
		return engine.Live{}
	}
	return b.all[i]
}

// of are the places of a source's managed Deployments, which are sorted by key.
func (b *board) of(source string) (begin, end int) {
	bySource := func(m *state.Managed, source string) int { return cmp.Compare(m.Source, source) }
	begin, _ = slices.BinarySearchFunc(b.managed, source, bySource)
	n, _ := slices.BinarySearchFunc(b.managed[begin:], source+"\x00", bySource)
	return begin, begin + n
}

// deployments shows all, each as JSON, in the order of the sources, and the ConfigMaps and Secrets that their pods do not find.
func (b *board) deployments(sources []reconciler.SourceStatus) (texts [][]byte, missing []control.Problem, err error) {
	texts = make([][]byte, 0, len(b.managed))
	awaited, followed := b.awaited(), map[string]bool{}
	for _, s := range sources {
		followed[s.Name] = true
		var found []control.Deployment
		if s.Suspended {
			found = b.found.deployments(s.Name)
		}
		if texts, err = encoded(texts, found); err != nil {
			return nil, nil, err
		}
		o := originOf(s)
		for i, end := b.of(s.Name); i < end; i++ {
			text, problems, err := b.deployment(i, o)
			if err != nil {
				return nil, nil, err
			}
			if !shown(found, b.managed[i].Key) {
				texts = append(texts, text)
			}
			missing = append(missing, problems...)
		}
		if texts, err = encoded(texts, awaited[s.Name]); err != nil {
			return nil, nil, err
		}
	}
	for i, m := range b.managed { // left over by sources that are not configured any more
		if followed[m.Source] {
			continue
		}
		text, _, err := b.deployment(i, origin{})
		if err != nil {
			return nil, nil, err
		}
		texts = append(texts, text)
	}
	b.remember()
	return texts, missing, nil
}

// encoded adds Deployments as JSON.
func encoded(texts [][]byte, ds []control.Deployment) ([][]byte, error) {
	for _, d := range ds {
		text, err := encode(d)
		if err != nil {
			return nil, err
		}
		texts = append(texts, text)
	}
	return texts, nil
}

func encode(d control.Deployment) ([]byte, error) {
	text, err := json.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("show %s/%s: %w", d.Namespace, d.Name, err)
	}
	return text, nil
}

// origin is what a source says of its Deployments.
type origin struct {
	apps   map[string]bool // those that are configured
	behind bool            // it is suspended, and not at the head
}

func originOf(s reconciler.SourceStatus) origin {
	o := origin{apps: make(map[string]bool, len(s.Apps)), behind: s.Suspended && s.Head != s.Commit}
	for _, a := range s.Apps {
		o.apps[a.Name] = true
	}
	return o
}

// deployment shows the managed Deployment at a place, as JSON, and the ConfigMaps and Secrets that its pods do not find.
func (b *board) deployment(i int, o origin) ([]byte, []control.Problem, error) {
	m, known := b.managed[i], b.shown[i]
	var from basis
	var asked types.UID
	if b.since.same(known, m) {
		from, asked = known.basis, known.asked
	} else {
		live := b.live(m.Key)
		asked = live.Asked
		from = basis{managed: m, deployment: live.Deployment(), rollout: live.Rollout, newest: b.newest(m.Key.Namespace, m.Key.Name)}
	}
	from.configured, from.behind = o.apps[m.App], o.behind
	if known == nil || known.basis != from {
		text, err := encode(from.show())
		if err != nil {
			return nil, nil, err
		}
		known = &remembered{basis: from, text: text, needs: needs(from.deployment), moves: -1}
		b.shown[i] = known
	}
	known.asked = asked
	if known.moves != b.moves {
		known.moves, known.missing = b.moves, b.missing(known)
	}
	if !b.aside[types.NamespacedName{Namespace: m.Key.Namespace, Name: m.Key.Name}] {
		return known.text, known.missing, nil
	}
	text, err := encode(b.beside(from.show()))
	return text, known.missing, err
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
	if out.Next == "" {
		out.Next = f.next(out)
	}
	return out
}

// beside adds what people set beside Git.
func (b *board) beside(d control.Deployment) control.Deployment {
	if d.Health == control.Missing {
		return d
	}
	d.Overrides = b.overrides(b.now.Overrides(d.Namespace, d.Name))
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
