package docker

import (
	"context"
	"fmt"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/client"
	"golang.org/x/sys/unix"

	"github.com/belay-dev/belay/reconciler/node"
)

var _ node.Collector = (*Runtime)(nil)

// Discard implements node.Collector. A tag that stands for another image by now stays; the image goes by its digest then.
func (r *Runtime) Discard(ctx context.Context, i node.PulledImage) (bool, error) {
	names := []string{i.Ref, i.Digest}
	if r.podman { // it takes all tags of an image away with its digest, or knows no name in one whose tag has moved
		names = []string{i.Ref, i.ID}
	}
	for _, name := range names {
		if name == "" {
			continue
		}
		found, err := r.c.ImageInspect(ctx, name)
		if cerrdefs.IsNotFound(err) || err == nil && found.ID != i.ID {
			continue
		}
		if err == nil && name == i.ID && len(found.RepoTags) > 0 {
			continue
		}
		if err == nil {
			_, err = r.c.ImageRemove(ctx, name, client.ImageRemoveOptions{PruneChildren: true})
		}
		if cerrdefs.IsConflict(err) {
			return false, nil
		}
		if absent(err) != nil {
			return false, err
		}
	}
	return true, nil
}

// Filled implements node.Collector.
func (r *Runtime) Filled(ctx context.Context) (float64, error) {
	info, err := r.c.Info(ctx, client.InfoOptions{})
	if err != nil {
		return 0, err
	}
	var s unix.Statfs_t
	if err := unix.Statfs(info.Info.DockerRootDir, &s); err != nil {
		return 0, fmt.Errorf("disk of %s: %w", info.Info.DockerRootDir, err)
	}
	if s.Blocks == 0 {
		return 0, nil
	}
	return 1 - float64(s.Bavail)/float64(s.Blocks), nil
}
