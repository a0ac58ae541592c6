package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/remotecommand"
)

// Exec implements node.Streams.
func (r *Runtime) Exec(ctx context.Context, id string, command []string, o remotecommand.StreamOptions) (int, error) {
	made, err := r.c.ExecCreate(ctx, id, client.ExecCreateOptions{
		Cmd: command, TTY: o.Tty, AttachStdin: o.Stdin != nil, AttachStdout: true, AttachStderr: true,
	})
	if err != nil {
		return 0, err
	}
	streams, err := hijack(ctx, func() (client.HijackedResponse, error) {
		attached, err := r.c.ExecAttach(ctx, made.ID, client.ExecAttachOptions{TTY: o.Tty})
		return attached.HijackedResponse, err
	})
	if err != nil {
		return 0, err
	}
	err = pump(ctx, streams, o, mode{raw: o.Tty, closes: !o.Tty, forgets: r.podman}, func(ctx context.Context, size remotecommand.TerminalSize) error {
		_, err := r.c.ExecResize(ctx, made.ID, client.ExecResizeOptions{Height: uint(size.Height), Width: uint(size.Width)})
		return err
	})
	if err != nil {
		return 0, err
	}
	return r.exit(ctx, made.ID)
}

// hijack opens streams. The client library waits for the engine's answer for as long as that takes; one that comes after
// the end of ctx is closed at once.
func hijack(ctx context.Context, open func() (client.HijackedResponse, error)) (client.HijackedResponse, error) {
	type answer struct {
		streams client.HijackedResponse
		err     error
	}
	answers := make(chan answer)
	go func() { // ends with the engine's answer, or the engine
		a := answer{}
		a.streams, a.err = open()
		select {
		case answers <- a:
		case <-ctx.Done():
			if a.err == nil {
				a.streams.Close()
			}
		}
	}()
	select {
	case a := <-answers:
		return a.streams, a.err
	case <-ctx.Done():
		return client.HijackedResponse{}, ctx.Err()
	}
}

// exit is the status of a command whose streams have ended. The engine notes it a moment later.
func (r *Runtime) exit(ctx context.Context, exec string) (int, error) {
	const between = 5 * time.Millisecond
	for {
		found, err := r.c.ExecInspect(ctx, exec, client.ExecInspectOptions{})
		if err != nil || !found.Running {
			return found.ExitCode, err
		}
		timer := time.NewTimer(between)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return 0, ctx.Err()
		}
	}
}

// Attach implements node.Streams.
func (r *Runtime) Attach(ctx context.Context, id string, o remotecommand.StreamOptions) error {
	found, err := r.c.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
	if err != nil {
		return err
	}
	streams, err := hijack(ctx, func() (client.HijackedResponse, error) {
		attached, err := r.c.ContainerAttach(ctx, id, client.ContainerAttachOptions{
			Stream: true, Stdin: o.Stdin != nil, Stdout: true, Stderr: true,
		})
		return attached.HijackedResponse, err
	})
	if err != nil {
		return err
	}
	alive, over := context.WithCancel(ctx)
	var watching sync.WaitGroup
	watching.Go(func() {
		defer over()
		r.awaitEnd(alive, id)
	})
	config := found.Container.Config
	err = pump(alive, streams, o, mode{raw: config.Tty, closes: config.StdinOnce && !config.Tty, forgets: r.podman}, func(ctx context.Context, size remotecommand.TerminalSize) error {
		_, err := r.c.ContainerResize(ctx, id, client.ContainerResizeOptions{Height: uint(size.Height), Width: uint(size.Width)})
		return err
	})
	over()
	watching.Wait()
	if ctx.Err() == nil && errors.Is(err, context.Canceled) {
		return nil // the container has ended, which is how attaching ends
	}
	return err
}

