//go:build linux

package shim

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// enter makes the container's own file system this process's root. What lies outside cannot be reached afterwards.
func (c *Container) enter() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	merged, err := c.overlay()
	if err != nil {
		return err
	}
	dir, err := os.OpenFile(merged, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open root: %w", err)
	}
	defer func() { _ = dir.Close() }()
	r := root{dir}
	if err := r.system(c); err != nil {
		return err
	}
	for _, m := range c.Mounts {
		if err := r.mount(m, c.without()); err != nil {
			return err
		}
	}
	if c.ReadOnly {
		if err := readOnly(merged); err != nil {
			return err
		}
	}
	if err := unix.Chdir(merged); err != nil {
		return fmt.Errorf("enter root: %w", err)
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("enter root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leave the old root: %w", err)
	}
	return unix.Chdir("/")
}

// without is what no file system has for the container that it may write to: device nodes that it makes are no devices, as no
// control group says which of the machine's it may use.
func (c *Container) without() (flags uintptr) {
	if !c.Unmasked {
		flags |= unix.MS_NODEV
	}
	if c.NoSetuid {
		flags |= unix.MS_NOSUID
	}
	return flags
}

// overlay mounts what the container writes over its image.
func (c *Container) overlay() (string, error) {
	var dirs [3]string
	for i, name := range []string{"upper", "work", "merged"} {
		dirs[i] = filepath.Join(c.Scratch, name)
		if err := os.Mkdir(dirs[i], 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return "", fmt.Errorf("make root: %w", err)
		}
	}
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", escape(c.Rootfs), escape(dirs[0]), escape(dirs[1]))
	err := unix.Mount("overlay", dirs[2], "overlay", c.without(), options)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EINVAL) { // in a user namespace
		err = unix.Mount("overlay", dirs[2], "overlay", c.without(), options+",userxattr")
	}
	if err != nil {
		return "", fmt.Errorf("mount root: %w", err)
	}
	return dirs[2], nil
}

// escape keeps a path from being read as several options or layers.
func escape(p string) string { return strings.NewReplacer(`\`, `\\`, `:`, `\:`, `,`, `\,`).Replace(p) }

// root is the future root of the container, whose content is the image's: no path inside it is trusted.
type root struct{ dir *os.File }

// open finds a path inside the root, links followed inside it.
func (r root) open(name string) (*os.File, error) {
	how := &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	fd, err := unix.Openat2(int(r.dir.Fd()), name, how)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

// make opens a path inside the root, and makes what is missing of it: directories, and at its end a file unless dir.
func (r root) make(name string, dir bool) (*os.File, error) {
	f, err := r.open(name)
	if !errors.Is(err, unix.ENOENT) {
		return f, err
	}
	clean := path.Clean("/" + name)
	if clean == "/" {
		return nil, err
	}
	parent, err := r.make(path.Dir(clean), true)
	if err != nil {
		return nil, err
	}
	defer func() { _ = parent.Close() }()
	if dir {
		err = unix.Mkdirat(int(parent.Fd()), path.Base(clean), 0o755)
	} else {
		var fd int
		if fd, err = unix.Openat(int(parent.Fd()), path.Base(clean), unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o644); err == nil {
			err = unix.Close(fd)
		}
	}
	if err != nil && !errors.Is(err, unix.EEXIST) { // a link to nowhere is found by open
		return nil, &os.PathError{Op: "make", Path: name, Err: err}
	}
	return r.open(name)
}

func proc(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }

// at mounts a file system on a path inside the root.
func (r root) at(target, fstype string, flags uintptr, options string) error {
	f, err := r.make(target, true)
	if err != nil {
		return fmt.Errorf("mount %s: %w", target, err)
	}
	defer func() { _ = f.Close() }()
	if err := unix.Mount(fstype, proc(f), fstype, flags, options); err != nil {
		return fmt.Errorf("mount %s: %w", target, err)
	}
	return nil
}

// mount puts in what the pod asks for.
func (r root) mount(m Mount, without uintptr) error {
	if m.Source == "" {
		options := "mode=1777"
		if m.Size > 0 {
			options += fmt.Sprintf(",size=%d", m.Size)
		}
		return r.at(m.Target, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, options)
	}
	info, err := os.Stat(m.Source)
	if err != nil {
		return fmt.Errorf("mount %s: %w", m.Target, err)
	}
	if m.ReadOnly {
		without |= unix.MS_RDONLY
	}
	return r.bind(m.Source, m.Target, info.IsDir(), without)
}

func (r root) bind(source, target string, dir bool, without uintptr) error {
	f, err := r.make(target, dir)
	if err != nil {
		return fmt.Errorf("mount %s: %w", target, err)
	}
	defer func() { _ = f.Close() }()
	if err := unix.Mount(source, proc(f), "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("mount %s: %w", target, err)
	}
	if without == 0 {
		return nil
	}
	over, err := r.open(target) // what was mounted lies over what f is
	if err != nil {
		return fmt.Errorf("mount %s: %w", target, err)
	}
	defer func() { _ = over.Close() }()
	return remount(proc(over), without)
}

// readOnly takes the right to write away from a mount.
func readOnly(target string) error { return remount(target, unix.MS_RDONLY) }

// remount takes something away from a mount, and gives it nothing that it lacks already: that cannot be given back in a user
// namespace.
func remount(target string, without uintptr) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(target, &fs); err != nil {
		return fmt.Errorf("restrict %s: %w", target, err)
	}
	flags := uintptr(unix.MS_BIND|unix.MS_REMOUNT) | without
	for _, f := range []struct{ has, keep uintptr }{
		{unix.ST_RDONLY, unix.MS_RDONLY}, {unix.ST_NOSUID, unix.MS_NOSUID}, {unix.ST_NODEV, unix.MS_NODEV}, {unix.ST_NOEXEC, unix.MS_NOEXEC},
		{unix.ST_NOATIME, unix.MS_NOATIME}, {unix.ST_NODIRATIME, unix.MS_NODIRATIME}, {unix.ST_RELATIME, unix.MS_RELATIME},
	} {
		if uintptr(fs.Flags)&f.has != 0 {
			flags |= f.keep
		}
	}
	if err := unix.Mount("", target, "", flags, ""); err != nil {
		return fmt.Errorf("restrict %s: %w", target, err)
	}
	return nil
}
