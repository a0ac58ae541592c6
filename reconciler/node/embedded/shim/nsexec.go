//go:build linux

package shim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// entry is what nsexec is told.
type entry struct {
	PID       int       `json:"pid"` // of the container's first process, as the shim sees it
	Container Container `json:"container"`
	Args      []string  `json:"args"`
	TTY       bool      `json:"tty,omitempty"`
}

// exec runs a command inside a container until it ends, or the peer goes: then it is killed. files are its standard
// descriptors.
func (s *server) exec(e *Exec, files []*os.File, peer *reader) (int, error) {
	if e == nil || len(e.Args) == 0 || len(files) != 3 {
		return 0, errors.New("exec: a command and three descriptors are needed")
	}
	c, status, err := s.find(e.Container)
	if err != nil {
		return 0, err
	}
	if status.Phase != Running || status.PID == 0 {
		return 0, fmt.Errorf("container %q is not running", e.Container)
	}
	cmd, failed, err := launchExec(&s.children, entry{PID: status.PID, Container: c.spec, Args: e.Args, TTY: e.TTY}, files)
	if err != nil {
		return 0, err
	}
	defer func() { _ = failed.Close() }()
	ended := make(chan struct{})
	go func() { // ends with the connection
		if _, err := peer.next(&request{}); err != nil {
			select {
			case <-ended:
			default:
				_ = cmd.Process.Signal(syscall.SIGTERM) // it takes the command with it
			}
		}
	}()
	why, readErr := io.ReadAll(io.LimitReader(failed, 64<<10))
	err = cmd.Wait()
	s.children.ended(cmd.Process.Pid)
	close(ended)
	var exit *exec.ExitError
	switch {
	case len(why) > 0:
		return 0, errors.New(string(why))
	case readErr != nil:
		return 0, fmt.Errorf("exec: %w", readErr)
	case errors.As(err, &exit):
		code, sig := exitCode(exit.ProcessState)
		if sig != 0 { // who entered the container was killed, and the command goes on without
			s.children.endOthers()
		}
		return code, nil
	case err != nil:
		return 0, fmt.Errorf("exec: %w", err)
	}
	return 0, nil
}

// launchExec starts nsexec. What it could not do comes from failed, whose end without a word is success.
func launchExec(of *children, e entry, files []*os.File) (cmd *exec.Cmd, failed *os.File, err error) {
	for _, f := range files { // a program expects its standard descriptors to block
		if err := unix.SetNonblock(int(f.Fd()), false); err != nil {
			return nil, nil, fmt.Errorf("exec: %w", err)
		}
	}
	spec, specOut, err := os.Pipe()
	if err != nil {
		return nil, nil, fmt.Errorf("exec: %w", err)
	}
	failed, failedOut, err := os.Pipe()
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("exec: %w", err), spec.Close(), specOut.Close())
	}
	cmd = &exec.Cmd{
		Path: selfExe, Args: []string{"belay-shim", verbExec}, Env: []string{},
		Stdin: files[0], Stdout: files[1], Stderr: files[2], ExtraFiles: []*os.File{spec, failedOut},
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	err = of.start(cmd)
	closeAll([]*os.File{spec, failedOut}) // the child has its own
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("exec: %w", err), specOut.Close(), failed.Close())
	}
	if json.NewEncoder(specOut).Encode(e) != nil {
		_ = cmd.Process.Kill()
	}
	_ = specOut.Close()
	return cmd, failed, nil
}

// nsexec enters a container, runs a command there, and ends as it does.
func nsexec() int {
	runtime.LockOSThread() // namespaces and capabilities are the thread's
	unix.CloseOnExec(errorDescriptor)
	failed := os.NewFile(errorDescriptor, "error")
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	cmd, err := enterContainer()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		_, _ = failed.WriteString(err.Error()) // the shim has gone
		return 1
	}
	_ = failed.Close() // that it started is what its end says
	go func() {        // ends with the process
		<-stop
		_ = cmd.Process.Kill()
	}()
	err = cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code, _ := exitCode(exit.ProcessState)
		return code
	}
	if err != nil {
		return fail(err)
	}
	return 0
}

func enterContainer() (*exec.Cmd, error) {
	var e entry
	spec := os.NewFile(specDescriptor, "entry")
	if err := json.NewDecoder(spec).Decode(&e); err != nil {
		return nil, fmt.Errorf("read entry: %w", err)
	}
	if err := spec.Close(); err != nil {
		return nil, fmt.Errorf("read entry: %w", err)
	}
	if err := join(e.Container.Cgroups); err != nil {
		return nil, err
	}
	if err := enterNamespaces(e.PID); err != nil {
		return nil, fmt.Errorf("enter container: %w", err)
	}
	c := &e.Container
	if err := dropCapabilities(c.Capabilities); err != nil {
		return nil, err
	}
	if c.NoNewPrivileges {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return nil, fmt.Errorf("no new privileges: %w", err)
		}
	}
	path, err := lookPath(e.Args[0], c.Env)
	if err != nil {
		return nil, err
	}
	if err := limitProcesses(c.Processes); err != nil {
		return nil, err
	}
	attr := &syscall.SysProcAttr{Setsid: true, Setctty: e.TTY}
	if c.UID != 0 || c.GID != 0 || len(c.Groups) > 0 {
		attr.Credential = &syscall.Credential{Uid: c.UID, Gid: c.GID, Groups: c.Groups}
	}
	dir := c.Dir
	if dir == "" {
		dir = "/"
	}
	return &exec.Cmd{
		Path: path, Args: e.Args, Env: c.Env, Dir: dir, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, SysProcAttr: attr,
	}, nil
}

// enterNamespaces has this thread see what a process sees, and its children be among that process's.
func enterNamespaces(of int) error {
	pid, err := os.Open(fmt.Sprintf("/proc/%d/ns/pid", of))
	if err != nil {
		return err
	}
	defer func() { _ = pid.Close() }()
	mnt, err := os.Open(fmt.Sprintf("/proc/%d/ns/mnt", of))
	if err != nil {
		return err
	}
	defer func() { _ = mnt.Close() }()
	if err := unix.Setns(int(pid.Fd()), unix.CLONE_NEWPID); err != nil {
		return err
	}
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return err
	}
	return unix.Setns(int(mnt.Fd()), unix.CLONE_NEWNS)
}
