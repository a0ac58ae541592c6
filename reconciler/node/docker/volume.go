package docker

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/moby/moby/client"
	"k8s.io/apimachinery/pkg/types"

	"github.com/belay-dev/belay/reconciler/node"
)

var _ node.MemoryHolder = (*Runtime)(nil)

// HoldsMemory implements node.MemoryHolder: volumes of the engine that are file systems in memory. The pause container has
// them mounted, so that they last as long as it does, and not as long as one of the containers.
func (r *Runtime) HoldsMemory() bool { return true }

// volumeName is the engine's name for a volume of a pod.
func volumeName(uid types.UID, volume string) string { return name(string(uid), volume) }

// makeVolumes makes the volumes of a pod that are not there.
func (r *Runtime) makeVolumes(ctx context.Context, pod node.Sandbox) error {
	for _, v := range pod.Memory {
		options := []string{"mode=0777"}
		if v.GID != nil {
			options = []string{"mode=2777", fmt.Sprintf("gid=%d", *v.GID)}
		}
		switch page := int64(os.Getpagesize()); {
		case v.Size > 0 && r.podman: // it takes a size for a quota of the disk; the kernel takes pages too
			options = append(options, fmt.Sprintf("nr_blocks=%d", (v.Size+page-1)/page))
		case v.Size > 0:
			options = append(options, fmt.Sprintf("size=%d", v.Size))
		}
		_, err := r.c.VolumeCreate(ctx, client.VolumeCreateOptions{
			Name: volumeName(pod.UID, v.Name), Driver: "local", Labels: map[string]string{labelPod: string(pod.UID)},
			DriverOpts: map[string]string{"type": "tmpfs", "device": "tmpfs", "o": strings.Join(options, ",")},
		})
		if err != nil {
			return fmt.Errorf("make volume %s: %w", v.Name, err)
		}
	}
	return nil
}

// removeVolumes removes the volumes of a pod, after its containers.
func (r *Runtime) removeVolumes(ctx context.Context, uid types.UID) error {
	all, err := r.c.VolumeList(ctx, client.VolumeListOptions{Filters: make(client.Filters).Add("label", labelPod+"="+string(uid))})
	if err != nil {
		return err
	}
	for _, v := range all.Items {
		if _, err := r.c.VolumeRemove(ctx, v.Name, client.VolumeRemoveOptions{}); absent(err) != nil {
			return fmt.Errorf("remove volume %s: %w", v.Name, err)
		}
	}
	return nil
}
