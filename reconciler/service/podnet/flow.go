package podnet

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"

	"github.com/belay-dev/belay/reconciler/service"
)

// flowKey is one TCP connection of a pod.
type flowKey struct{ from, to netip.AddrPort }

// conn is a connection of a pod to an address that is this stack's.
type conn struct {
	*gonet.TCPConn
	key  flowKey
	port *Port
	ep   tcpip.Endpoint
	once sync.Once
}

// Reset breaks the connection so that the pod sees it.
func (c *conn) Reset() {
	c.ep.Abort()
	c.over()
}

// Close ends the connection. What was written still arrives.
func (c *conn) Close() error {
	err := c.TCPConn.Close()
	c.over()
	return err
}

func (c *conn) over() { c.once.Do(c.port.give) }

// take counts a flow for a pod; false: it has enough.
func (p *Port) take() bool {
	own, all := p.active.Add(1), p.net.total.Add(1)
	if own > int64(min(podFlows, max(1, p.net.o.Flows/podShare))) || all > int64(p.net.o.Flows) {
		p.give()
		return false
	}
	return true
}

func (p *Port) give() {
	p.active.Add(-1)
	p.net.total.Add(-1)
}

// dialTimeout bounds how long an address outside may take to answer.
const dialTimeout = 10 * time.Second

// begin answers one SYN: by a listener, or by who is outside. It runs in a goroutine of its own.
func (n *Net) begin(r *tcp.ForwarderRequest) {
	id := r.ID()
	key := flowKey{addrPort(id.RemoteAddress, id.RemotePort), addrPort(id.LocalAddress, id.LocalPort)}
	n.mu.Lock()
	p, l := (*n.ports.Load())[key.from.Addr()], n.listeners[key.to]
	if p == nil || n.closed || n.retired || !p.take() {
		reset := !n.retired // it is another process's to answer
		n.mu.Unlock()
		r.Complete(reset)
		return
	}
	n.work.Add(1) // under the lock: Close waits for it
	if l != nil {
		n.opening++
	}
	n.mu.Unlock()
	defer n.work.Done()
	if l != nil {
		defer n.settled()
		if c := n.accept(r, key, p); c != nil {
			l.give(p.ctx, c)
		}
		return
	}
	upstream, err := n.outside(p.ctx, "tcp", key.to)
	if err != nil {
		p.give()
		r.Complete(true)
		return
	}
	n.mu.Lock()
	retired := n.retired
	if !retired {
		n.opening++
	}
	n.mu.Unlock()
	if retired { // the pod asks again, and another process answers
		p.give()
		r.Complete(false)
		_ = upstream.Close() // nothing was sent
		return
	}
	c := n.accept(r, key, p)
	n.settled()
	if c == nil {
		_ = upstream.Close() // nothing was sent
		return
	}
	service.Join(p.ctx, c, upstream, nil)
}

// settled says that a connection that was being opened is somebody's, or is none.
func (n *Net) settled() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.opening--; n.opening == 0 && n.retired {
		close(n.opened)
	}
}

// accept opens the connection that a pod asked for; nil: it gave up.
func (n *Net) accept(r *tcp.ForwarderRequest, key flowKey, p *Port) *conn {
	var queue waiter.Queue
	ep, err := r.CreateEndpoint(&queue)
	r.Complete(err != nil)
	if err != nil {
		p.give()
		return nil
	}
	ep.SocketOptions().SetKeepAlive(true) // a pod that is stopped does not say so
	c := &conn{TCPConn: gonet.NewTCPConn(&queue, ep), key: key, port: p, ep: ep}
	n.mu.Lock()
	n.flows[key] = c
	n.work.Add(1)
	n.mu.Unlock()
	go func() {
		defer n.work.Done()
		if e, ok := ep.(stack.TransportEndpoint); ok {
			e.Wait()
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.flows[key] == c {
			delete(n.flows, key)
		}
		n.settle()
	}()
	if p.ctx.Err() != nil { // the port ended meanwhile, and did not see this one
		c.Reset()
		return nil
	}
	return c
}

// abort breaks all that a pod has open; nil: that all have.
func (n *Net) abort(p *Port) {
	n.mu.Lock()
	var open []*conn
	for _, c := range n.flows {
		if p == nil || c.port == p {
			open = append(open, c)
		}
	}
	n.mu.Unlock()
	for _, c := range open {
		c.Reset()
	}
}

var errNowhere = errors.New("no pod may go there")

// outside connects to an address that is not of this network.
func (n *Net) outside(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error) {
	if !n.leads(to.Addr()) {
		return nil, errNowhere
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	return n.o.Outside(ctx, network, to.String())
}

// Addresses that lead nowhere although they look global: those of "this network", of which the first is the machine itself,
// and those that are reserved.
var (
	thisNetwork = netip.MustParsePrefix("0.0.0.0/8")
	reserved    = netip.MustParsePrefix("240.0.0.0/4")
)

// leads says whether a pod may go to an address outside. The machine's loopback is not, and what is link-local (there a
// cloud tells machines their secrets) is not either.
func (n *Net) leads(to netip.Addr) bool {
	return n.o.Outside != nil && to.Is4() && to.IsGlobalUnicast() && !thisNetwork.Contains(to) && !reserved.Contains(to) &&
		!n.o.Pods.Contains(to) && !n.o.Cluster.Contains(to)
}

func addrPort(a tcpip.Address, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4(a.As4()), port)
}
