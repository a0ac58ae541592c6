package manifests

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
)

// The set of an app's roots is kept beside their results: after a start, a root
// that cannot be seen (the app's path is missing, a submodule took its place)
// is still known, and stale rather than gone.

type rememberedRoot struct {
	Path string   `json:"path"`
	Kind RootKind `json:"kind"`
}

func appBlobKey(app App) string {
	sum := sha256.Sum256([]byte(strings.Join([]string{app.Source, app.Name, app.Path, app.Namespace}, "\x00")))
	return "app-" + hex.EncodeToString(sum[:])
}

// remember keeps the set of roots of every app whose set is new.
func (c *Cache) remember(s *state) {
	if c.opts.Blobs == nil || !s.rediscovered {
		return
	}
	s.rediscovered = false
	sets := make([][]rememberedRoot, len(c.apps))
	for _, key := range sorted(s.roots) {
		sets[key.app] = append(sets[key.app], rememberedRoot{Path: key.path, Kind: s.roots[key].kind})
	}
	for i, app := range c.apps {
		if i < len(s.remembered) && slices.Equal(s.remembered[i], sets[i]) {
			continue
		}
		if data, err := json.Marshal(sets[i]); err == nil {
			_ = c.opts.Blobs.Put(appBlobKey(app), data) // see Blobs: what is lost is only not remembered
		}
	}
	s.remembered = sets
}

// unseenRoots returns the roots that were known before the last stop and cannot
// be seen now, with their records.
func (c *Cache) unseenRoots(found []discovered) map[rootKey]*root {
	out := map[rootKey]*root{}
	if c.opts.Blobs == nil {
		return out
	}
	for i, app := range c.apps {
		data, ok := c.opts.Blobs.Get(appBlobKey(app))
		var set []rememberedRoot
		if !ok || json.Unmarshal(data, &set) != nil {
			continue
		}
		for _, r := range set {
			key := rootKey{i, r.Path}
			if unseen(found[i], r.Path) == nil {
				continue
			}
			next := &root{key: key, kind: r.Kind}
			if rec, objects := c.load(key); rec != nil {
				next.raw, next.commit, next.found, next.stale = objects, rec.Commit, rec.Problems, rec.Stale
			}
			out[key] = next
		}
	}
	return out
}
