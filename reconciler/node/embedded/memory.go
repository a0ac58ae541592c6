//go:build linux

package embedded

import (
	"fmt"
	"os"

	"github.com/belay-dev/belay/reconciler/node"
	"github.com/belay-dev/belay/reconciler/node/embedded/shim"
)

var _ node.MemoryHolder = (*Runtime)(nil)

// HoldsMemory implements node.MemoryHolder: file systems in memory that a pod's shim has mounted, so that they last as long as
// it does, and not as long as one of the containers. What a container writes there counts to its own memory.
func (r *Runtime) HoldsMemory() bool { return true }

// checkMemory refuses a volume that cannot be as it is asked for.
func checkMemory(pod node.Sandbox) error {
	for _, v := range pod.Memory {
		if v.GID != nil && *v.GID != 0 && os.Geteuid() != 0 {
			return fmt.Errorf("volume %s, group %d: without root, the embedded runtime has no group but that of the user who runs belay "+
				"(0 inside)", v.Name, *v.GID)
		}
	}
	return nil
}

// memoryOf are the volumes that a pod's shim is to hold.
func memoryOf(pod node.Sandbox) (out []shim.Memory) {
	for _, v := range pod.Memory {
		out = append(out, shim.Memory{Name: v.Name, Size: v.Size, GID: v.GID})
	}
	return out
}
