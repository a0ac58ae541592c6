package service

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// carry takes one accepted connection to a backend and back. A backend that cannot be reached costs the next one a try:
// nothing was sent yet. Without any, the client sees its connection reset, as a refusing host would do it.
func (p *Proxy) carry(ctx context.Context, d *door, client net.Conn) {
	host, _, err := net.SplitHostPort(client.RemoteAddr().String())
	if err != nil {
		host = ""
	}
	ctx, cancel := context.WithCancel(ctx) // a connection ends with the context that it was made in
	defer cancel()
	backend, upstream := p.connect(ctx, d, host)
	if upstream == nil {
		reset(client)
		return
	}
	var once sync.Once
	answered := func() { once.Do(func() { p.answered(backend) }) }
	defer answered()
	Join(ctx, client, upstream, answered)
}

// Join carries what two connections say to each other until both directions have ended, and closes them. It breaks both when
// ctx ends, or one of them breaks. answered is called when upstream has begun to answer, or will not; nil: nobody asks.
func Join(ctx context.Context, client, upstream net.Conn, answered func()) {
	stop := context.AfterFunc(ctx, func() { reset(client); reset(upstream) })
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() { pass(upstream, client) })
	pass(client, &first{Conn: upstream, read: answered})
	wg.Wait()
	_ = client.Close() // both directions have ended
	_ = upstream.Close()
}

// connect reaches a backend; nil when there is none.
func (p *Proxy) connect(ctx context.Context, d *door, client string) (Backend, net.Conn) {
	var tried []Backend
	for {
		b, ok := p.pick(d, client, tried)
		if !ok {
			return Backend{}, nil
		}
		try, cancel := context.WithCancel(ctx)
		late := time.AfterFunc(dialTimeout, cancel)
		conn, err := p.dial(try, b)
		if err == nil && late.Stop() {
			return b, conn // its context goes on as the caller's does
		}
		if cancel(); err == nil {
			_ = conn.Close() // too late
		}
		p.answered(b)
		tried = append(tried, b)
	}
}

// pass copies one direction to its end, and passes the end on. An error breaks both directions: half a stream is not
// to be taken for a whole one.
func pass(to, from net.Conn) {
	// The kernel splices where both ends are TCP connections.
	if _, err := io.Copy(to, from); err != nil {
		reset(to)
		reset(from)
		return
	}
	if half, ok := to.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite() // the other side may have gone already
		return
	}
	_ = to.Close()
}

// first tells when the first byte, or the end, has been read.
type first struct {
	net.Conn
	read func()
}

func (f *first) Read(b []byte) (int, error) {
	n, err := f.Conn.Read(b)
	if f.read != nil {
		f.read()
		f.read = nil
	}
	return n, err
}

// WriteTo reads the first bytes by hand and leaves the rest to the connection itself.
func (f *first) WriteTo(w io.Writer) (int64, error) {
	b := make([]byte, 4<<10)
	n, err := f.Read(b)
	written, werr := w.Write(b[:n])
	switch {
	case werr != nil:
		return int64(written), werr
	case errors.Is(err, io.EOF):
		return int64(written), nil
	case err != nil:
		return int64(written), err
	}
	more, err := io.Copy(w, f.Conn)
	return int64(written) + more, err
}

// reset closes a connection so that its peer sees it break.
func reset(c net.Conn) {
	if f, ok := c.(*first); ok {
		c = f.Conn
	}
	switch c := c.(type) {
	case *net.TCPConn:
		_ = c.SetLinger(0) // closed below whatever comes of it
	case interface{ Reset() }:
		c.Reset()
	}
	_ = c.Close()
}
