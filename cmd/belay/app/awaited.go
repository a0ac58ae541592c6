package app

import (
	"slices"

	"github.com/belay-dev/belay/cmd/belay/control"
	"github.com/belay-dev/belay/reconciler/ledger"
	"github.com/belay-dev/belay/state"
)

// awaited are the Deployments that never began, and for what their first rollout waits, by their source. What is managed is
// shown with what runs.
func (b *board) awaited() map[string][]control.Deployment {
	out := map[string][]control.Deployment{}
	for row := range b.now.OpenRows() {
		if row.Outcome != ledger.Waiting || b.manages(row) {
			continue
		}
		out[row.Source] = append(out[row.Source], control.Deployment{
			Namespace: row.Namespace, Name: row.Name, App: row.App, Images: []string{}, Health: control.Missing,
			Outcome: string(row.Outcome), Reason: row.Reason, Next: row.Message,
			Wants: &control.Wants{Commit: row.Commit, Images: list(row.Images)},
		})
	}
	return out
}

// manages reports whether a row's Deployment is one of its source's managed ones.
func (b *board) manages(row *state.Row) bool {
	begin, end := b.of(row.Source)
	key := state.Key{Kind: state.KindDeployment, Namespace: row.Namespace, Name: row.Name}
	_, ok := slices.BinarySearchFunc(b.managed[begin:end], key, func(m *state.Managed, k state.Key) int { return m.Key.Compare(k) })
	return ok
}
