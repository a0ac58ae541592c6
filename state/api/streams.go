package api

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/rest"
	translator "k8s.io/apiserver/pkg/util/proxy"
	client "k8s.io/client-go/tools/remotecommand"
	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	core "k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/registry/core/pod"
	"k8s.io/streaming/pkg/httpstream/wsstream"
	utilexec "k8s.io/utils/exec"

	"github.com/belay-dev/belay/state"
)

// The kubelet's limits: of a connection on which nothing moves, and for a client to open the streams it asked for.
const (
	idleTimeout     = 4 * time.Hour
	creationTimeout = remotecommand.DefaultStreamCreationTimeout
)

// connects is what the subresources have in common that take a connection over. A browser asks with GET.
type connects struct{ inside }

// ConnectMethods are those of clients that ask for a connection.
func (connects) ConnectMethods() []string { return []string{http.MethodGet, http.MethodPost} }

// portForwards is the subresource pods/portforward.
type portForwards struct{ connects }

var _ rest.Connecter = portForwards{}

// New is the kind of the options.
func (portForwards) New() runtime.Object { return &core.PodPortForwardOptions{} }

// NewConnectOptions are read from the query.
func (portForwards) NewConnectOptions() (runtime.Object, bool, string) {
	return &core.PodPortForwardOptions{}, false, ""
}

// Connect forwards over SPDY, or over a websocket: one that carries SPDY, as kubectl has it, or the older kind that names
// the ports in advance.
func (f portForwards) Connect(ctx context.Context, name string, options runtime.Object, _ rest.Responder) (http.Handler, error) {
	o, ok := options.(*core.PodPortForwardOptions)
	if !ok {
		return nil, fmt.Errorf("%T are no options of a port-forward", options)
	}
	if _, _, err := pod.PortForwardLocation(ctx, f.pods, here{}, name, o); err != nil {
		return nil, err
	}
	p, err := f.pod(ctx, name)
	if err != nil {
		return nil, err
	}
	forward := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var pairs sync.WaitGroup
		defer pairs.Wait()
		ctx, end := f.lasting(r.Context())
		defer end()
		pairs.Go(func() { f.endWith(ctx, p, end) })
		portforward.ServePortForward(ending{w, ctx}, r, f.forwarder(ctx, p, &pairs), p.Name, string(p.UID),
			&portforward.V4Options{Ports: o.Ports}, idleTimeout, creationTimeout, portforward.SupportedProtocols)
	})
	tunnel := translator.NewTunnelingHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		forward.ServeHTTP(tunnelled{w}, r)
	}))
	return translator.NewTranslatingHandler(forward, tunnel, wsstream.IsWebSocketRequestWithTunnelingProtocol), nil
}

// endWith calls end once a pod has gone, and returns then, or when ctx ends.
func (f portForwards) endWith(ctx context.Context, p *corev1.Pod, end func()) {
	for seen, err := f.store.Version(), error(nil); err == nil; seen, err = f.store.WaitChange(ctx, seen) {
		if now, ok := state.Get[*corev1.Pod](f.store, p.Namespace, p.Name); !ok || now.UID != p.UID {
			end()
			return
		}
	}
}

// ending closes a connection that was taken over when its context ends: only by that does a client learn of it.
type ending struct {
	http.ResponseWriter
	ctx context.Context
}

// Hijack takes the connection over.
func (e ending) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(e.ResponseWriter).Hijack()
	if err == nil {
		context.AfterFunc(e.ctx, func() { _ = conn.Close() }) // it has been closed, or is no longer wanted
	}
	return conn, buffered, err
}

// tunnelled lets a handler of this process answer where the library expects one that passes on what another server says:
// the head of that answer comes over the connection that was taken over.
type tunnelled struct{ http.ResponseWriter }

// WriteHeader keeps the head of an upgrade for Hijack.
func (t tunnelled) WriteHeader(status int) {
	if status != http.StatusSwitchingProtocols {
		t.ResponseWriter.WriteHeader(status)
	}
}

// Hijack takes the connection over.
func (t tunnelled) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, _, err := http.NewResponseController(t.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	head := http.Response{
		StatusCode: http.StatusSwitchingProtocols, ProtoMajor: 1, ProtoMinor: 1, Header: t.Header().Clone(),
	}
	if err := head.Write(conn); err != nil {
		return nil, nil, errors.Join(err, conn.Close())
	}
	return conn, bufio.NewReadWriter(bufio.NewReader(conn), bufio.NewWriter(conn)), nil
}

