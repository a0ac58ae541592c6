package fake

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/remotecommand"

	"github.com/belay-dev/belay/reconciler/node"
	"github.com/belay-dev/belay/reconciler/node/conformance/program"
)

// eof is the standard input of a container that nobody is attached to.
type eof struct{}

func (eof) Read([]byte) (int, error) { return 0, io.EOF }

// log is what a container wrote, by line.
type log struct {
	mu     sync.Mutex
	lines  []line
	ended  bool
	change chan struct{} // closed, and replaced, when there is more
}

type line struct {
	at   time.Time
	text string
}

func newLog() *log { return &log{change: make(chan struct{})} }

func (l *log) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	l.wake()
}

// wake tells who waits; the lock is held.
func (l *log) wake() {
	close(l.change)
	l.change = make(chan struct{})
}

// stream is one of the streams that end in the log.
func (l *log) stream(now func() time.Time) io.Writer { return &stream{log: l, now: now} }

type stream struct {
	log  *log
	now  func() time.Time
	rest []byte
}

func (s *stream) Write(p []byte) (int, error) {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	s.rest = append(s.rest, p...)
	for {
		i := bytes.IndexByte(s.rest, '\n')
		if i < 0 {
			break
		}
		s.log.lines = append(s.log.lines, line{s.now(), string(s.rest[:i+1])})
		s.rest = s.rest[i+1:]
	}
	s.log.wake()
	return len(p), nil
}

// Logs implements node.Streams.
func (r *Runtime) Logs(ctx context.Context, id string, o node.LogOptions) (io.ReadCloser, error) {
	if err := r.enter(ctx); err != nil {
		return nil, err
	}
	_, c := r.e.find(id)
	r.e.mu.Unlock()
	if c == nil {
		return nil, fmt.Errorf("no such container: %s", id)
	}
	reader, writer := io.Pipe()
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer cancel()
		writer.CloseWithError(c.log.copy(ctx, writer, o))
	}()
	return &closing{reader, cancel}, nil
}

type closing struct {
	*io.PipeReader
	cancel context.CancelFunc
}

func (c *closing) Close() error {
	c.cancel()
	return c.PipeReader.Close()
}

// copy writes the lines that are wanted; nil when there are no more to come.
func (l *log) copy(ctx context.Context, w io.Writer, o node.LogOptions) error {
	next := 0
	l.mu.Lock()
	if o.Tail != nil {
		next = max(0, len(l.lines)-int(*o.Tail))
	}
	l.mu.Unlock()
	for {
		l.mu.Lock()
		lines, ended, change := l.lines[next:], l.ended, l.change
		next = len(l.lines)
		l.mu.Unlock()
		for _, line := range lines {
			if line.at.Before(o.Since) {
				continue
			}
			text := line.text
			if o.Timestamps {
				text = line.at.UTC().Format(time.RFC3339Nano) + " " + text
			}
			if _, err := io.WriteString(w, text); err != nil {
				return err
			}
		}
		if ended || !o.Follow {
			return nil
		}
		select {
		case <-change:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Exec implements node.Streams: the command is /program with a verb.
func (r *Runtime) Exec(ctx context.Context, id string, command []string, o remotecommand.StreamOptions) (int, error) {
	if err := r.enter(ctx); err != nil {
		return 0, err
	}
	uid, c := r.e.find(id)
	if c == nil || c.Phase != node.PhaseRunning {
		r.e.mu.Unlock()
		return 0, fmt.Errorf("container %s does not run", id)
	}
	p := r.process(r.e.pods[uid], c, command[1:])
	r.e.mu.Unlock()
	if command[0] != "/program" {
		return 0, fmt.Errorf("exec: %q: executable file not found in $PATH", command[0])
	}
	p.Stdout, p.Stderr = orDiscard(o.Stdout), orDiscard(o.Stderr)
	if o.Stdin != nil {
		p.Stdin = o.Stdin
	}
	if o.Tty {
		p.Stderr = p.Stdout
	}
	return program.Run(ctx, p), nil
}

func orDiscard(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}

// Attach implements node.Streams: what the container writes from now on.
func (r *Runtime) Attach(ctx context.Context, id string, o remotecommand.StreamOptions) error {
	none := int64(0)
	logs, err := r.Logs(ctx, id, node.LogOptions{Follow: true, Tail: &none})
	if err != nil {
		return err
	}
	defer logs.Close()
	_, err = io.Copy(orDiscard(o.Stdout), logs)
	return err
}

// Dial implements node.Streams.
func (r *Runtime) Dial(ctx context.Context, uid types.UID, port int32) (net.Conn, error) {
	if err := r.enter(ctx); err != nil {
		return nil, err
	}
	p := r.e.pods[uid]
	if p == nil || !p.sandbox.Running {
		r.e.mu.Unlock()
		return nil, fmt.Errorf("pod %s does not run", uid)
	}
	l := p.listeners[strconv.Itoa(int(port))]
	address := net.JoinHostPort(p.sandbox.IP, strconv.Itoa(int(port)))
	r.e.mu.Unlock()
	if l == nil {
		return nil, fmt.Errorf("dial tcp %s: connect: connection refused", address)
	}
	return l.dial(ctx)
}

// listener is a port of a pod.
type listener struct {
	port  string
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newListener(port string) *listener {
	return &listener{port: port, conns: make(chan net.Conn), done: make(chan struct{})}
}

func (l *listener) dial(ctx context.Context) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case l.conns <- far:
		return near, nil
	case <-l.done:
		return nil, fmt.Errorf("dial tcp :%s: connect: connection refused", l.port)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *listener) Close() error {
	l.close()
	return nil
}

func (l *listener) close() { l.once.Do(func() { close(l.done) }) }

// Addr implements net.Listener.
func (l *listener) Addr() net.Addr { return address(":" + l.port) }

type address string

func (address) Network() string  { return "tcp" }
func (a address) String() string { return strings.TrimSpace(string(a)) }
