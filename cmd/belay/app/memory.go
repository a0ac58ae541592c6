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
	mu   sync.Mutex    // held while a board is in use
	last []*remembered // sorted by source and key
}

// remembered is one of them, and what it follows from.
type remembered struct {
	basis basis
	text  []byte             // as JSON, but for what people set beside Git
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
	live    []engine.Live    // what runs of each of them
	shown   []*remembered    // how each is shown; until it is, how it was
	newest  func(namespace, name string) *state.Row
	aside   map[types.NamespacedName]bool // those with holds or overrides
	moves   int64                         // how many ConfigMaps and Secrets have come and gone
}

func (r *reader) look() *board {
	r.memory.mu.Lock()
	now := r.store.Snapshot()
	b := &board{
		reader: r, now: now, managed: now.Inventory(state.KindDeployment), newest: now.Newest(ledger.Superseded),
		aside: map[types.NamespacedName]bool{}, moves: now.Moves(state.KindConfigMap) + now.Moves(state.KindSecret),
	}
	for namespace, name := range now.Aside() {
		b.aside[types.NamespacedName{Namespace: namespace, Name: name}] = true
	}
	b.live, b.shown = make([]engine.Live, len(b.managed)), make([]*remembered, len(b.managed))
	all := r.engine.Deployments(now)
	last, live := r.memory.last, all
	for i, m := range b.managed {
		if i > 0 && b.managed[i-1].Source != m.Source {
			live = all
		}
		last, b.shown[i], _ = after(last, m, func(was *remembered, m *state.Managed) int {
			return cmp.Or(cmp.Compare(was.basis.managed.Source, m.Source), was.basis.managed.Key.Compare(m.Key))
		})
		live, b.live[i], _ = after(live, m, func(l engine.Live, m *state.Managed) int {
			return cmp.Or(cmp.Compare(l.Object.GetNamespace(), m.Key.Namespace), cmp.Compare(l.Object.GetName(), m.Key.Name))
		})
	}
	return b
}

// after finds what is sought in a sorted list, most often its first element, and gives the list from there on.
func after[E, T any](list []E, sought T, compare func(E, T) int) (rest []E, found E, ok bool) {
	if len(list) > 0 && compare(list[0], sought) == 0 {
		return list[1:], list[0], true
	}
	i, ok := slices.BinarySearchFunc(list, sought, compare)
	if ok {
		found = list[i]
	}
	return list[i:], found, ok
}

// end remembers what was shown.
func (b *board) end() {
	b.memory.last = slices.DeleteFunc(b.shown, func(d *remembered) bool { return d == nil })
	b.memory.mu.Unlock()
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
	m, live := b.managed[i], b.live[i]
	from := basis{
		managed: m, deployment: live.Deployment(), rollout: live.Rollout, newest: b.newest(m.Key.Namespace, m.Key.Name),
		configured: o.apps[m.App], behind: o.behind,
	}
	known := b.shown[i]
	if known == nil || known.basis != from {
		text, err := encode(from.show())
		if err != nil {
			return nil, nil, err
		}
		known = &remembered{basis: from, text: text, needs: needs(from.deployment), moves: -1}
		b.shown[i] = known
	}
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
