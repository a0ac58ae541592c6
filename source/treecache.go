package source

import (
	"container/list"
	"sync"

	"github.com/go-git/go-git/v5/plumbing"
)

// treeCache keeps the directories used last, bounded by the sum of their entries. Directories are immutable and
// named by their content, so one cache serves every snapshot. Safe for concurrent use.
type treeCache struct {
	mu    sync.Mutex
	limit int
	size  int
	byID  map[plumbing.Hash]*list.Element
	order *list.List // of cachedTree, newest in front
}

type cachedTree struct {
	id  plumbing.Hash
	dir directory
}

func newTreeCache(limit int) *treeCache {
	return &treeCache{limit: limit, byID: map[plumbing.Hash]*list.Element{}, order: list.New()}
}

func (c *treeCache) get(id plumbing.Hash) (directory, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	el, ok := c.byID[id]
	if !ok {
		return nil, false
	}
	c.order.MoveToFront(el)
	return el.Value.(cachedTree).dir, true
}

func (c *treeCache) put(id plumbing.Hash, d directory) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.byID[id]; ok || len(d) > c.limit {
		return
	}
	c.byID[id] = c.order.PushFront(cachedTree{id: id, dir: d})
	c.size += len(d) + 1
	for c.size > c.limit && c.order.Len() > 1 {
		el := c.order.Back()
		old := c.order.Remove(el).(cachedTree)
		delete(c.byID, old.id)
		c.size -= len(old.dir) + 1
	}
}
