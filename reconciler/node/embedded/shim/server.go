//go:build linux

package shim

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// server is a shim at work.
type server struct {
	dir     string
	beacon  string // see Pod
	network Network
	device  *os.File // nil: the pod does not leave its network

	children children

	mu         sync.Mutex // guards what follows
	containers map[string]*container
	changed    chan struct{} // closed, and replaced, with every change
}

// readyDescriptor is closed when the shim listens, or has ended.
const readyDescriptor = 3

// run is the shim: args is the pod's directory. Everything it owns ends with the process.
func run(args []string) int {
	if len(args) != 1 {
		return fail(errors.New("shim: one directory expected"))
	}
	ready := os.NewFile(readyDescriptor, "ready")
	unix.Umask(0o022) // what containers begin with
	// The terminal and the service that started the pod are nothing to it. The signals are caught and dropped: what is
	// ignored would stay so in every program that it starts.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE, syscall.SIGQUIT)
	s := &server{dir: args[0], containers: map[string]*container{}, changed: make(chan struct{})}
	go s.children.adopt() // ends with the process
	l, err := s.prepare()
	if err != nil {
		return fail(err)
	}
	if s.beacon != "" {
		if b, err := listen(s.beacon); err == nil {
			go s.accept(b) // ends with the process
		} else {
			fmt.Fprintln(os.Stderr, err) // the pod is found in its directory
		}
	}
	if err := ready.Close(); err != nil {
		return fail(err)
	}
	s.accept(l)
	return 0
}

// accept takes connections for as long as the process lives.
func (s *server) accept(l *net.UnixListener) {
	for {
		c, err := l.AcceptUnix()
		if err != nil { // as when there are no descriptors left: the pod goes on, and they come back
			fmt.Fprintln(os.Stderr, err)
			<-time.After(acceptPause)
			continue
		}
		go s.serve(c) // ends with its connection, or with the process
	}
}

// acceptPause is how long a shim that can take no connection waits.
const acceptPause = 100 * time.Millisecond

// prepare makes the namespaces into a pod's, and listens.
func (s *server) prepare() (*net.UnixListener, error) {
	text, err := os.ReadFile(filepath.Join(s.dir, PodFile))
	if err != nil {
		return nil, fmt.Errorf("read pod: %w", err)
	}
	var pod Pod
	if err := json.Unmarshal(text, &pod); err != nil {
		return nil, fmt.Errorf("read pod: %w", err)
	}
	if err := ownProc(); err != nil {
		return nil, err
	}
	if err := unix.Sethostname([]byte(pod.Hostname)); err != nil {
		return nil, fmt.Errorf("set host name: %w", err)
	}
	if err := networkUp(); err != nil {
		return nil, err
	}
	for name, value := range pod.Sysctls {
		if err := sysctl(name, value); err != nil {
			return nil, err
		}
	}
	if s.network = pod.Network; s.network.Address.IsValid() {
		if s.device, err = openDevice(s.network); err != nil {
			return nil, err
		}
	}
	for _, m := range pod.Memory {
		if err := m.mount(filepath.Join(s.dir, MemoryDir)); err != nil {
			return nil, fmt.Errorf("make volume %s: %w", m.Name, err)
		}
	}
	s.beacon = pod.Beacon
	return listen(s.dir)
}

// listen makes the socket in a directory.
func listen(in string) (*net.UnixListener, error) {
	dir, err := os.Open(in)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	defer func() { _ = dir.Close() }()
	name := socketPath(dir)
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("listen: %w", err)
	}
	old := unix.Umask(0o177)
	defer unix.Umask(old)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: name, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	l.SetUnlinkOnClose(false)
	return l, nil
}

