//go:build linux

package shim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// namespaces are what the containers of a pod share, and nobody else.
const namespaces = unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS

// attributes start a process as the first of a pod: where this process may not, in a user namespace of its own, in
// which its user is 0 and there is no other.
func attributes() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Cloneflags: namespaces, Setsid: true}
	if uid := os.Geteuid(); uid != 0 {
		attr.Cloneflags |= unix.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{HostID: uid, Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}
	}
	return attr
}

// Launched says whether a shim of the pod in dir lives, also one that does not listen yet because the process that started it
// was killed before it did. Shims of the first version are seen by their socket alone.
func Launched(dir string) (bool, error) {
	log, err := os.Open(filepath.Join(dir, LogFile))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer func() { _ = log.Close() }() // gives the lock back
	err = unix.Flock(int(log.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return true, nil
	}
	return false, err
}

// maxReason bounds what is told of a shim's own log.
const maxReason = 2 << 10

// Launch starts the shim of the pod in dir, where its Pod lies as PodFile, from a binary that calls Main, and returns
// when it answers. The caller waits for the process, for as long as it lives itself; the shim outlives it.
func Launch(binary, dir string) (*os.Process, error) {
	log, err := os.OpenFile(filepath.Join(dir, LogFile), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("start pod: %w", err)
	}
	defer func() { _ = log.Close() }()
	// The shim inherits the lock with the file, and has it for as long as it lives: see Launched.
	if err := unix.Flock(int(log.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, fmt.Errorf("start pod: lock %s: %w", LogFile, err)
	}
	ready, theirs, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start pod: %w", err)
	}
	defer func() { _ = ready.Close() }()
	cmd := exec.Cmd{
		Path: binary, Args: []string{"belay-shim", verbShim, dir}, Env: []string{}, Dir: "/",
		Stdout: log, Stderr: log, ExtraFiles: []*os.File{theirs}, SysProcAttr: attributes(),
	}
	err = cmd.Start()
	_ = theirs.Close() // the child has its own
	if err != nil {
		return nil, fmt.Errorf("start pod: %w", err)
	}
	_, _ = io.ReadAll(ready) // its end is all there is to read: it listens, or has ended
	if c, err := connect(dir); err == nil {
		return cmd.Process, c.Close()
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // its log is the better answer
	text, err := os.ReadFile(log.Name())
	if err != nil {
		return nil, fmt.Errorf("start pod: %w", err)
	}
	text = bytes.TrimSpace(text[max(0, len(text)-maxReason):])
	return nil, fmt.Errorf("start pod: %s", text)
}

// connect opens a connection to the shim of a pod.
func connect(dir string) (*net.UnixConn, error) {
	d, err := os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = d.Close() }()
	return net.DialUnix("unix", nil, &net.UnixAddr{Name: socketPath(d), Net: "unix"})
}

// ErrDead is returned when no shim answers: the pod's processes have ended.
var ErrDead = errors.New("the pod is dead")

// Error is what a shim could not do.
type Error struct {
	Message string
	Errno   syscall.Errno // 0: no error of the system
}

func (e *Error) Error() string { return e.Message }

// Unwrap is the system's error, when there is one.
func (e *Error) Unwrap() error {
	if e.Errno == 0 {
		return nil
	}
	return e.Errno
}

// VersionError says that a shim does not know a request, because the program that started the pod was of another version. The
// pod goes on; another pod in its place has a shim that does.
type VersionError struct {
	Asked string // the request
	Shim  int    // version of the protocol that the shim speaks
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("the pod was started by another version of belay, which cannot %s (protocol %d, not %d)", e.Asked, e.Shim, Version)
}

// Hint says what a person can do.
func (e *VersionError) Hint() string {
	return "delete the pod, or `kubectl rollout restart` its Deployment: the next one can"
}

// refusal is an answer that is an error, as one.
func (a response) refusal(asked op) error {
	shim := max(a.Version, unversioned)
	if shim != Version && (a.Unknown || strings.HasPrefix(a.Error, unknownRequest)) {
		return &VersionError{Asked: string(asked), Shim: shim}
	}
	return &Error{a.Error, syscall.Errno(a.Errno)} //nolint:gosec // a small number of the kernel's
}

// Client speaks to the shim of the pod in a directory. Each call has a connection of its own.
type Client struct{ Dir string }

// ask sends one request and reads its answer. The descriptors that come with it are the caller's.
func (c Client) ask(ctx context.Context, q request, files ...*os.File) (response, []*os.File, error) {
	conn, err := connect(c.Dir)
	if err != nil {
		return response{}, nil, fmt.Errorf("%w: %w", ErrDead, err)
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) }) // breaks reads and writes off
	defer stop()
	q.Version = Version
	var a response
	err = send(conn, q, files...)
	var received []*os.File
	if err == nil {
		received, err = (&reader{conn: conn}).next(&a)
	}
	switch {
	case ctx.Err() != nil:
		closeAll(received)
		return response{}, nil, ctx.Err()
	case errors.Is(err, io.EOF), errors.Is(err, unix.ECONNRESET), errors.Is(err, unix.EPIPE):
		return response{}, nil, ErrDead
	case err != nil:
		return response{}, nil, err
	case a.Error != "":
		closeAll(received)
		return response{}, nil, a.refusal(q.Op)
	}
	return a, received, nil
}

