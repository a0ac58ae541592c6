//go:build linux

package shim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// container is one container of the pod.
type container struct {
	spec     Container
	launched chan struct{} // closed when it was started, or refused: what follows is settled then
	process  *os.Process
	output   *output
	input    *os.File // nil: it has none; a terminal's own side with TTY
	done     chan struct{}

	status Status // guarded by server.mu
}

// Descriptors that initialise is given.
const (
	specDescriptor  = 3 // the Container, as JSON
	errorDescriptor = 4 // why it could not become the container; its end without a word is success
)

// selfExe is the binary that this process was started from, also when its file has gone.
const selfExe = "/proc/self/exe"

// start starts a container and returns when its process is the one asked for, or cannot be.
func (s *server) start(spec *Container) (*Status, error) {
	if spec == nil || spec.Name == "" || len(spec.Args) == 0 {
		return nil, errors.New("start: a name and arguments are needed")
	}
	c := &container{
		spec: *spec, launched: make(chan struct{}), done: make(chan struct{}),
		status: Status{Name: spec.Name, Attempt: spec.Attempt, Phase: Running},
	}
	s.mu.Lock()
	if old := s.containers[spec.Name]; old != nil && old.status.Phase == Running {
		s.mu.Unlock()
		if old.spec.Attempt == spec.Attempt { // asked again after an answer that was lost
			_, status, err := s.find(spec.Name)
			return &status, err
		}
		return nil, fmt.Errorf("container %q is running", spec.Name)
	}
	s.containers[spec.Name] = c
	s.mu.Unlock()

	err := c.launch(&s.children)
	if err != nil {
		s.change(c, func(st *Status) { st.Phase, st.Message, st.Finished = Refused, err.Error(), time.Now() })
		close(c.done)
	} else {
		s.change(c, func(st *Status) { st.PID, st.Started = c.process.Pid, time.Now() })
		go s.wait(c) // ends with the container, or with the process
	}
	close(c.launched)
	_, status, findErr := s.find(spec.Name)
	return &status, findErr
}

// launch starts the process and waits until it is the container's own.
func (c *container) launch(of *children) (err error) {
	out, err := openOutput(c.spec.Log)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			out.wait()
		}
	}()
	std, err := c.standard(out)
	if err != nil {
		return err
	}
	defer closeAll(std)
	spec, specOut, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	defer func() { _ = spec.Close() }()
	failed, failedOut, err := os.Pipe()
	if err != nil {
		return errors.Join(fmt.Errorf("start: %w", err), specOut.Close())
	}
	defer func() { _ = failed.Close() }()

	cmd := exec.Cmd{
		Path: selfExe, Args: []string{"belay-shim", verbInit}, Env: []string{},
		Stdin: std[0], Stdout: std[1], Stderr: std[2], ExtraFiles: []*os.File{spec, failedOut},
		SysProcAttr: &syscall.SysProcAttr{
			Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS, Setsid: true, Setctty: c.spec.TTY,
		},
	}
	err = of.start(&cmd)
	_ = failedOut.Close() // the child has its own
	if err != nil {
		return errors.Join(fmt.Errorf("start: %w", err), specOut.Close())
	}
	if err := json.NewEncoder(specOut).Encode(c.spec); err != nil {
		_ = cmd.Process.Kill() // it cannot be the container any more, and is waited for below
	}
	_ = specOut.Close()
	why, err := io.ReadAll(io.LimitReader(failed, 64<<10))
	if err == nil && len(why) == 0 {
		c.process, c.output = cmd.Process, out
		return nil
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // why is the better answer
	of.ended(cmd.Process.Pid)
	if len(why) > 0 {
		return errors.New(string(why))
	}
	return fmt.Errorf("start: %w", err)
}

