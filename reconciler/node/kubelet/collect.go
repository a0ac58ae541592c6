package kubelet

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/belay-dev/belay/reconciler/node"
)

// How images are collected.
const (
	collectEvery = 10 * time.Minute
	// unusedFor is how long an image that nobody keeps stays while there is room.
	unusedFor = 24 * time.Hour
	// youngest is how old it is at least when there is none: what was just pulled is about to be used.
	youngest = 2 * time.Minute
	// Beyond fullAt of the disk images go, those unused longest first, until roomAt.
	fullAt, roomAt = 0.85, 0.80
	// noteUse is how far the file may lag behind when an image was used last.
	noteUse = time.Hour
)

// pulled is an image that was pulled for a pod. Only such ones are ever collected: what else there is belongs to others.
type pulled struct {
	node.PulledImage
	At   time.Time // pulled
	Used time.Time // last seen in use; not before At
}

// stock are the images that were pulled here, in a file beside the pods' directories.
type stock struct {
	file string

	mu     sync.Mutex
	loaded bool
	all    []pulled // the newest of a name last
}

// load reads the file once. The lock is held.
func (s *stock) load() error {
	if s.loaded {
		return nil
	}
	data, err := os.ReadFile(s.file)
	if err == nil {
		err = json.Unmarshal(data, &s.all)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("list of pulled images: %w", err)
	}
	s.loaded = true
	return nil
}

// save writes the file. The lock is held.
func (s *stock) save() error {
	data, err := json.Marshal(s.all)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(s.file), 0o700); err != nil {
		return err
	}
	next := s.file + ".next"
	if err := os.WriteFile(next, data, 0o600); err != nil {
		return err
	}
	return os.Rename(next, s.file)
}

// note keeps an image that was pulled; had is what the name stood for before. One that was there already, and was not
// pulled here, stays somebody else's.
func (s *stock) note(ref string, img, had node.Image, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.load(); err != nil {
		return err
	}
	i := slices.IndexFunc(s.all, func(p pulled) bool { return p.Ref == ref && p.ID == img.ID })
	switch {
	case i >= 0: // it is the newest of its name again
		s.all = slices.Delete(s.all, i, i+1)
	case had.ID == img.ID:
		return nil
	}
	s.all = append(s.all, pulled{node.PulledImage{Ref: ref, ID: img.ID, Digest: img.Digest}, now, now})
	return s.save()
}

// seen notes which images are in use, and returns all.
func (s *stock) seen(used map[string]bool, now time.Time) ([]pulled, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.load(); err != nil {
		return nil, err
	}
	late := false
	for i := range s.all {
		p := &s.all[i]
		if used[p.ID] {
			late = late || now.Sub(p.Used) >= noteUse
			p.Used = now
		}
	}
	if !late {
		return slices.Clone(s.all), nil
	}
	return slices.Clone(s.all), s.save()
}

// forget drops an image that is gone.
func (s *stock) forget(p pulled) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = slices.DeleteFunc(s.all, func(o pulled) bool { return o.PulledImage == p.PulledImage })
	return s.save()
}

// collectable are the images that may go, those unused longest first: nothing is made from them, and nobody keeps them. Of a
// name that is kept, only the image that it was pulled as last is.
func collectable(all []pulled, used map[string]bool, keep func(string) bool, now time.Time) []pulled {
	newest := map[string]string{}
	for _, p := range all {
		newest[p.Ref] = p.ID
	}
	var out []pulled
	for _, p := range all {
		kept := keep(p.ID) || keep(p.Digest) || newest[p.Ref] == p.ID && keep(p.Ref)
		if !used[p.ID] && !kept && now.Sub(p.Used) >= youngest {
			out = append(out, p)
		}
	}
	slices.SortStableFunc(out, func(a, b pulled) int { return cmp.Compare(a.Used.UnixNano(), b.Used.UnixNano()) })
	return out
}

// collect takes images off the machine, every now and then, until ctx ends.
func (k *Kubelet) collect(ctx context.Context, c node.Collector) {
	tick := time.NewTicker(collectEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if !k.away().IsZero() {
			continue
		}
		if err := k.collectOnce(ctx, c); err != nil && ctx.Err() == nil {
			k.Log.Warn().Err(err).Msg("images not collected")
		}
	}
}

func (k *Kubelet) collectOnce(ctx context.Context, c node.Collector) error {
	pods, err := k.Runtime.List(ctx)
	if err != nil {
		return err
	}
	used := map[string]bool{}
	for _, p := range pods {
		for _, r := range p.Containers {
			used[r.Image] = true
		}
	}
	now := k.Now()
	all, err := k.stock.seen(used, now)
	if err != nil || len(all) == 0 {
		return err
	}
	filled, err := c.Filled(ctx)
	if err != nil {
		return err
	}
	full := filled > fullAt
	for _, p := range collectable(all, used, k.keeps(), now) {
		if !(full && filled > roomAt) && now.Sub(p.Used) < unusedFor {
			continue
		}
		gone, err := c.Discard(ctx, p.PulledImage)
		if err != nil {
			return fmt.Errorf("discard image %s: %w", p.Ref, err)
		}
		if !gone {
			continue
		}
		k.Log.Info().Str("image", p.Ref).Str("digest", p.Digest).Msg("image collected")
		if err := k.stock.forget(p); err != nil {
			return err
		}
		if filled, err = c.Filled(ctx); err != nil {
			return err
		}
	}
	return nil
}

// keeps says of a name, a digest or an ID whether it stays: as Options.Keep has it.
func (k *Kubelet) keeps() func(string) bool {
	keep := map[string]bool{}
	for _, name := range k.Keep() {
		keep[name] = true
		keep[complete(name)] = true
	}
	return func(name string) bool { return name != "" && keep[name] }
}
