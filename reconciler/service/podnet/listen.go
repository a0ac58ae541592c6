package podnet

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// listener takes the connections of pods to one address.
type listener struct {
	net     *Net
	address netip.AddrPort
	conns   chan *conn
	once    sync.Once
	ended   chan struct{}
}

var _ net.Listener = (*listener)(nil)

// Listen answers at an address, until the listener is closed.
func (n *Net) Listen(address netip.AddrPort) (net.Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.closed || n.retired:
		return nil, net.ErrClosed
	case n.listeners[address] != nil:
		return nil, fmt.Errorf("listen tcp %s: bind: address already in use", address)
	}
	l := &listener{net: n, address: address, conns: make(chan *conn), ended: make(chan struct{})}
	n.listeners[address] = l
	return l, nil
}

// give hands a connection to who accepts. One that nobody accepts is reset.
func (l *listener) give(ctx context.Context, c *conn) {
	select {
	case l.conns <- c:
	case <-l.ended:
		c.Reset()
	case <-ctx.Done():
		c.Reset()
	}
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.ended:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *listener) Close() error {
	l.net.mu.Lock()
	if l.net.listeners[l.address] == l {
		delete(l.net.listeners, l.address)
	}
	l.net.mu.Unlock()
	l.end()
	return nil
}

func (l *listener) end() { l.once.Do(func() { close(l.ended) }) }

// Addr implements net.Listener.
func (l *listener) Addr() net.Addr { return net.TCPAddrFromAddrPort(l.address) }

// ListenPacket answers datagrams at an address, until it is closed.
func (n *Net) ListenPacket(address netip.AddrPort) (net.PacketConn, error) {
	at := tcpip.AddrFrom4(address.Addr().As4())
	own := tcpip.ProtocolAddress{Protocol: ipv4.ProtocolNumber, AddressWithPrefix: at.WithPrefix()}
	if err := n.stack.AddProtocolAddress(nic, own, stack.AddressProperties{}); err != nil {
		if _, there := err.(*tcpip.ErrDuplicateAddress); !there {
			return nil, fmt.Errorf("listen udp %s: %s", address, err)
		}
	}
	return gonet.DialUDP(n.stack, &tcpip.FullAddress{NIC: nic, Addr: at, Port: address.Port()}, nil, ipv4.ProtocolNumber)
}

// DialPacket is for datagrams to a pod, and its answers, which are said to an address that ListenPacket was called for.
func (n *Net) DialPacket(from netip.Addr, to netip.AddrPort) (net.Conn, error) {
	if (*n.ports.Load())[to.Addr()] == nil {
		return nil, fmt.Errorf("dial udp %s: no such pod", to)
	}
	local := tcpip.FullAddress{NIC: nic, Addr: tcpip.AddrFrom4(from.As4())}
	remote := tcpip.FullAddress{NIC: nic, Addr: tcpip.AddrFrom4(to.Addr().As4()), Port: to.Port()}
	return gonet.DialUDP(n.stack, &local, &remote, ipv4.ProtocolNumber)
}
