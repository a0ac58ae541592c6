package source

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/go-git/go-git/v5/plumbing"
)

// maxNesting bounds the recursion into directories while objects are collected.
const maxNesting = 4096

// collector lists the objects behind a commit that the other side lacks.
type collector struct {
	ctx  context.Context
	from *reader
	// has tells what the other side has, with everything behind it.
	has  func(plumbing.Hash) bool
	seen map[plumbing.Hash]bool
	out  []found
}

type found struct {
	id   plumbing.Hash
	kind plumbing.ObjectType
}

// collect returns what is wanted and all that is reachable from it, down to commits and trees that has says are there. It reads
// every commit and tree it lists, and no blob.
func collect(ctx context.Context, from *reader, has func(plumbing.Hash) bool, wants ...plumbing.Hash) ([]found, error) {
	c := &collector{ctx: ctx, from: from, has: has, seen: map[plumbing.Hash]bool{}}
	trees := map[plumbing.Hash]plumbing.Hash{}
	commits := map[plumbing.Hash]rawCommit{}
	for stack := slices.Clone(wants); len(stack) > 0; {
		h := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if !c.add(h, plumbing.CommitObject) {
			continue
		}
		raw, err := c.commit(h)
		if err != nil {
			return nil, err
		}
		trees[h] = raw.tree
		raw.message = nil
		commits[h] = raw
		stack = append(stack, raw.parents...)
	}
	for _, h := range parentsFirst(wants, commits) {
		raw := commits[h]
		var base plumbing.Hash
		if len(raw.parents) > 0 {
			var err error
			if base, err = c.treeOf(raw.parents[0], trees); err != nil {
				return nil, err
			}
		}
		if err := c.tree(raw.tree, base, 0); err != nil {
			return nil, err
		}
	}
	return c.out, nil
}

// parentsFirst orders commits so that the first parent of each, when it is among them, comes before it: what a tree has
// in common with that of the commit before is then listed already. A tree that comes back later, as after a revert,
// would otherwise be compared with one that is itself compared with it, and what both have be listed by neither.
func parentsFirst(wants []plumbing.Hash, commits map[plumbing.Hash]rawCommit) []plumbing.Hash {
	out := make([]plumbing.Hash, 0, len(commits))
	seen := map[plumbing.Hash]bool{}
	for starts := slices.Clone(wants); len(starts) > 0; {
		at := starts[len(starts)-1]
		starts = starts[:len(starts)-1]
		var line []plumbing.Hash // first parents, newest first
		for {
			raw, listed := commits[at]
			if !listed || seen[at] {
				break
			}
			seen[at] = true
			line = append(line, at)
			if len(raw.parents) == 0 {
				break
			}
			starts = append(starts, raw.parents[1:]...)
			at = raw.parents[0]
		}
		slices.Reverse(line)
		out = append(out, line...)
	}
	return out
}

// add lists an object unless it is listed or there already.
func (c *collector) add(h plumbing.Hash, kind plumbing.ObjectType) bool {
	if c.seen[h] {
		return false
	}
	c.seen[h] = true
	if c.has(h) {
		return false
	}
	c.out = append(c.out, found{id: h, kind: kind})
	return true
}

func (c *collector) commit(h plumbing.Hash) (rawCommit, error) {
	if err := c.ctx.Err(); err != nil {
		return rawCommit{}, err
	}
	data, err := c.from.bytes(plumbing.CommitObject, h)
	if err != nil {
		return rawCommit{}, fmt.Errorf("commit: %w", err)
	}
	return parseCommit(h, data)
}

func (c *collector) treeOf(commit plumbing.Hash, known map[plumbing.Hash]plumbing.Hash) (plumbing.Hash, error) {
	if t, ok := known[commit]; ok {
		return t, nil
	}
	raw, err := c.commit(commit)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	known[commit] = raw.tree
	return raw.tree, nil
}

// tree lists a tree and what is below it. Entries that base, the same directory one commit before, has too need no
// look: base is listed as well or is there.
func (c *collector) tree(h, base plumbing.Hash, depth int) error {
	if h == base || !c.add(h, plumbing.TreeObject) {
		return nil
	}
	if depth > maxNesting {
		return fmt.Errorf("%w: more than %d directories deep", errTooLarge, maxNesting)
	}
	if err := c.ctx.Err(); err != nil {
		return err
	}
	data, err := c.from.bytes(plumbing.TreeObject, h)
	if err != nil {
		return fmt.Errorf("tree: %w", err)
	}
	before, err := c.base(base)
	if err != nil {
		return err
	}
	return eachEntry(h, data, func(e rawEntry) error {
		old, same := before.next(e)
		if same {
			return nil
		}
		switch string(e.mode) {
		case "40000", "040000":
			return c.tree(e.id, old, depth+1)
		case "160000": // a submodule's commit lies elsewhere
			return nil
		}
		c.add(e.id, plumbing.BlobObject)
		return nil
	})
}

func (c *collector) base(h plumbing.Hash) (*baseTree, error) {
	b := &baseTree{}
	if h.IsZero() {
		return b, nil
	}
	data, err := c.from.bytes(plumbing.TreeObject, h)
	if err != nil {
		return nil, fmt.Errorf("tree: %w", err)
	}
	b.rest = data
	return b, nil
}

// baseTree walks along an older version of a directory, in the order both are stored in.
type baseTree struct{ rest []byte }

// next looks for e: it returns the subdirectory of the same name, if there was one, and whether nothing changed. An
// entry that it misses because a tree is out of order is only read once more.
func (b *baseTree) next(e rawEntry) (plumbing.Hash, bool) {
	for len(b.rest) > 0 {
		space := bytes.IndexByte(b.rest, ' ')
		null := bytes.IndexByte(b.rest, 0)
		if space < 0 || null < space || len(b.rest) < null+21 {
			b.rest = nil
			break
		}
		mode, name := b.rest[:space], b.rest[space+1:null]
		order := compareNames(name, mode, e.name, e.mode)
		if order > 0 {
			break
		}
		id := plumbing.Hash(b.rest[null+1 : null+21])
		b.rest = b.rest[null+21:]
		if order == 0 {
			if !bytes.Equal(mode, e.mode) {
				return plumbing.ZeroHash, false
			}
			if id == e.id {
				return id, true
			}
			if isTreeMode(mode) {
				return id, false
			}
			return plumbing.ZeroHash, false
		}
	}
	return plumbing.ZeroHash, false
}

func isTreeMode(mode []byte) bool { return string(mode) == "40000" || string(mode) == "040000" }

// compareNames orders two entries as Git does: a directory as if its name ended in a slash.
func compareNames(a, modeA, b, modeB []byte) int {
	n := min(len(a), len(b))
	if order := bytes.Compare(a[:n], b[:n]); order != 0 {
		return order
	}
	after := func(name, mode []byte) byte {
		switch {
		case len(name) > n:
			return name[n]
		case isTreeMode(mode):
			return '/'
		}
		return 0
	}
	if order := int(after(a, modeA)) - int(after(b, modeB)); order != 0 {
		return order
	}
	return len(a) - len(b)
}
