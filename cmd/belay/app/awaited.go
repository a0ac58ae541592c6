package app

import (
	"slices"

	"github.com/belay-dev/belay/cmd/belay/control"
	"github.com/belay-dev/belay/reconciler/ledger"
	"github.com/belay-dev/belay/state"
)

// awaited are the Deployments of a source that never began, and for what their first rollout waits, by the open rows.
// What is managed is shown with what runs.
func (b *board) awaited(source string, open []state.Row) []control.Deployment {
	var out []control.Deployment
	for _, row := range open {
		if row.Source != source || row.Outcome != ledger.Waiting || b.manages(source, row) {
			continue
		}
		out = append(out, control.Deployment{
			Namespace: row.Namespace, Name: row.Name, App: row.App, Images: []string{}, Health: control.Missing,
			Outcome: string(row.Outcome), Reason: row.Reason, Next: row.Message,
			Wants: &control.Wants{Commit: row.Commit, Images: list(row.Images)},
		})
	}
	return out
}

// manages reports whether a row's Deployment is one of a source's managed ones.
func (b *board) manages(source string, row state.Row) bool {
	key := state.Key{Kind: state.KindDeployment, Namespace: row.Namespace, Name: row.Name}
	_, ok := slices.BinarySearchFunc(b.of(source), key, func(m *state.Managed, k state.Key) int { return m.Key.Compare(k) })
	return ok
}
