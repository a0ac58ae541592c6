package source

import (
	"sync"

	"github.com/go-git/go-git/v5/plumbing"
)

// graphNodes bounds the commits whose parents a mirror remembers: some 100 bytes each.
const graphNodes = 300_000

// node is what walking needs of a commit.
type node struct {
	parents []plumbing.Hash
}

// graph remembers the parents of commits. Safe for concurrent use.
type graph struct {
	mu    sync.Mutex
	nodes map[plumbing.Hash]node
}

func newGraph() *graph { return &graph{nodes: map[plumbing.Hash]node{}} }

func (g *graph) get(h plumbing.Hash) (node, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	n, ok := g.nodes[h]
	return n, ok
}

func (g *graph) put(h plumbing.Hash, n node) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.nodes) >= graphNodes {
		clear(g.nodes)
	}
	g.nodes[h] = n
}
