package podnet

import (
	"context"
	"net"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// quiet is how long nobody may say anything on a flow of UDP before it is over: DNS needs seconds, QUIC half a minute.
const quiet = time.Minute

// datagram answers the first datagram of a flow of UDP; false: nobody is there.
func (n *Net) datagram(r *udp.ForwarderRequest) bool {
	id := r.ID()
	from, to := addrPort(id.RemoteAddress, id.RemotePort), addrPort(id.LocalAddress, id.LocalPort)
	n.mu.Lock()
	p := (*n.ports.Load())[from.Addr()]
	if p == nil || n.closed || n.retired || !n.leads(to.Addr()) || !p.take() {
		n.mu.Unlock()
		return false
	}
	n.work.Add(1) // under the lock: Close waits for it
	n.mu.Unlock()
	var queue waiter.Queue
	ep, err := r.CreateEndpoint(&queue)
	if err != nil {
		p.give()
		n.work.Done()
		return true // another one is at it
	}
	inner := gonet.NewUDPConn(&queue, ep)
	go func() {
		defer n.work.Done()
		defer p.give()
		defer inner.Close()
		outer, err := n.outside(p.ctx, "udp", to)
		if err != nil {
			return
		}
		defer outer.Close()
		exchange(p.ctx, inner, outer)
	}()
	return true
}

// maxDatagram is the largest there is.
const maxDatagram = 1 << 16

// exchange carries datagrams both ways until ctx ends, one side does, or nobody has said anything for a while.
func exchange(ctx context.Context, a, b net.Conn) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	idle := time.AfterFunc(quiet, cancel)
	defer idle.Stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	stop := context.AfterFunc(ctx, func() {
		_ = a.Close()
		_ = b.Close()
	})
	defer stop()
	one := func(to, from net.Conn) {
		defer cancel()
		for buf := make([]byte, maxDatagram); ; {
			size, err := from.Read(buf)
			if err != nil {
				return
			}
			idle.Reset(quiet)
			_, _ = to.Write(buf[:size]) // a datagram may be lost
		}
	}
	wg.Go(func() { one(a, b) })
	one(b, a)
}
