package simulated

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/remotecommand"

	"github.com/belay-dev/belay/reconciler/node"
)

// streams reach into the pods of a runner.
type streams struct {
	runner *Runner
	now    func() time.Time
}

// Streams reach into the pods of the runner: their logs are made up to the time that now tells.
func (r *Runner) Streams(now func() time.Time) node.Streamer { return streams{r, now} }

// gone is closed when the pod is.
func (r *Runner) gone(uid types.UID) <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p, ok := r.pods[uid]; ok {
		return p.gone
	}
	gone := make(chan struct{})
	close(gone)
	return gone
}

// The headers in which an answer tells what gave it.
const (
	podHeader   = "Belay-Pod"
	imageHeader = "Belay-Image"
)

// headerTimeout bounds how long a client may take to say what it wants.
const headerTimeout = time.Minute

// Dial connects to a port that a running container declares, or any where none are declared. It answers every HTTP request with 200, within this process:
// nothing listens anywhere.
func (s streams) Dial(ctx context.Context, pod *corev1.Pod, port int32) (net.Conn, error) {
	container := declares(pod, port)
	if container == nil {
		return nil, fmt.Errorf("connection refused: no container of pod %s declares port %d", pod.Name, port)
	}
	if status, ok := node.StatusOf(pod.Status.ContainerStatuses, container.Name); !ok || status.State.Running == nil {
		return nil, fmt.Errorf("connection refused: container %s of pod %s does not run", container.Name, pod.Name)
	}
	near, far := net.Pipe()
	c := &connection{Conn: near, closed: make(chan struct{})}
	served := make(chan struct{})
	server := &http.Server{
		ReadHeaderTimeout: headerTimeout,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set(podHeader, pod.Name)
			w.Header().Set(imageHeader, container.Image)
			_, _ = io.WriteString(w, "backend\n") // the client is gone: nobody to tell
		}),
		ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateClosed {
				close(served)
			}
		},
	}
	c.last = func() { server.SetKeepAlivesEnabled(false) }
	gone := s.runner.gone(pod.UID)
	c.serving.Go(func() { _ = server.Serve(&once{conn: far, end: served}) }) // it ends with the connection
	c.serving.Go(func() {
		select {
		case <-ctx.Done():
		case <-gone:
		case <-c.closed:
		}
		c.shut()
	})
	return c, nil
}

// declares finds the container that declares a TCP port. To declare ports is not a duty: a pod that declares none at all
// might listen on any, so that its first container answers.
func declares(pod *corev1.Pod, port int32) *corev1.Container {
	if port < 1 || port > 65535 {
		return nil
	}
	silent := true
	for i := range pod.Spec.Containers {
		for _, p := range pod.Spec.Containers[i].Ports {
			if p.ContainerPort == port && (p.Protocol == corev1.ProtocolTCP || p.Protocol == "") {
				return &pod.Spec.Containers[i]
			}
			silent = false
		}
	}
	if silent && len(pod.Spec.Containers) > 0 {
		return &pod.Spec.Containers[0]
	}
	return nil
}

// connection is the client's side. Closing it waits for the side of the pod.
type connection struct {
	net.Conn
	closed  chan struct{}
	once    sync.Once
	serving sync.WaitGroup
	last    func()
}

// CloseWrite says that no more requests come: the pod's side ends after the answer under way.
func (c *connection) CloseWrite() error {
	c.last()
	return nil
}

// Close ends both sides.
func (c *connection) Close() error {
	c.shut()
	c.serving.Wait()
	return nil
}

func (c *connection) shut() {
	c.once.Do(func() {
		close(c.closed)
		_ = c.Conn.Close() // a pipe
	})
}

// once is a listener with one connection.
type once struct {
	conn net.Conn // nil: it was accepted
	end  <-chan struct{}
}

// Accept gives the connection, and then waits for its end.
func (o *once) Accept() (net.Conn, error) {
	if c := o.conn; c != nil {
		o.conn = nil
		return c, nil
	}
	<-o.end
	return nil, net.ErrClosed
}

// Close does nothing: the connection ends it.
func (o *once) Close() error { return nil }

// Addr is none.
func (o *once) Addr() net.Addr { return &net.UnixAddr{Net: "pipe"} }

var errNothingRuns = errors.New("pods are simulated: nothing runs in them that a command could join")

// Executes refuses: there are no processes.
func (streams) Executes(pod *corev1.Pod, container string) error {
	return apierrors.NewBadRequest(fmt.Sprintf("container %q in pod %q: %v", container, pod.Name, errNothingRuns))
}

// Exec refuses, as Executes does.
func (s streams) Exec(_ context.Context, pod *corev1.Pod, container string, _ []string, _ remotecommand.StreamOptions) (int, error) {
	return 0, s.Executes(pod, container)
}

// Attach refuses, as Executes does.
func (s streams) Attach(_ context.Context, pod *corev1.Pod, container string, _ remotecommand.StreamOptions) error {
	return s.Executes(pod, container)
}
