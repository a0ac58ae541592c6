package service

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"
)

// A flow is what one client, an address with a port, says in datagrams and is answered: by one backend, for as long as that
// is one.

const (
	// idle is how long nobody may say anything on a flow before it is over: as long as a kernel keeps one that was answered.
	idle = 2 * time.Minute
	// late is how long a flow that gets nothing more may still be answered.
	late = 10 * time.Second
)

// How many flows there may be, and of one client's address. That which was quiet the longest makes room.
const (
	maxFlows       = 1024
	maxClientFlows = maxFlows / 4
)

// maxDatagram is the largest there is.
const maxDatagram = 1 << 16

type flow struct {
	client   net.Addr
	host     string // of client
	backend  Backend
	conn     net.Conn    // to the backend
	over     *time.Timer // ends it
	said     uint64      // when something was said last, in what was said at all
	answered func()
}

// receive takes the datagrams of one listener until that is closed or the proxy retires, and returns when the last of its
// flows has ended.
func (p *Proxy) receive(ctx context.Context, d *door) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var flows sync.WaitGroup
	for buf := make([]byte, maxDatagram); ; {
		size, client, err := d.packets.ReadFrom(buf)
		if err == nil && client != nil {
			if f := p.flow(ctx, d, client, &flows); f != nil {
				_, _ = f.conn.Write(buf[:size]) // a datagram may be lost
			}
			continue
		}
		if failed := net.Error(nil); errors.As(err, &failed) && failed.Timeout() {
			break // retired: answers may come still
		}
		if ctx.Err() != nil || p.shut(d) {
			cancel()
			break
		}
		select { // no memory, say: the next one may be taken
		case <-time.After(acceptPause):
		case <-ctx.Done():
		}
	}
	flows.Wait()
	_ = d.packets.Close() // unless it is
}

// shut says whether a listener was closed: sockets differ in how they say so.
func (p *Proxy) shut(d *door) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return d.shut
}

// flow is the one of a client, a new one where it has none, or its backend is none any more; nil: nobody answers.
func (p *Proxy) flow(ctx context.Context, d *door, client net.Addr, flows *sync.WaitGroup) *flow {
	p.mu.Lock()
	f := d.flows[client.String()]
	if f != nil && p.stays(d, f.backend) {
		p.touch(f)
		p.mu.Unlock()
		return f
	}
	if f != nil {
		p.leave(d, f, late)
	}
	p.mu.Unlock()
	host, _, err := net.SplitHostPort(client.String())
	if err != nil {
		return nil
	}
	backend, conn := p.connect(ctx, d, host)
	if conn == nil {
		return nil
	}
	var once sync.Once
	f = &flow{client: client, host: host, backend: backend, conn: conn, answered: func() { once.Do(func() { p.answered(backend) }) }}
	p.mu.Lock()
	defer p.mu.Unlock()
	f.over = time.AfterFunc(idle, func() { _ = conn.Close() })
	p.makeRoom(d, host)
	if d.flows == nil {
		d.flows = map[string]*flow{}
	}
	d.flows[client.String()] = f
	p.touch(f)
	p.active++
	flows.Go(func() { p.answer(ctx, d, f) })
	return f
}

// answer brings a client what its backend says, until the flow is over.
func (p *Proxy) answer(ctx context.Context, d *door, f *flow) {
	stop := context.AfterFunc(ctx, func() { _ = f.conn.Close() })
	defer func() {
		stop()
		f.over.Stop()
		_ = f.conn.Close()
		f.answered()
		p.mu.Lock()
		defer p.mu.Unlock()
		p.active--
		if d.flows[f.client.String()] == f {
			delete(d.flows, f.client.String())
		}
	}()
	for buf := make([]byte, maxDatagram); ; {
		size, err := f.conn.Read(buf)
		if err != nil {
			return // it is over, or nobody listens there: the client's next datagram begins another one
		}
		f.answered()
		p.mu.Lock()
		if d.flows[f.client.String()] == f {
			p.touch(f)
		}
		p.mu.Unlock()
		_, _ = d.packets.WriteTo(buf[:size], f.client) // a datagram may be lost
	}
}

// stays says whether a backend is one still. p.mu is held.
func (p *Proxy) stays(d *door, b Backend) bool {
	if s := p.pods[b.Pod]; s != nil && s.leaving {
		return false
	}
	for _, other := range d.want.Backends {
		if other == b {
			return true
		}
	}
	return false
}

// touch notes that something was said on a flow. p.mu is held.
func (p *Proxy) touch(f *flow) {
	p.said++
	f.said = p.said
	f.over.Reset(idle)
}

// leave has a flow get nothing more, and end after a while. p.mu is held.
func (p *Proxy) leave(d *door, f *flow, after time.Duration) {
	delete(d.flows, f.client.String())
	f.over.Reset(after)
}

// makeRoom ends a flow where there are too many, or too many of a client. p.mu is held.
func (p *Proxy) makeRoom(d *door, host string) {
	var of int
	var oldest, own *flow
	for _, f := range d.flows {
		if oldest == nil || f.said < oldest.said {
			oldest = f
		}
		if f.host == host {
			if of++; own == nil || f.said < own.said {
				own = f
			}
		}
	}
	if of >= maxClientFlows {
		p.leave(d, own, 0)
	} else if p.active >= maxFlows && oldest != nil {
		p.leave(d, oldest, 0)
	}
}
