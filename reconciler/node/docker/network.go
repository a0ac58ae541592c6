package docker

import (
	"cmp"
	"context"
	"slices"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
)

// makeNetwork makes the network of pods, a bridge of its own. An engine may let two that ask at the same time each have one
// of that name, which then means neither: the older one is kept, whoever asked for it.
func (r *Runtime) makeNetwork(ctx context.Context) error {
	if r.network {
		return nil
	}
	all, err := r.networks(ctx)
	if err == nil && len(all) == 0 {
		_, err = r.c.NetworkCreate(ctx, networkName, client.NetworkCreateOptions{Driver: "bridge", Labels: map[string]string{labelInstance: ""}})
		if cerrdefs.IsConflict(err) {
			err = nil
		}
		if err == nil {
			all, err = r.networks(ctx)
		}
	}
	if err != nil {
		return err
	}
	for _, n := range all[min(1, len(all)):] {
		if _, err := r.c.NetworkRemove(ctx, n.ID, client.NetworkRemoveOptions{}); absent(err) != nil {
			return err
		}
	}
	r.network = len(all) > 0
	return nil
}

// networks are those of the name, the oldest first.
func (r *Runtime) networks(ctx context.Context) ([]network.Summary, error) {
	list, err := r.c.NetworkList(ctx, client.NetworkListOptions{Filters: make(client.Filters).Add("name", networkName)})
	if err != nil {
		return nil, err
	}
	all := slices.DeleteFunc(list.Items, func(n network.Summary) bool { return n.Name != networkName }) // the filter takes parts of names
	slices.SortFunc(all, func(a, b network.Summary) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
	})
	return all, nil
}