func (c Client) do(ctx context.Context, q request, files ...*os.File) (response, error) {
	a, received, err := c.ask(ctx, q, files...)
	closeAll(received)
	return a, err
}

// Start starts a container. Phase Refused with a message says why it could not be. Starting one again that runs, with
// the same attempt, changes nothing.
func (c Client) Start(ctx context.Context, spec Container) (Status, error) {
	a, err := c.do(ctx, request{Op: opStart, Container: &spec})
	if err != nil || a.Status == nil {
		return Status{}, err
	}
	return *a.Status, nil
}

// Signal sends a signal to a container's first process. One that has ended gets none.
func (c Client) Signal(ctx context.Context, name string, signal syscall.Signal) error {
	_, err := c.do(ctx, request{Op: opSignal, Name: name, Signal: int(signal)})
	return err
}

// Remove forgets a container that has ended.
func (c Client) Remove(ctx context.Context, name string) error {
	_, err := c.do(ctx, request{Op: opRemove, Name: name})
	return err
}

// States is how the containers are, by name.
func (c Client) States(ctx context.Context) ([]Status, error) {
	a, err := c.do(ctx, request{Op: opState})
	return a.States, err
}

// Version is that of the protocol as the shim speaks it.
func (c Client) Version(ctx context.Context) (int, error) {
	a, err := c.do(ctx, request{Op: opState})
	return max(a.Version, unversioned), err
}

// Watch calls changed with how the containers are, now and after every change, until ctx ends or the pod does.
func (c Client) Watch(ctx context.Context, changed func([]Status)) error {
	conn, err := connect(c.Dir)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDead, err)
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := send(conn, request{Version: Version, Op: opWatch}); err != nil {
		return err
	}
	for r := (&reader{conn: conn}); ; {
		var a response
		files, err := r.next(&a)
		closeAll(files)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return fmt.Errorf("%w: %w", ErrDead, err)
		case a.Error != "":
			return a.refusal(opWatch)
		}
		changed(a.States)
	}
}

// DialPort connects to a TCP port of the pod.
func (c Client) DialPort(ctx context.Context, port int) (net.Conn, error) {
	_, files, err := c.ask(ctx, request{Op: opDial, Port: port})
	if err != nil {
		return nil, err
	}
	defer closeAll(files)
	if len(files) != 1 {
		return nil, errors.New("dial: no connection came")
	}
	conn, err := net.FileConn(files[0])
	if err != nil {
		return nil, fmt.Errorf("dial: %w", err)
	}
	return conn, nil
}

// Exec runs a command in a container until it ends, and returns its exit code. When ctx ends the command is killed.
func (c Client) Exec(ctx context.Context, e Exec, in, out, errs *os.File) (int, error) {
	a, err := c.do(ctx, request{Op: opExec, Exec: &e}, in, out, errs)
	return a.ExitCode, err
}

// Attach connects files to a container's input, output and errors until it has ended or ctx does.
func (c Client) Attach(ctx context.Context, name string, in, out, errs *os.File) error {
	_, err := c.do(ctx, request{Op: opAttach, Name: name}, in, out, errs)
	return err
}

// Resize tells a container the size of its terminal.
func (c Client) Resize(ctx context.Context, name string, rows, columns uint16) error {
	_, err := c.do(ctx, request{Op: opResize, Name: name, Rows: rows, Columns: columns})
	return err
}

// Shutdown ends the pod at once. One that is dead is no error.
func (c Client) Shutdown(ctx context.Context) error {
	if _, err := c.do(ctx, request{Op: opShutdown}); err != nil && !errors.Is(err, ErrDead) {
		return err
	}
	return nil
}
