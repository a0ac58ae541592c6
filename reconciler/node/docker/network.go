package docker

import (
	"cmp"
	"context"
	"errors"
	"slices"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
)

// makeNetwork makes the network of pods, a bridge of its own.
func (r *Runtime) makeNetwork(ctx context.Context) error {
	if r.network {
		return nil
	}
	_, err := r.c.NetworkInspect(ctx, networkName, client.NetworkInspectOptions{})
	if cerrdefs.IsNotFound(err) {
		err = r.createNetwork(ctx)
	}
	r.network = err == nil
	return err
}

// createNetwork creates the network, once: engines may give the same name twice to who asks at the same time, and find no
// network by it then. The oldest stays; each removes what it made itself.
func (r *Runtime) createNetwork(ctx context.Context) error {
	made, err := r.c.NetworkCreate(ctx, networkName, client.NetworkCreateOptions{
		Driver: "bridge", Labels: map[string]string{labelInstance: ""},
	})
	if cerrdefs.IsConflict(err) {
		return nil
	}
	if err != nil {
		return err
	}
	all, err := r.c.NetworkList(ctx, client.NetworkListOptions{Filters: make(client.Filters).Add("name", networkName)})
	if err != nil {
		_, failed := r.c.NetworkRemove(context.WithoutCancel(ctx), made.ID, client.NetworkRemoveOptions{})
		return errors.Join(err, failed)
	}
	same := slices.DeleteFunc(all.Items, func(n network.Summary) bool { return n.Name != networkName })
	if len(same) == 0 {
		return errors.New("it was removed at this moment")
	}
	oldest := slices.MinFunc(same, func(a, b network.Summary) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
	})
	if oldest.ID == made.ID {
		return nil
	}
	_, err = r.c.NetworkRemove(ctx, made.ID, client.NetworkRemoveOptions{})
	return err
}
