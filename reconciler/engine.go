package reconciler

import (
	"context"

	"github.com/belay-dev/belay/manifests"
	"github.com/belay-dev/belay/reconciler/engine"
	"github.com/belay-dev/belay/state"
)

// Engine is the live world. Every engine passes the suite in engine/conformance.
type Engine interface {
	// Live returns what runs under a key now.
	Live(engine.Key) engine.Live
	// Apply makes one change, once: repeating it changes nothing. The ledger writes of the change are recorded no
	// later than the change. A conflict error means that the live object moved: plan again.
	Apply(context.Context, engine.Change) error
	// Watch calls changed with the keys whose live object or rollout changed, until ctx ends. Keys may be
	// repeated; it is called once with every live key at the start.
	Watch(ctx context.Context, changed func([]engine.Key)) error
	// Supports lists what of an object the engine cannot honour.
	Supports(state.Object) []engine.Unsupported
}

// Repository is what the loop needs of a source's Git repository. Hashes are full and hexadecimal.
type Repository interface {
	// Poll looks now and returns the head of the branch.
	Poll(ctx context.Context) (head string, err error)
	// Polled is what the newest look found, by whomever it was asked for.
	Polled() (head string, err error)
	// Steps lists what leads from one head to another, oldest first; from is empty for the first sync.
	Steps(ctx context.Context, from, to string) ([]Step, error)
	// Before lists a commit and at most n before it along first parents, newest first.
	Before(ctx context.Context, commit string, n int) ([]Step, error)
	// Tree gives the files of a commit.
	Tree(commit string) (manifests.Tree, error)
}
