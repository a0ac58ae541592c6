package kubelet

import (
	"context"
	"fmt"
	"io"
	"net"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/remotecommand"

	"github.com/belay-dev/belay/reconciler/node"
)

var _ node.Streamer = (*Kubelet)(nil)

// Logs reads what a container wrote: its last run, or with Previous the one before.
func (k *Kubelet) Logs(ctx context.Context, pod *corev1.Pod, container string, o *corev1.PodLogOptions) (io.ReadCloser, error) {
	run, err := k.runOf(ctx, pod, container, o.Previous)
	if err != nil {
		return nil, err
	}
	options := node.LogOptions{Follow: o.Follow, Timestamps: o.Timestamps, Tail: o.TailLines}
	switch {
	case o.SinceTime != nil:
		options.Since = o.SinceTime.Time
	case o.SinceSeconds != nil:
		options.Since = k.Now().Add(-time.Duration(*o.SinceSeconds) * time.Second)
	}
	return k.Runtime.Logs(ctx, run.ID, options)
}

// runOf asks the engine for the run that is meant.
func (k *Kubelet) runOf(ctx context.Context, pod *corev1.Pod, container string, previous bool) (node.ContainerState, error) {
	s, _, err := k.Runtime.Pod(ctx, pod.UID)
	if err != nil {
		return node.ContainerState{}, apierrors.NewServiceUnavailable(fmt.Sprintf("the engine that runs pod %s does not answer", pod.Name))
	}
	var runs []node.ContainerState
	for _, r := range s.Containers {
		if r.Name == container && r.Phase != node.PhaseCreated {
			runs = append(runs, r)
		}
	}
	n := len(runs)
	switch {
	case previous && n > 0 && waits(pod, container):
		return runs[n-1], nil // it is between two runs: the last one is the one before
	case previous && n > 1:
		return runs[n-2], nil
	case previous:
		return node.ContainerState{}, apierrors.NewBadRequest(fmt.Sprintf("previous terminated container %q in pod %q not found", container, pod.Name))
	case n == 0:
		return node.ContainerState{}, apierrors.NewBadRequest(fmt.Sprintf("container %q in pod %q has written nothing", container, pod.Name))
	}
	return runs[n-1], nil
}

// waits says whether a container is to be started again.
func waits(pod *corev1.Pod, container string) bool {
	return statusBefore(pod, container).State.Waiting != nil
}

// Dial connects to a port of the pod's own.
func (k *Kubelet) Dial(ctx context.Context, pod *corev1.Pod, port int32) (net.Conn, error) {
	return k.Runtime.Dial(ctx, pod.UID, port)
}

// Executes says why Exec and Attach cannot be asked for a container.
func (k *Kubelet) Executes(pod *corev1.Pod, container string) error {
	if statusBefore(pod, container).State.Running == nil {
		return apierrors.NewBadRequest(fmt.Sprintf("container %s of pod %s does not run", container, pod.Name))
	}
	return nil
}

// Exec runs a command in a container.
func (k *Kubelet) Exec(ctx context.Context, pod *corev1.Pod, container string, command []string, s remotecommand.StreamOptions) (int, error) {
	run, err := k.running(ctx, pod, container)
	if err != nil {
		return 0, err
	}
	return k.Runtime.Exec(ctx, run, command, s)
}

// Attach connects the streams to a container's main process.
func (k *Kubelet) Attach(ctx context.Context, pod *corev1.Pod, container string, s remotecommand.StreamOptions) error {
	run, err := k.running(ctx, pod, container)
	if err != nil {
		return err
	}
	return k.Runtime.Attach(ctx, run, s)
}

func (k *Kubelet) running(ctx context.Context, pod *corev1.Pod, container string) (string, error) {
	run, err := k.runOf(ctx, pod, container, false)
	if err != nil {
		return "", err
	}
	if run.Phase != node.PhaseRunning {
		return "", apierrors.NewBadRequest(fmt.Sprintf("container %s of pod %s does not run", container, pod.Name))
	}
	return run.ID, nil
}
