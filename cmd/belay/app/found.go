package app

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/belay-dev/belay/cmd/belay/control"
	"github.com/belay-dev/belay/reconciler"
	"github.com/belay-dev/belay/reconciler/node"
	"github.com/belay-dev/belay/state"
)

// reasonFound is why a Deployment is shown that this data directory did not start.
const reasonFound = "FoundRunning"

// wantsInterval is how often what Git wants is compared with what was found, while nobody has decided.
const wantsInterval = time.Second

// found is what runs although this data directory did not start it: a source that has such pods is suspended until a
// person resumes it, and nothing is touched before.
type found struct {
	pods map[string][]node.Found // by source

	mu    sync.Mutex                                  // guards what follows
	heads map[string]string                           // commit that wants are of, by source
	wants map[string]map[deploymentName]control.Wants // by source
}

type deploymentName struct{ namespace, name string }

// find asks the runner for pods of the configured sources that other data directories started, and suspends those
// sources.
func (a *App) find(ctx context.Context, store *state.Store, runner node.PodRunner) (*found, error) {
	f := &found{pods: map[string][]node.Found{}, heads: map[string]string{}, wants: map[string]map[deploymentName]control.Wants{}}
	finder := finderOf(runner)
	if finder == nil {
		return f, nil
	}
	pods, err := finder.Find(ctx, store.Instance())
	if err != nil {
		return nil, fmt.Errorf("look for pods of another data directory: %w", err)
	}
	for _, s := range a.config.Sources {
		for _, p := range pods {
			if p.Source == s.URL {
				f.pods[s.Name] = append(f.pods[s.Name], p)
			}
		}
		if len(f.pods[s.Name]) == 0 {
			continue
		}
		c, _ := store.Cursor(s.Name)
		c.Source, c.Suspended = s.Name, true
		if _, err := store.Commit(state.PutCursor(c)); err != nil {
			return nil, fmt.Errorf("suspend %s: %w", s.Name, err)
		}
		a.log.Warn().Str("source", s.Name).Int("pods", len(f.pods[s.Name])).
			Str("hint", "`belay status` shows what runs and what Git wants; `belay resume "+s.Name+"` replaces it").
			Msg("pods of another data directory run: suspended")
	}
	return f, nil
}

// finderOf is the runner as one that finds pods; nil when its pods end with the process.
func finderOf(runner node.PodRunner) node.Finder {
	switch d := runner.(type) {
	case durable:
		runner = d.PodRunner
	case lively:
		runner = d.PodRunner
	}
	f, _ := runner.(node.Finder)
	return f
}

// decided waits until every source that has found pods is resumed, and ends those pods. At once, when there are none.
func (f *found) decided(ctx context.Context, store *state.Store, runner node.PodRunner) error {
	for f.undecided(store) {
		if _, err := store.WaitChange(ctx, store.Version()); err != nil {
			return fmt.Errorf("wait for belay resume: %w", err)
		}
	}
	for _, name := range f.sources() {
		if err := finderOf(runner).Retire(ctx, f.pods[name]); err != nil {
			return fmt.Errorf("end the pods found of %s: %w", name, err)
		}
	}
	return nil
}

func (f *found) sources() []string {
	var names []string
	for name := range f.pods {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// undecided reports whether a source with found pods is suspended still.
func (f *found) undecided(store *state.Store) bool {
	return slices.ContainsFunc(f.sources(), func(name string) bool {
		c, _ := store.Cursor(name)
		return c.Suspended
	})
}

// compare keeps what Git wants of the sources with found pods up to date until they are resumed.
func (f *found) compare(ctx context.Context, store *state.Store, loop *reconciler.Loop) error {
	tick := time.NewTicker(wantsInterval)
	defer tick.Stop()
	for f.undecided(store) {
		sources, _ := loop.Status()
		for _, s := range sources {
			if len(f.pods[s.Name]) == 0 || s.Head == "" || s.Head == f.head(s.Name) {
				continue
			}
			p, err := loop.Preview(ctx, s.Name, s.Head)
			if err != nil {
				continue // status shows the source's error; the next look may go better
			}
			f.note(s.Name, p)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

func (f *found) head(source string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.heads[source]
}

func (f *found) note(source string, p reconciler.Previewed) {
	wants := map[deploymentName]control.Wants{}
	for _, c := range p.Changes {
		if c.Key.Kind == state.KindDeployment && c.After != nil {
			wants[deploymentName{c.Key.Namespace, c.Key.Name}] = control.Wants{Commit: p.Commit, Images: list(reconciler.Images(c.After))}
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.heads[source], f.wants[source] = p.Commit, wants
}

// deployments shows what was found of a source, beside what Git wants of it.
func (f *found) deployments(source string) []control.Deployment {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []control.Deployment
	for _, p := range f.pods[source] {
		i := slices.IndexFunc(out, func(d control.Deployment) bool { return d.Namespace == p.Namespace && d.Name == p.Deployment })
		if i < 0 {
			d := control.Deployment{
				Namespace: p.Namespace, Name: p.Deployment, Commit: p.Commit, Images: list(p.Images), Health: control.UnknownLive,
				Reason: reasonFound, Next: "belay resume " + source,
			}
			if w, ok := f.wants[source][deploymentName{p.Namespace, p.Deployment}]; ok {
				d.Wants = &w
			}
			out = append(out, d)
			i = len(out) - 1
		}
		out[i].Replicas++
	}
	slices.SortFunc(out, func(a, b control.Deployment) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return out
}