// serve answers one connection.
func (s *server) serve(c *net.UnixConn) {
	defer func() { _ = c.Close() }()
	r := &reader{conn: c}
	var q request
	files, err := r.next(&q)
	if err != nil {
		return // the peer went, or speaks something else
	}
	defer closeAll(files)
	answer := response{Version: Version}
	defer survive(c, q.Op)
	switch q.Op {
	case opWatch, opDevice:
		s.attend(c, q.Op)
		return
	case opDial:
		var f *os.File
		if f, err = dial(q.Port, s.network.Address); err == nil {
			_ = send(c, answer, f) // the peer went
			_ = f.Close()
			return
		}
	case opStart:
		answer.Status, err = s.start(q.Container)
	case opSignal:
		err = s.signal(q.Name, syscall.Signal(q.Signal))
	case opRemove:
		err = s.remove(q.Name)
	case opState:
		answer.States, _ = s.states()
	case opExec:
		answer.ExitCode, err = s.exec(q.Exec, files, r)
	case opAttach:
		err = s.attach(q.Name, files, r)
	case opResize:
		err = s.resize(q.Name, q.Rows, q.Columns)
	case opShutdown:
		os.Exit(0) // the kernel ends what is left in the pod
	default:
		answer.Unknown, err = true, fmt.Errorf("%s%q", unknownRequest, q.Op)
	}
	if err != nil {
		answer.Error = err.Error()
		var number syscall.Errno
		if errors.As(err, &number) {
			answer.Errno = int(number)
		}
	}
	_ = send(c, answer) // the peer went
}

// attend answers what goes on until the peer goes.
func (s *server) attend(c *net.UnixConn, asked op) {
	if asked == opDevice {
		s.lend(c)
		return
	}
	s.watch(c)
}

// survive keeps a pod from ending of a request, by a service of whatever version.
func survive(c *net.UnixConn, asked op) {
	if p := recover(); p != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n%s", asked, p, debug.Stack())
		_ = send(c, response{Version: Version, Error: fmt.Sprintf("the pod's process has a defect: %v", p)}) // the peer went
	}
}

// unknownRequest begins the answer to a request that came into the protocol after this shim; older ones have it without
// response.Unknown.
const unknownRequest = "unknown request "

// states is how the containers are, by name, and what is closed when that has changed.
func (s *server) states() ([]Status, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.list(), s.changed
}

func (s *server) list() []Status {
	out := make([]Status, 0, len(s.containers))
	for _, c := range s.containers {
		out = append(out, c.status)
	}
	slices.SortFunc(out, func(a, b Status) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// watch sends the states until the peer has gone.
func (s *server) watch(c *net.UnixConn) {
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_, _ = c.Read(make([]byte, 1)) // nothing more is to come
	}()
	for {
		states, changed := s.states()
		if send(c, response{Version: Version, States: states}) != nil {
			return
		}
		select {
		case <-changed:
		case <-gone:
			return
		}
	}
}

// change has f change a container's status, keeps it, and tells it. s.mu is not held.
func (s *server) change(c *container, f func(*Status)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&c.status)
	s.keep()
}

// keep writes the states down for when the shim is dead. s.mu is held.
func (s *server) keep() {
	close(s.changed)
	s.changed = make(chan struct{})
	if err := writeFile(filepath.Join(s.dir, StateFile), s.list()); err != nil {
		fmt.Fprintln(os.Stderr, "keep state:", err) // the pod goes on; after a kill its exit codes are unknown
	}
}

// writeFile replaces a file as a whole.
func writeFile(name string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := os.WriteFile(name+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}

var errNoContainer = errors.New("no such container")

// find is the container of a name, with its status as it is now. One that is being started is waited for: what asks may be
// another process than the one that had it started.
func (s *server) find(name string) (*container, Status, error) {
	s.mu.Lock()
	c := s.containers[name]
	s.mu.Unlock()
	if c == nil {
		return nil, Status{}, fmt.Errorf("%w: %q", errNoContainer, name)
	}
	<-c.launched
	s.mu.Lock()
	defer s.mu.Unlock()
	return c, c.status, nil
}

func (s *server) signal(name string, sig syscall.Signal) error {
	c, status, err := s.find(name)
	if err != nil || status.Phase != Running {
		return err
	}
	if err := c.process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal: %w", err)
	}
	return nil
}

func (s *server) remove(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.containers[name]
	if c == nil {
		return nil
	}
	if c.status.Phase == Running {
		return fmt.Errorf("container %q is running", name)
	}
	delete(s.containers, name)
	s.keep()
	return nil
}

// ownProc makes mounts private and /proc the pod's own.
func ownProc() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	return nil
}