// awaitEnd returns a while after the container has ended. The engine closes the streams by itself when it ends one that is
// attached to; one that was ending while it was attached to keeps them open for ever.
func (r *Runtime) awaitEnd(ctx context.Context, id string) {
	const last = time.Second // for output that is still on its way
	wait := r.c.ContainerWait(ctx, id, client.ContainerWaitOptions{Condition: container.WaitConditionNotRunning})
	select {
	case <-wait.Result:
	case <-wait.Error: // of the context, or of an engine that is gone and has closed the streams as well
	}
	timer := time.NewTimer(last)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// mode is how streams are carried.
type mode struct {
	raw bool // one stream for both outputs, as a terminal has it
	// closes says that standard input that ends is closed over there. The engine takes that for the end of the whole stream
	// where a terminal is, or where the container goes on to have its input open.
	closes bool
	// forgets says that the engine may take the size of a terminal that is not there yet, and lose it.
	forgets bool
}

// pump carries the streams until the engine has no more to say, or ctx ends. Input that is never read to its end does not
// keep it from returning.
func pump(
	ctx context.Context, h client.HijackedResponse, o remotecommand.StreamOptions, m mode,
	resize func(context.Context, remotecommand.TerminalSize) error,
) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var closing sync.WaitGroup
	defer closing.Wait()
	defer cancel()
	closing.Go(func() {
		<-ctx.Done()
		h.Close()
	})
	if o.TerminalSizeQueue != nil && o.Tty {
		sizes := make(chan remotecommand.TerminalSize)
		go func() { // ends with the client's queue, which ends with the request
			defer close(sizes)
			for size := o.TerminalSizeQueue.Next(); size != nil; size = o.TerminalSizeQueue.Next() {
				select {
				case sizes <- *size:
				case <-ctx.Done():
					return
				}
			}
		}()
		closing.Go(func() { follow(ctx, sizes, resize, m.forgets) })
	}
	if o.Stdin != nil {
		go func() { // ends with the client's stream, which ends with the request
			if _, err := io.Copy(h.Conn, o.Stdin); err == nil && m.closes {
				_ = h.CloseWrite() // the other side may be gone
			}
		}()
	}
	out, errs := orDiscard(o.Stdout), orDiscard(o.Stderr)
	var err error
	if m.raw {
		_, err = io.Copy(out, h.Reader)
	} else {
		_, err = stdcopy.StdCopy(out, errs, h.Reader)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// follow has a terminal take the sizes of the client's, until ctx ends. One that forgets is told the last again, later and
// later.
func follow(
	ctx context.Context, sizes <-chan remotecommand.TerminalSize, resize func(context.Context, remotecommand.TerminalSize) error, forgets bool,
) {
	const first, last = 100 * time.Millisecond, 30 * time.Second
	again := time.NewTimer(0)
	again.Stop()
	defer again.Stop()
	var size remotecommand.TerminalSize
	var wait time.Duration
	for {
		select {
		case next, more := <-sizes:
			if !more {
				sizes = nil
				continue
			}
			size, wait = next, first
			if !insist(ctx, func() error { return resize(ctx, size) }) {
				return // a size that is not right is better than no stream
			}
		case <-again.C:
			_ = resize(ctx, size) // it was taken once: the terminal may be gone by now
			wait *= 2
		case <-ctx.Done():
			return
		}
		if forgets && wait <= last {
			again.Reset(wait)
		}
	}
}

// insist tries for a while what an engine may refuse because something has only begun, or only begun to end; podman does.
func insist(ctx context.Context, try func() error) bool {
	const tries, between = 50, 100 * time.Millisecond
	tick := time.NewTicker(between)
	defer tick.Stop()
	for range tries {
		if try() == nil {
			return true
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
	}
	return false
}

func orDiscard(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}

// Dial implements node.Streams: to the address that the engine says the pod's sandbox has.
func (r *Runtime) Dial(ctx context.Context, uid types.UID, port int32) (net.Conn, error) {
	ip, err := r.podAddress(ctx, uid)
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	return d.DialContext(ctx, "tcp", net.JoinHostPort(ip, strconv.Itoa(int(port))))
}

func (r *Runtime) podAddress(ctx context.Context, uid types.UID) (string, error) {
	all, err := r.summaries(ctx, uid)
	if err != nil {
		return "", err
	}
	for _, s := range all {
		if s.Labels[labelRecord] == "" || s.State != container.StateRunning {
			continue
		}
		ip, err := r.address(ctx, s.ID)
		if err == nil && ip == "" {
			ip = "127.0.0.1"
		}
		return ip, err
	}
	return "", fmt.Errorf("pod %s does not run", uid)
}
