package api

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"path"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/kubernetes/pkg/kubelet/client"

	"github.com/belay-dev/belay/state"
)

// Pods reaches into running pods. Containers are those of the pod: a name that is not, or none where there are several,
// never arrives. Errors that are apierrors.APIStatus go to the client as they are. Every call ends when its context does.
type Pods interface {
	// Logs reads what a container wrote: of the instance that runs or ran last, of the one before with Previous.
	// TailLines, SinceSeconds, SinceTime, Timestamps and Follow are to be honoured; the caller sees to LimitBytes. With
	// Follow, Read waits for more until the instance has ended. The caller closes the reader.
	Logs(ctx context.Context, pod *corev1.Pod, container string, o *corev1.PodLogOptions) (io.ReadCloser, error)
	// Dial connects to a port of the pod's own, and to nothing else whatever the pod says its address is.
	Dial(ctx context.Context, pod *corev1.Pod, port int32) (net.Conn, error)
	// Executes says why Exec and Attach cannot be asked for a container; nil: they can. It is asked first, as an error is
	// seen best before there are streams.
	Executes(pod *corev1.Pod, container string) error
	// Exec runs a command in a container until it ends, and returns its exit status. An error says that it did not run.
	Exec(ctx context.Context, pod *corev1.Pod, container string, command []string, s remotecommand.StreamOptions) (exit int, err error)
	// Attach connects the streams to a container's main process, until that ends or the client goes.
	Attach(ctx context.Context, pod *corev1.Pod, container string, s remotecommand.StreamOptions) error
}

// inside finds the pod and the container that a request for a pod's subresource means.
type inside struct {
	*backend
	pods *registry.Store
}

// Destroy does nothing: the registry's store is the resource's.
func (inside) Destroy() {}

// pod is the pod of a name in the namespace of the request.
func (i inside) pod(ctx context.Context, name string) (*corev1.Pod, error) {
	pod, ok := state.Get[*corev1.Pod](i.store, request.NamespaceValue(ctx), name)
	if !ok {
		return nil, apierrors.NewNotFound(corev1.Resource("pods"), name)
	}
	if i.reach == nil {
		return nil, apierrors.NewServiceUnavailable("nothing here can reach into pods")
	}
	return pod, nil
}

// lasting is a context for a stream: it ends with the request, or with the server. end is to be called.
func (b *backend) lasting(ctx context.Context) (_ context.Context, end context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	b.watches.Go(func() {
		defer cancel()
		select {
		case <-b.stopping:
		case <-ctx.Done():
		}
	})
	return ctx, cancel
}

// here stands in for the addresses of kubelets, of which there are none: upstream's functions that choose a container
// put it into the path of such an address.
type here struct{}

var _ client.ConnectionInfoGetter = here{}

func (here) GetConnectionInfo(context.Context, types.NodeName) (*client.ConnectionInfo, error) {
	return &client.ConnectionInfo{}, nil
}

// containerOf is the last element of the path of such an address.
func containerOf(location *url.URL) string { return path.Base(location.Path) }

// Reasons of a container that waits, for which the kubelet has words of its own.
const (
	errImagePull     = "ErrImagePull"
	imagePullBackOff = "ImagePullBackOff"
)

// readable says why there is no log of a container, in the words of the kubelet; nil: there is one. What ran has an
// identity: a container that never came to run has none.
func readable(pod *corev1.Pod, container string, previous bool) error {
	fail := func(format string, args ...any) error {
		return apierrors.NewBadRequest(fmt.Sprintf("container %q in pod %q is ", container, pod.Name) + fmt.Sprintf(format, args...))
	}
	status, ok := statusOf(pod, container)
	if !ok {
		return fail("not available")
	}
	waiting, ended, last := status.State.Waiting, status.State.Terminated, status.LastTerminationState.Terminated
	ranBefore := last != nil && last.ContainerID != ""
	switch {
	case previous && !ranBefore:
		return apierrors.NewBadRequest(fmt.Sprintf("previous terminated container %q in pod %q not found", container, pod.Name))
	case previous, status.State.Running != nil, ranBefore, ended != nil && ended.ContainerID != "":
		return nil
	case ended != nil, last != nil:
		return fail("terminated")
	case waiting == nil:
		return fail("waiting to start - no logs yet")
	case waiting.Reason == errImagePull:
		return fail("waiting to start: image can't be pulled")
	case waiting.Reason == imagePullBackOff:
		return fail("waiting to start: trying and failing to pull image")
	}
	return fail("waiting to start: %s", waiting.Reason)
}

func statusOf(pod *corev1.Pod, container string) (corev1.ContainerStatus, bool) {
	for _, list := range [][]corev1.ContainerStatus{
		pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses, pod.Status.EphemeralContainerStatuses,
	} {
		for _, s := range list {
			if s.Name == container {
				return s, true
			}
		}
	}
	return corev1.ContainerStatus{}, false
}
