//go:build linux

package shim

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// initialise makes this process, the first of its own PID and mount namespaces, into the container that the
// descriptor says. It returns only when that cannot be.
func initialise() int {
	runtime.LockOSThread() // what belongs to a thread (capabilities, user) is changed on the one that executes
	unix.CloseOnExec(errorDescriptor)
	failed := os.NewFile(errorDescriptor, "error")
	if err := become(); err != nil {
		_, _ = failed.WriteString(err.Error()) // the shim has gone
	}
	return 1
}

func become() error {
	var c Container
	spec := os.NewFile(specDescriptor, "container")
	if err := json.NewDecoder(spec).Decode(&c); err != nil {
		return fmt.Errorf("read container: %w", err)
	}
	if err := spec.Close(); err != nil {
		return fmt.Errorf("read container: %w", err)
	}
	if err := join(c.Cgroups); err != nil {
		return err
	}
	if err := c.enter(); err != nil {
		return err
	}
	dir := c.Dir
	if dir == "" {
		dir = "/"
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("working directory: %w", err)
	}
	for fd := range 3 { // its user may open /dev/stdout
		_ = unix.Fchown(fd, int(c.UID), int(c.GID)) // /dev/null is not its own
	}
	if err := c.restrict(); err != nil {
		return err
	}
	if err := unix.Chdir(dir); err != nil {
		return fmt.Errorf("working directory %s: %w", dir, err)
	}
	path, err := lookPath(c.Args[0], c.Env)
	if err != nil {
		return err
	}
	if err := limitProcesses(c.Processes); err != nil {
		return err
	}
	if err := unix.Exec(path, c.Args, c.Env); err != nil {
		return fmt.Errorf("exec %q: %w", c.Args[0], err)
	}
	return nil
}

// restrict takes away what the container's process is not to have: for good, as it executes another program next.
func (c *Container) restrict() error {
	if err := dropCapabilities(c.Capabilities); err != nil {
		return err
	}
	if c.NoNewPrivileges {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("no new privileges: %w", err)
		}
	}
	return setUser(c.UID, c.GID, c.Groups)
}

// setUser changes groups and user of this thread. Where the kernel forbids groups, as in a user namespace of one user,
// none are to be had, so that only the lack of those asked for is an error.
func setUser(uid, gid uint32, groups []uint32) error {
	list := make([]int, len(groups))
	for i, g := range groups {
		list[i] = int(g)
	}
	if err := unix.Setgroups(list); err != nil && (len(list) > 0 || !errors.Is(err, unix.EPERM)) {
		return fmt.Errorf("set groups: %w", err)
	}
	if _, _, number := unix.RawSyscall(unix.SYS_SETRESGID, uintptr(gid), uintptr(gid), uintptr(gid)); number != 0 {
		return fmt.Errorf("set group %d: %w", gid, number)
	}
	if _, _, number := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)); number != 0 {
		return fmt.Errorf("set user %d: %w", uid, number)
	}
	return nil
}

// defaultPath is where programs lie when the environment does not say.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// lookPath finds a program as a shell would, in the words that runc has when there is none.
func lookPath(name string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		if err := executable(name); err != nil {
			return "", fmt.Errorf("exec: %q: stat %s: %w", name, name, err)
		}
		return name, nil
	}
	path := defaultPath
	for _, e := range env {
		if value, ok := strings.CutPrefix(e, "PATH="); ok {
			path = value
		}
	}
	for _, dir := range filepath.SplitList(path) {
		if file := filepath.Join(dir, name); executable(file) == nil {
			return file, nil
		}
	}
	return "", fmt.Errorf("exec: %q: executable file not found in $PATH", name)
}

func executable(file string) error {
	info, err := os.Stat(file)
	var path *os.PathError
	switch {
	case errors.As(err, &path):
		return path.Err
	case err != nil:
		return err
	case info.IsDir():
		return unix.EISDIR
	case info.Mode()&0o111 == 0:
		return unix.EACCES
	}
	return nil
}
