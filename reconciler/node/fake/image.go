package fake

import (
	"context"
	"fmt"
	"slices"

	"github.com/belay-dev/belay/reconciler/node"
	"github.com/belay-dev/belay/reconciler/node/image"
)

var _ node.Collector = (*Runtime)(nil)

// Fill says how much of the disk is in use.
func (e *Engine) Fill(part float64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.filled = part
}

// present is the image that is there under a name, a digest or an ID; nil: none is. The lock is held.
func (e *Engine) present(name string) *stock {
	if i := e.images[name]; i != nil && i.present {
		return i
	}
	for _, i := range e.all() {
		if i.present && (i.Digest == name || i.ID == name) {
			return i
		}
	}
	return nil
}

// all are the images that have a name, and those that had. The lock is held.
func (e *Engine) all() []*stock {
	all := slices.Clone(e.moved)
	for _, i := range e.images {
		all = append(all, i)
	}
	return all
}

// Discard implements node.Collector.
func (r *Runtime) Discard(ctx context.Context, p node.PulledImage) (bool, error) {
	if err := r.enter(ctx); err != nil {
		return false, err
	}
	defer r.e.mu.Unlock()
	for _, pod := range r.e.pods {
		for _, c := range pod.containers {
			if c.Image == p.ID {
				return false, nil
			}
		}
	}
	for _, i := range r.e.all() {
		if i.ID == p.ID {
			i.present = false
		}
	}
	return true, nil
}

// Filled implements node.Collector.
func (r *Runtime) Filled(ctx context.Context) (float64, error) {
	if err := r.enter(ctx); err != nil {
		return 0, err
	}
	defer r.e.mu.Unlock()
	return r.e.filled, nil
}

// Image implements node.Images.
func (r *Runtime) Image(ctx context.Context, ref string) (node.Image, bool, error) {
	if err := r.enter(ctx); err != nil {
		return node.Image{}, false, err
	}
	defer r.e.mu.Unlock()
	if i := r.e.present(ref); i != nil {
		return i.Image, true, nil
	}
	return node.Image{}, false, nil
}

// Pull implements node.Images.
func (r *Runtime) Pull(ctx context.Context, ref string, credentials []node.Credential) (node.Image, error) {
	if err := r.enter(ctx); err != nil {
		return node.Image{}, err
	}
	i := r.e.images[ref]
	if i == nil {
		r.e.mu.Unlock()
		return node.Image{}, &image.PullError{Class: image.NotFound, Err: fmt.Errorf("%s: not found", ref)}
	}
	i.pulls++
	wait := i.wait
	r.e.mu.Unlock()
	if wait != nil {
		select {
		case <-wait:
		case <-ctx.Done():
			return node.Image{}, ctx.Err()
		}
	}
	r.e.mu.Lock()
	defer r.e.mu.Unlock()
	if i.refusal != nil {
		return node.Image{}, i.refusal
	}
	if i.guard != (node.Credential{}) && !slices.Contains(credentials, i.guard) {
		return node.Image{}, &image.PullError{Class: image.Denied, Err: fmt.Errorf("%s: unauthorized", ref)}
	}
	i.present = true
	return i.Image, nil
}
