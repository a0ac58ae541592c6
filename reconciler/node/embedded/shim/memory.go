//go:build linux

package shim

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// mount makes the volume in a directory of the pod's: in this process's mount namespace, which the containers have copies of.
func (m Memory) mount(in string) error {
	dir := filepath.Join(in, m.Name)
	if filepath.Dir(dir) != in {
		return os.ErrInvalid
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	options := "mode=0777" // as a volume on the disk
	if m.GID != nil {
		options = fmt.Sprintf("mode=2777,gid=%d", *m.GID)
	}
	if m.Size > 0 {
		options += fmt.Sprintf(",size=%d", m.Size)
	}
	return unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, options)
}
