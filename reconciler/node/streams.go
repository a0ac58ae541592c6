package node

import (
	"context"
	"io"
	"net"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/remotecommand"
)

// Streamer reaches into running pods: what a driver offers beside PodRunner. Containers are those of the pod. Errors that
// are apierrors.APIStatus go to the client as they are. Every call ends when its context does.
type Streamer interface {
	// Logs reads what a container wrote: of the instance that runs or ran last, of the one before with Previous. That
	// there is one, by the pod's status, the caller has seen. TailLines, SinceSeconds, SinceTime, Timestamps (RFC 3339
	// with nanoseconds, then a space, before each line) and Follow are to be honoured; the caller sees to LimitBytes.
	// With Follow, Read waits for more until the instance has ended. The caller closes the reader.
	Logs(ctx context.Context, pod *corev1.Pod, container string, o *corev1.PodLogOptions) (io.ReadCloser, error)
	// Dial connects to a port of the pod's own, and to nothing else whatever the pod says its address is.
	Dial(ctx context.Context, pod *corev1.Pod, port int32) (net.Conn, error)
	// Executes says why Exec and Attach cannot be asked for a container; nil: they can.
	Executes(pod *corev1.Pod, container string) error
	// Exec runs a command in a container until it ends, and returns its exit status. An error says that it did not run.
	Exec(ctx context.Context, pod *corev1.Pod, container string, command []string, s remotecommand.StreamOptions) (exit int, err error)
	// Attach connects the streams to a container's main process, until that ends or the client goes.
	Attach(ctx context.Context, pod *corev1.Pod, container string, s remotecommand.StreamOptions) error
}
