package reconciler

import (
	"context"
	"fmt"

	"github.com/belay-dev/belay/reconciler/engine"
	"github.com/belay-dev/belay/state"
)

// added records the source's commit once more, with the Deployments that a change of the configuration brought: an app
// that is new, or that has another path or namespace. Nothing else that renders at a commit known already begins.
func (l *Loop) added(ctx context.Context, f *follower) ([]engine.Key, error) {
	places := map[place]bool{}
	for _, m := range l.o.Store.Inventory(f.Name) {
		places[place{m.App, m.Root, m.Key.Namespace}] = true
	}
	var deltas []Delta
	for _, k := range f.keys() {
		d := f.desired[k]
		if k.Kind == state.KindDeployment && !places[place{d.Manifest.App, d.Manifest.Root, k.Namespace}] && len(l.o.Store.Rows(k.Namespace, k.Name)) == 0 {
			deltas = append(deltas, Delta{Key: k, After: d})
		}
	}
	if deltas = l.owned(deltas); len(deltas) == 0 {
		return nil, nil
	}
	steps, err := f.Repository.Before(ctx, f.cursor.Commit, 0)
	if err != nil || len(steps) == 0 {
		return nil, fmt.Errorf("read %s again: %w", short(f.cursor.Commit), err)
	}
	l.nameConfigs(deltas)
	keys, err := l.record(f, []Rendered{{Step: steps[0], Deltas: deltas}})
	if err != nil {
		return nil, err
	}
	for _, d := range deltas {
		keys = append(keys, d.Key)
	}
	l.o.Log.Info().Str("source", f.Name).Str("commit", short(f.cursor.Commit)).Int("deployments", len(keys)).Msg("added by the configuration")
	return keys, nil
}

// place is where objects come from and go to: as long as something there is managed, its configuration is not new.
type place struct{ app, root, namespace string }