// standard makes the process's standard descriptors; the shim's ends go to out and c.input.
func (c *container) standard(out *output) ([]*os.File, error) {
	if c.spec.TTY {
		own, theirs, err := OpenTerminal()
		if err != nil {
			return nil, err
		}
		c.input = own
		out.read("stdout", own)
		return []*os.File{theirs, theirs, theirs}, nil
	}
	var files []*os.File
	in, err := os.Open(os.DevNull)
	if c.spec.Stdin {
		in, c.input, err = os.Pipe()
	}
	if err != nil {
		return nil, fmt.Errorf("start: %w", err)
	}
	files = append(files, in)
	for _, stream := range []string{"stdout", "stderr"} {
		r, w, err := os.Pipe()
		if err != nil {
			closeAll(files)
			return nil, fmt.Errorf("start: %w", err)
		}
		out.read(stream, r)
		files = append(files, w)
	}
	return files, nil
}

// wait keeps how the container ends. All its processes end with its first: that is the first of a PID namespace.
func (s *server) wait(c *container) {
	state, err := c.process.Wait()
	s.children.ended(c.process.Pid)
	finished := time.Now()
	oom := killedForMemory(c.spec.Cgroups)
	c.output.wait()
	if c.input != nil {
		_ = c.input.Close() // nobody reads it
	}
	s.change(c, func(st *Status) {
		st.Phase, st.Finished, st.PID, st.OOM = Exited, finished, 0, oom
		if err != nil {
			st.ExitCode, st.Message = 128+int(unix.SIGKILL), err.Error()
			return
		}
		st.ExitCode, st.Signal = exitCode(state)
	})
	close(c.done)
}

// exitCode is a process's as a shell tells it, and the signal that ended it.
func exitCode(state *os.ProcessState) (code, signal int) {
	if w, ok := state.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		return 128 + int(w.Signal()), int(w.Signal())
	}
	return state.ExitCode(), 0
}

// OpenTerminal makes a terminal: own is where its user sits, theirs is what a process has as its standard descriptors.
func OpenTerminal() (own, theirs *os.File, err error) {
	own, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("open a terminal: %w", err)
	}
	fd := int(own.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("open a terminal: %w", err), own.Close())
	}
	const flags = unix.O_RDWR | unix.O_NOCTTY | unix.O_CLOEXEC
	peer, _, number := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCGPTPEER, flags)
	if number != 0 {
		return nil, nil, errors.Join(fmt.Errorf("open a terminal: %w", number), own.Close())
	}
	return own, os.NewFile(peer, "terminal"), nil
}

func (s *server) resize(name string, rows, columns uint16) error {
	c, status, err := s.find(name)
	if err != nil {
		return err
	}
	if status.Phase != Running || !c.spec.TTY {
		return fmt.Errorf("container %q has no terminal", name)
	}
	if err := unix.IoctlSetWinsize(int(c.input.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: columns}); err != nil {
		return fmt.Errorf("resize: %w", err)
	}
	return nil
}

// attach connects descriptors (input, output, errors) to a container until it has ended or the peer has gone.
func (s *server) attach(name string, files []*os.File, peer *reader) error {
	c, status, err := s.find(name)
	if err != nil {
		return err
	}
	if status.Phase != Running || len(files) != 3 {
		return fmt.Errorf("container %q is not running", name)
	}
	detach := c.output.attach(files[1], files[2])
	defer detach()
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_, _ = peer.next(&request{}) // nothing more is to come
	}()
	if c.input != nil {
		// Read can be broken off by Close only where it does not block the thread.
		if err := unix.SetNonblock(int(files[0].Fd()), true); err != nil {
			return fmt.Errorf("attach: %w", err)
		}
		files[0] = os.NewFile(files[0].Fd(), "input")
		go func() { // ends when its input does, or is closed by the caller
			_, _ = io.Copy(c.input, files[0])
			if c.spec.StdinOnce && !c.spec.TTY {
				_ = c.input.Close()
			}
		}()
	}
	select {
	case <-c.done:
	case <-gone:
	}
	return nil
}
