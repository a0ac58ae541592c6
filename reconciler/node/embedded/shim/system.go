//go:build linux

package shim

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// What of the kernel's files a container does not see, and what it sees and cannot write: as Docker has it.
var (
	masked    = []string{"/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/scsi", "/sys/firmware"}
	unwritten = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
)

var devices = []string{"null", "zero", "full", "random", "urandom", "tty"}

var deviceLinks = map[string]string{
	"/dev/fd": "/proc/self/fd", "/dev/stdin": "/proc/self/fd/0", "/dev/stdout": "/proc/self/fd/1", "/dev/stderr": "/proc/self/fd/2",
	"/dev/ptmx": "pts/ptmx",
}

// system mounts what every program finds on a Linux machine.
func (r root) system(c *Container) error {
	if err := r.at("/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return err
	}
	if err := r.at("/dev", "tmpfs", unix.MS_NOSUID|unix.MS_STRICTATIME|c.without(), "mode=755,size=65536k"); err != nil {
		return err
	}
	for _, name := range devices {
		if err := r.bind("/dev/"+name, "/dev/"+name, false, 0); err != nil {
			return err
		}
	}
	for name, to := range deviceLinks {
		if err := r.link(to, name); err != nil {
			return err
		}
	}
	if err := r.at("/dev/pts", "devpts", unix.MS_NOSUID|unix.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620"); err != nil {
		return err
	}
	if err := r.at("/dev/shm", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=1777,size=65536k"); err != nil {
		return err
	}
	if err := r.sysfs(); err != nil {
		return err
	}
	if c.Unmasked {
		return nil
	}
	return r.mask()
}

// sysfs shows the pod's own network devices; where the kernel does not let it, the container goes without.
func (r root) sysfs() error {
	err := r.at("/sys", "sysfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC|unix.MS_RDONLY, "")
	if errors.Is(err, unix.EPERM) {
		return nil
	}
	return err
}

// link makes a symbolic link in a directory that was just mounted.
func (r root) link(to, name string) error {
	dev, err := r.open("/dev")
	if err != nil {
		return fmt.Errorf("link %s: %w", name, err)
	}
	defer func() { _ = dev.Close() }()
	if err := unix.Symlinkat(to, int(dev.Fd()), name[len("/dev/"):]); err != nil {
		return fmt.Errorf("link %s: %w", name, err)
	}
	return nil
}

// mask hides and protects what of the kernel is no container's business.
func (r root) mask() error {
	for _, name := range masked {
		f, err := r.open(name)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return fmt.Errorf("hide %s: %w", name, err)
		}
		err = hide(f)
		_ = f.Close() // only a path
		if err != nil {
			return fmt.Errorf("hide %s: %w", name, err)
		}
	}
	for _, name := range unwritten {
		f, err := r.open(name)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return fmt.Errorf("protect %s: %w", name, err)
		}
		err = unix.Mount(proc(f), proc(f), "", unix.MS_BIND|unix.MS_REC, "")
		_ = f.Close() // only a path
		if err != nil {
			return fmt.Errorf("protect %s: %w", name, err)
		}
		over, err := r.open(name)
		if err != nil {
			return fmt.Errorf("protect %s: %w", name, err)
		}
		err = readOnly(proc(over))
		_ = over.Close() // only a path
		if err != nil {
			return err
		}
	}
	return nil
}

func hide(f *os.File) error {
	info, err := os.Stat(proc(f))
	if err != nil {
		return err
	}
	if info.IsDir() {
		return unix.Mount("tmpfs", proc(f), "tmpfs", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "size=0k")
	}
	return unix.Mount("/dev/null", proc(f), "", unix.MS_BIND, "")
}
