//go:build linux

package embedded

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/remotecommand"

	"github.com/belay-dev/belay/reconciler/node/embedded/shim"
)

// Dial implements node.Streams.
func (r *Runtime) Dial(ctx context.Context, uid types.UID, port int32) (net.Conn, error) {
	return Dial(ctx, r.dir, uid, port)
}

// Dial connects to a TCP port of a pod below a directory of pods, for who is not its driver.
func Dial(ctx context.Context, pods string, uid types.UID, port int32) (net.Conn, error) {
	at, err := newest(pods, uid)
	if err != nil {
		return nil, err
	}
	return at.client().DialPort(ctx, int(port))
}

// Exec implements node.Streams.
func (r *Runtime) Exec(ctx context.Context, id string, command []string, o remotecommand.StreamOptions) (int, error) {
	_, at, name, err := r.find(id)
	if err != nil {
		return 0, err
	}
	var exit int
	resize := func(s remotecommand.TerminalSize, terminal *os.File) error {
		// The command may end, and the terminal with it, at this moment: it must be no other file by then.
		conn, err := terminal.SyscallConn()
		if err != nil {
			return err
		}
		var failed error
		err = conn.Control(func(fd uintptr) {
			failed = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: s.Height, Col: s.Width})
		})
		return errors.Join(err, failed)
	}
	err = r.connected(ctx, o, o.Tty, resize, func(in, out, errs *os.File) (err error) {
		exit, err = at.client().Exec(ctx, shim.Exec{Container: name, Args: command, TTY: o.Tty}, in, out, errs)
		return err
	})
	return exit, err
}

// Attach implements node.Streams.
func (r *Runtime) Attach(ctx context.Context, id string, o remotecommand.StreamOptions) error {
	_, at, name, err := r.find(id)
	if err != nil {
		return err
	}
	known, err := readRun(filepath.Join(at.dir, name))
	if err != nil {
		return err
	}
	resize := func(s remotecommand.TerminalSize, _ *os.File) error {
		if !known.TTY {
			return nil
		}
		return at.client().Resize(ctx, name, s.Height, s.Width)
	}
	return r.connected(ctx, o, false, resize, func(in, out, errs *os.File) error {
		return at.client().Attach(ctx, name, in, out, errs)
	})
}

// connected has f work with files that are connected to streams, and returns when f has and all it wrote was carried.
// With a terminal the three files are one.
func (r *Runtime) connected(
	ctx context.Context, o remotecommand.StreamOptions, terminal bool,
	resize func(remotecommand.TerminalSize, *os.File) error, f func(in, out, errs *os.File) error,
) error {
	c := &carrier{}
	defer c.close()
	var err error
	if terminal {
		err = c.terminal(o)
	} else {
		err = c.pipes(o)
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if o.TerminalSizeQueue != nil {
		go func() { // ends with the client's queue, which ends with the request
			for size := o.TerminalSizeQueue.Next(); size != nil && ctx.Err() == nil; size = o.TerminalSizeQueue.Next() {
				_ = resize(*size, c.own) // a size that does not fit is no reason to end
			}
		}()
	}
	err = f(c.given[0], c.given[1], c.given[2])
	c.release()
	c.carrying.Wait()
	return err
}

// carrier copies between streams and files.
type carrier struct {
	given    [3]*os.File // for the other side
	own      *os.File    // of a terminal
	input    io.Closer   // the end that is written to
	carrying sync.WaitGroup
	ends     []*os.File
}

// pipes makes a pipe for each stream.
func (c *carrier) pipes(o remotecommand.StreamOptions) error {
	in, write, err := os.Pipe()
	if err != nil {
		return err
	}
	c.given[0], c.input = in, write
	c.feed(write, o.Stdin)
	for i, w := range []io.Writer{o.Stdout, o.Stderr} {
		read, theirs, err := os.Pipe()
		if err != nil {
			return err
		}
		c.given[i+1] = theirs
		if w == nil {
			w = io.Discard
		}
		c.carrying.Go(func() {
			_, _ = io.Copy(w, read) // the client went: what is written goes nowhere
			_, _ = io.Copy(io.Discard, read)
			_ = read.Close()
		})
	}
	return nil
}

// feed copies what a client says until it has no more, or nobody reads it. A client that never ends is left behind: its
// stream ends with the request.
func (c *carrier) feed(to *os.File, from io.Reader) {
	if from == nil {
		_ = to.Close()
		return
	}
	go func() {
		_, _ = io.Copy(to, from)
		_ = to.Close()
	}()
}

// terminal makes one for all streams.
func (c *carrier) terminal(o remotecommand.StreamOptions) error {
	own, theirs, err := shim.OpenTerminal()
	if err != nil {
		return err
	}
	c.own, c.given = own, [3]*os.File{theirs, theirs, theirs}
	if o.Stdin != nil {
		go func() { _, _ = io.Copy(own, o.Stdin) }() // as feed; the terminal stays open
	}
	out := o.Stdout
	if out == nil {
		out = io.Discard
	}
	c.carrying.Go(func() {
		_, _ = io.Copy(out, own) // it ends with the last process that has the terminal open
	})
	return nil
}

// release closes what was given: the other side has copies of its own.
func (c *carrier) release() {
	for i, f := range c.given {
		if f != nil && (i == 0 || f != c.given[0]) {
			_ = f.Close()
		}
	}
	c.given = [3]*os.File{}
}

func (c *carrier) close() {
	c.release()
	if c.input != nil {
		_ = c.input.Close()
	}
	if c.own != nil {
		_ = c.own.Close()
	}
}
