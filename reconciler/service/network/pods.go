//go:build unix

package network

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"

	"github.com/belay-dev/belay/reconciler/service"
	"github.com/belay-dev/belay/reconciler/service/podnet"
)

// Pods is how a process reaches pods.
type Pods struct {
	Dial service.Dial
	// List names the pods of this machine that have devices of their own, and Open gives the device of one. Nil: there are none.
	List func() ([]string, error)
	Open func(ctx context.Context, pod string) (Device, error)
}

// Device is what leads out of a pod's network.
type Device struct {
	Sandbox string // that it is of: a pod that was started anew has another one
	Address netip.Addr
	File    podnet.Device
	Held    net.Conn // ends with the pod
}

// plugs connect the devices of pods to a network for as long as the pods live.
type plugs struct {
	net     *podnet.Net
	pods    Pods
	waiting sync.WaitGroup

	mu     sync.Mutex // guards what follows
	in     map[string]*plug
	closed bool
}

type plug struct {
	sandbox string
	held    net.Conn
}

func newPlugs(n *podnet.Net, pods Pods) *plugs {
	return &plugs{net: n, pods: pods, in: map[string]*plug{}}
}

// all plugs in every pod that has a device.
func (w *plugs) all(ctx context.Context) error {
	if w == nil {
		return nil
	}
	pods, err := w.pods.List()
	if err != nil {
		return err
	}
	for _, pod := range pods {
		if err := w.plug(ctx, pod); err != nil {
			fmt.Fprintf(os.Stderr, "pod %s has no network: %v\n", pod, err) // it ended, or was made without
		}
	}
	return ctx.Err()
}

// plug plugs in one pod, unless it is.
func (w *plugs) plug(ctx context.Context, pod string) error {
	if w == nil {
		return errors.New("the network has no pods")
	}
	d, err := w.pods.Open(ctx, pod)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if before := w.in[pod]; w.closed || before != nil && before.sandbox == d.Sandbox {
		return errors.Join(d.File.Close(), d.Held.Close())
	}
	port, err := w.net.Attach(d.Address, d.File)
	if err != nil {
		return errors.Join(err, d.Held.Close())
	}
	own := &plug{d.Sandbox, d.Held}
	w.in[pod] = own
	w.waiting.Go(func() {
		_, _ = io.Copy(io.Discard, d.Held) // its end is all there is to read
		w.mu.Lock()
		if w.in[pod] == own {
			delete(w.in, pod)
		}
		w.mu.Unlock()
		_ = port.Detach()
		_ = d.Held.Close()
	})
	return nil
}

// any says whether there is a pod.
func (w *plugs) any() bool {
	if w == nil {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.in) > 0
}

// close takes everything out.
func (w *plugs) close() {
	if w == nil {
		return
	}
	w.mu.Lock()
	w.closed = true
	for _, p := range w.in {
		_ = p.held.Close() // which wakes who waits for its end
	}
	w.mu.Unlock()
	w.waiting.Wait()
}
