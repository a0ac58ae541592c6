package source

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/go-git/go-git/v5/plumbing"
)

// maxPacks is how many packs a mirror may have before small ones are merged: every fetch leaves one, and every object
// that is looked for is looked for in all.
const maxPacks = 50

// compact merges the small packs of a mirror into one when there are too many. Packs of which each is larger than twice
// all smaller ones together stay as they are, so that a large repository is not written anew for a few commits. The new
// pack has its name before an old one goes; snapshots that are open have the old files open.
func (c *clone) compact(ctx context.Context) error {
	r, err := c.reader(c.cfg.Dir)
	if err != nil {
		return err
	}
	defer r.Close()
	if len(r.packs) <= maxPacks {
		return nil
	}
	small, list, err := smallPacks(r)
	if err != nil {
		return err
	}
	if len(small) < 2 {
		return nil
	}
	before := map[string]bool{}
	for _, p := range r.packs {
		before[p.path] = true
	}
	target := &fetchTarget{dir: c.cfg.Dir, limits: c.cfg.Limits, points: c.cfg.Points}
	target.limits.PackBytes, target.limits.InflatedBytes = 1<<62, 1<<62 // what is here has been let in
	if err := target.writePack(ctx, list, func(w io.Writer) error { return copyObjects(ctx, r, list, w) }); err != nil {
		return err
	}
	fresh, err := c.reader(c.cfg.Dir)
	if err != nil {
		return err
	}
	defer fresh.Close()
	if !slices.ContainsFunc(fresh.packs, func(p pack) bool { return !before[p.path] }) {
		return errorText("the merged pack is not there")
	}
	for _, p := range small {
		// The index goes last: without its pack it harms nothing.
		if err := errors.Join(
			c.cfg.points().do(PointMerged, func() error { return os.Remove(p.path + ".pack") }),
			c.cfg.points().do(PointMergedIndex, func() error { return os.Remove(p.path + ".idx") }),
		); err != nil {
			return err
		}
	}
	c.log.Debug().Int("packs", len(small)).Int("objects", len(list)).Str(logPath, filepath.Base(c.cfg.Dir)).Msg("merged packs")
	return nil
}

// smallPacks chooses the packs to merge and lists what is in them, each object once.
func smallPacks(r *reader) ([]pack, []found, error) {
	count := func(p pack) int { return int(p.index.Fanout[255]) }
	sorted := slices.Clone(r.packs)
	slices.SortStableFunc(sorted, func(a, b pack) int { return count(a) - count(b) })
	var sum, n int
	for n < len(sorted) && (n < maxPacks/2 || count(sorted[n]) <= 2*sum) {
		sum += count(sorted[n])
		n++
	}
	small := sorted[:n]
	seen := map[plumbing.Hash]bool{}
	var list []found
	for _, p := range small {
		entries, err := p.index.Entries()
		if err != nil {
			return nil, nil, err
		}
		for {
			e, err := entries.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return nil, nil, err
			}
			if seen[e.Hash] {
				continue
			}
			seen[e.Hash] = true
			o, err := r.object(plumbing.AnyObject, e.Hash)
			if err != nil {
				return nil, nil, err
			}
			list = append(list, found{id: e.Hash, kind: o.Type()})
		}
	}
	return small, list, nil
}
