//go:build linux

package embedded

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/belay-dev/belay/reconciler/node"
)

var _ node.Collector = (*Runtime)(nil)

// Discard implements node.Collector.
func (r *Runtime) Discard(_ context.Context, i node.PulledImage) (bool, error) {
	r.making.Lock()
	defer r.making.Unlock()
	used, err := r.used()
	if err != nil || used[i.ID] {
		return false, err
	}
	return true, r.images.Discard(i)
}

// Filled implements node.Collector.
func (r *Runtime) Filled(context.Context) (float64, error) { return r.images.Filled() }

// sweep removes images that a process which was killed had unpacked and not named yet.
func (r *Runtime) sweep() error {
	r.making.Lock()
	defer r.making.Unlock()
	used, err := r.used()
	if err != nil {
		return err
	}
	return r.images.Sweep(func(id string) bool { return used[id] })
}

// used are the images that runs are made from, also those that have ended, as the kubelet counts them. r.making is locked.
func (r *Runtime) used() (map[string]bool, error) {
	pods, err := os.ReadDir(r.dir)
	if err != nil {
		return nil, err
	}
	out := map[string]bool{}
	for _, pod := range pods {
		all, err := sandboxes(filepath.Join(r.dir, pod.Name()))
		if err != nil {
			return nil, err
		}
		for _, at := range all {
			if err := usedIn(at, out); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

func usedIn(at place, used map[string]bool) error {
	entries, err := os.ReadDir(at.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it is being removed
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		known, err := readRun(filepath.Join(at.dir, e.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // as above, or not of a run
		}
		if err != nil {
			return err
		}
		used[known.Image] = true
	}
	return nil
}