// forwarder connects streams to ports of a pod. What it starts is counted in pairs and ends with the context.
func (f portForwards) forwarder(ctx context.Context, p *corev1.Pod, pairs *sync.WaitGroup) forwarder {
	return func(port int32, stream io.ReadWriteCloser) error {
		pairs.Add(1)
		defer pairs.Done()
		conn, err := f.reach.Dial(ctx, p, port)
		if err != nil {
			return err
		}
		broken := context.AfterFunc(ctx, func() { _ = conn.Close() }) // breaking off is all that matters
		defer broken()
		pairs.Go(func() {
			_, _ = io.Copy(conn, stream) // the other direction tells how it went
			if half, ok := conn.(interface{ CloseWrite() error }); ok {
				_ = half.CloseWrite()
			} else {
				_ = conn.Close() // there is no other way to tell that nothing more comes
			}
		})
		_, err = io.Copy(stream, conn)
		if ctx.Err() != nil || errors.Is(err, io.ErrClosedPipe) || errors.Is(err, net.ErrClosed) {
			err = nil // it was broken off, or the client has gone
		}
		return errors.Join(err, conn.Close())
	}
}

type forwarder func(port int32, stream io.ReadWriteCloser) error

var _ portforward.PortForwarder = forwarder(nil)

// PortForward connects one stream. The library has no context to give.
func (f forwarder) PortForward(_ context.Context, _, _ string, port int32, stream io.ReadWriteCloser) error {
	return f(port, stream)
}

// execs is the subresource pods/exec.
type execs struct{ connects }

var _ rest.Connecter = execs{}

// New is the kind of the options.
func (execs) New() runtime.Object { return &core.PodExecOptions{} }

// NewConnectOptions are read from the query.
func (execs) NewConnectOptions() (runtime.Object, bool, string) {
	return &core.PodExecOptions{}, false, ""
}

// Connect runs a command in a container.
func (e execs) Connect(ctx context.Context, name string, options runtime.Object, _ rest.Responder) (http.Handler, error) {
	o, ok := options.(*core.PodExecOptions)
	if !ok {
		return nil, fmt.Errorf("%T are no options of an exec", options)
	}
	location, _, err := pod.ExecLocation(ctx, e.pods, here{}, name, o)
	if err != nil {
		return nil, err
	}
	if len(o.Command) == 0 {
		return nil, apierrors.NewBadRequest("you must specify at least 1 command for the container")
	}
	return e.terminal(ctx, name, containerOf(location), remotecommand.Options{Stdin: o.Stdin, Stdout: o.Stdout, Stderr: o.Stderr, TTY: o.TTY},
		func(w http.ResponseWriter, r *http.Request, p *corev1.Pod, container string, streams *remotecommand.Options) {
			remotecommand.ServeExec(w, r, terminal{e.reach, p, container}, p.Name, string(p.UID), container, o.Command, streams,
				idleTimeout, creationTimeout, remotecommand.SupportedStreamingProtocols)
		})
}

// attaches is the subresource pods/attach.
type attaches struct{ connects }

var _ rest.Connecter = attaches{}

// New is the kind of the options.
func (attaches) New() runtime.Object { return &core.PodAttachOptions{} }

// NewConnectOptions are read from the query.
func (attaches) NewConnectOptions() (runtime.Object, bool, string) {
	return &core.PodAttachOptions{}, false, ""
}

// Connect attaches to the main process of a container.
func (a attaches) Connect(ctx context.Context, name string, options runtime.Object, _ rest.Responder) (http.Handler, error) {
	o, ok := options.(*core.PodAttachOptions)
	if !ok {
		return nil, fmt.Errorf("%T are no options of an attach", options)
	}
	location, _, err := pod.AttachLocation(ctx, a.pods, here{}, name, o)
	if err != nil {
		return nil, err
	}
	return a.terminal(ctx, name, containerOf(location), remotecommand.Options{Stdin: o.Stdin, Stdout: o.Stdout, Stderr: o.Stderr, TTY: o.TTY},
		func(w http.ResponseWriter, r *http.Request, p *corev1.Pod, container string, streams *remotecommand.Options) {
			remotecommand.ServeAttach(w, r, terminal{a.reach, p, container}, p.Name, string(p.UID), container, streams,
				idleTimeout, creationTimeout, remotecommand.SupportedStreamingProtocols)
		})
}

// terminal serves the streams of an exec or an attach: over SPDY, over the older websockets, and, translated to SPDY, over
// those that can close a stream.
func (c connects) terminal(ctx context.Context, name, container string, streams remotecommand.Options,
	serve func(http.ResponseWriter, *http.Request, *corev1.Pod, string, *remotecommand.Options)) (http.Handler, error) {
	p, err := c.pod(ctx, name)
	if err != nil {
		return nil, err
	}
	if !streams.Stdin && !streams.Stdout && !streams.Stderr {
		return nil, apierrors.NewBadRequest("you must specify at least 1 of stdin, stdout, stderr")
	}
	if err := c.reach.Executes(p, container); err != nil {
		return nil, err
	}
	streams.Stderr = streams.Stderr && !streams.TTY // a terminal has one output
	direct := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, end := c.lasting(r.Context())
		defer end()
		serve(w, r.WithContext(ctx), p, container, &streams)
	})
	translated := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var pipes sync.WaitGroup
		defer pipes.Wait()
		translator.NewStreamTranslatorHandler(&url.URL{Scheme: "http", Host: "pod"}, pipe(direct, &pipes), 0,
			translator.Options{Stdin: streams.Stdin, Stdout: streams.Stdout, Stderr: streams.Stderr, Tty: streams.TTY}).ServeHTTP(w, r)
	})
	return translator.NewTranslatingHandler(direct, translated, wsstream.IsWebSocketRequestWithStreamCloseProtocol), nil
}

// terminal gives a container to the library that serves streams.
type terminal struct {
	pods      Pods
	pod       *corev1.Pod
	container string
}

var (
	_ remotecommand.Executor = terminal{}
	_ remotecommand.Attacher = terminal{}
)

// ExecInContainer runs a command until it ends.
func (t terminal) ExecInContainer(ctx context.Context, _, _, _ string, command []string, in io.Reader, out, err io.WriteCloser, tty bool,
	resize <-chan remotecommand.TerminalSize, _ time.Duration) error {
	exit, failure := t.pods.Exec(ctx, t.pod, t.container, command, streamsOf(in, out, err, tty, resize))
	if failure == nil && exit != 0 {
		failure = utilexec.CodeExitError{Err: fmt.Errorf("exit status %d", exit), Code: exit}
	}
	return failure
}

// AttachContainer attaches until the process ends or the client goes.
func (t terminal) AttachContainer(ctx context.Context, _, _, _ string, in io.Reader, out, err io.WriteCloser, tty bool,
	resize <-chan remotecommand.TerminalSize) error {
	return t.pods.Attach(ctx, t.pod, t.container, streamsOf(in, out, err, tty, resize))
}

// streamsOf leaves nil what there is not: an interface that holds nothing is not nil.
func streamsOf(in io.Reader, out, err io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) client.StreamOptions {
	s := client.StreamOptions{Stdin: in, Tty: tty}
	if out != nil {
		s.Stdout = out
	}
	if err != nil {
		s.Stderr = err
	}
	if resize != nil {
		s.TerminalSizeQueue = sizes(resize)
	}
	return s
}

// sizes are those of a terminal, each as the client changes it.
type sizes <-chan remotecommand.TerminalSize

// Next waits for the next one; nil: there are no more.
func (s sizes) Next() *client.TerminalSize {
	size, ok := <-s
	if !ok {
		return nil
	}
	return &client.TerminalSize{Width: size.Width, Height: size.Height}
}

// pipe is a transport to a handler in this process, for requests that take their connection over. Connections are
// counted in open until the handler has returned.
func pipe(h http.Handler, open *sync.WaitGroup) http.RoundTripper {
	return &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		near, far := net.Pipe()
		l := &single{conn: far, served: make(chan struct{})}
		end := sync.OnceFunc(func() { close(l.served) })
		server := &http.Server{
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				defer end()
				h.ServeHTTP(w, r)
			}),
			ReadHeaderTimeout: creationTimeout,
			ConnState: func(_ net.Conn, s http.ConnState) {
				if s == http.StateClosed {
					end()
				}
			},
		}
		open.Go(func() { _ = server.Serve(l) }) // it ends with the error of its second Accept
		return near, nil
	}}
}

// single is a listener with one connection.
type single struct {
	conn   net.Conn // nil: it was accepted
	served chan struct{}
}

func (s *single) Accept() (net.Conn, error) {
	if c := s.conn; c != nil {
		s.conn = nil
		return c, nil
	}
	<-s.served
	return nil, net.ErrClosed
}

func (s *single) Close() error   { return nil }
func (s *single) Addr() net.Addr { return &net.UnixAddr{Net: "pipe"} }
