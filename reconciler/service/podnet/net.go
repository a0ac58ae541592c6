package podnet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
)

// MTU is that of the devices of pods: nothing between them is narrower than memory.
const MTU = 65520

// Options say what a network is.
type Options struct {
	Pods    netip.Prefix // addresses of pods
	Cluster netip.Prefix // addresses of Services: they lead nowhere else
	// Outside connects to an address that is nobody's here, over "tcp" or "udp"; nil: there is no outside.
	Outside func(ctx context.Context, network, address string) (net.Conn, error)
	// Flows bounds how many connections there are at a time, those of UDP counted; 0: 16384.
	Flows int
}

// defaultFlows is what a machine's usual bound of open files allows.
const defaultFlows = 16384

// A pod has at most this part of all flows, and at most this many.
const (
	podShare = 4
	podFlows = 4096
)

// Net is a network. Make it with New.
type Net struct {
	o     Options
	stack *stack.Stack
	link  *link
	ctx   context.Context // of what pods have begun: it ends with Close
	stop  context.CancelFunc
	work  sync.WaitGroup // all goroutines
	reads sync.WaitGroup // those that read devices
	begun chan struct{}  // closed by Start

	ports  atomic.Pointer[map[netip.Addr]*Port] // replaced as a whole, read for each packet
	before atomic.Pointer[predecessor]          // nil: what came before is over
	total  atomic.Int64                         // flows

	mu        sync.Mutex // guards what follows, and the replacement of ports
	listeners map[netip.AddrPort]*listener
	flows     map[flowKey]*conn // with those that only have their end to send
	opening   int               // connections that their pods believe to be open, and nobody was given yet
	opened    chan struct{}     // closed when retired without such
	idle      chan struct{}     // closed when retired without flows
	retired   bool
	closed    bool
}

const nic tcpip.NICID = 1

// How long the stack keeps what is over for late packets: nothing is late here.
const (
	timeWait = time.Second
	lingers  = 30 * time.Second
)

// What one connection may have in memory, in bytes, by direction.
const (
	bufferDefault = 1 << 20
	bufferMost    = 4 << 20
)

// maxInFlight is how many connections may be begun at a time, of all pods; each has its own bound below it.
const maxInFlight = 1 << 16

// New makes a network without pods, which carries nothing before Start. What pods begin ends with ctx; Close ends everything.
func New(ctx context.Context, o Options) (*Net, error) {
	if o.Flows == 0 {
		o.Flows = defaultFlows
	}
	n := &Net{
		o: o, listeners: map[netip.AddrPort]*listener{}, flows: map[flowKey]*conn{},
		begun: make(chan struct{}), opened: make(chan struct{}), idle: make(chan struct{}),
		stack: stack.New(stack.Options{
			NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol},
			TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol},
		}),
	}
	n.ctx, n.stop = context.WithCancel(ctx)
	n.ports.Store(&map[netip.Addr]*Port{})
	n.link = &link{net: n}
	sack, recovery, wait, linger := tcpip.TCPSACKEnabled(true), tcpip.TCPRecovery(0), tcpip.TCPTimeWaitTimeoutOption(timeWait), tcpip.TCPLingerTimeoutOption(lingers)
	send := tcpip.TCPSendBufferSizeRangeOption{Min: 4 << 10, Default: bufferDefault, Max: bufferMost}
	receive := tcpip.TCPReceiveBufferSizeRangeOption{Min: 4 << 10, Default: bufferDefault, Max: bufferMost}
	for _, option := range []tcpip.SettableTransportProtocolOption{&sack, &recovery, &wait, &linger, &send, &receive} {
		if err := n.stack.SetTransportProtocolOption(tcp.ProtocolNumber, option); err != nil {
			return nil, fmt.Errorf("set up network: %s", err)
		}
	}
	n.stack.SetTransportProtocolHandler(tcp.ProtocolNumber, tcp.NewForwarder(n.stack, bufferDefault, maxInFlight, n.begin).HandlePacket)
	n.stack.SetTransportProtocolHandler(udp.ProtocolNumber, udp.NewForwarder(n.stack, n.datagram).HandlePacket)
	if err := n.stack.CreateNIC(nic, n.link); err != nil {
		return nil, fmt.Errorf("set up network: %s", err)
	}
	// It answers for every address that is no pod's, and speaks as it.
	if err := n.stack.SetPromiscuousMode(nic, true); err != nil {
		return nil, fmt.Errorf("set up network: %s", err)
	}
	if err := n.stack.SetSpoofing(nic, true); err != nil {
		return nil, fmt.Errorf("set up network: %s", err)
	}
	n.stack.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, NIC: nic}})
	return n, nil
}

// Start has the network carry packets. The pods that are there when it takes over from another one are attached before: what
// one of them says to another one that is not there yet is refused. It is called once.
func (n *Net) Start() { close(n.begun) }

// Close ends everything, the devices too, and returns when it has ended.
func (n *Net) Close() error {
	n.mu.Lock()
	n.closed = true
	ports := *n.ports.Load()
	n.ports.Store(&map[netip.Addr]*Port{})
	listeners := n.listeners
	n.listeners = map[netip.AddrPort]*listener{}
	n.mu.Unlock()
	n.stop()
	if before := n.before.Load(); before != nil {
		_ = before.to.Close() // which wakes who waits for its end
	}
	for _, l := range listeners {
		l.end()
	}
	var errs []error
	for _, p := range ports {
		errs = append(errs, p.end())
	}
	n.stack.Close()
	n.work.Wait()
	n.stack.Wait()
	return errors.Join(errs...)
}

// Device is what a pod's packets come from and go to, one with each call. A read that waits ends with its deadline.
type Device interface {
	Read(packet []byte) (int, error)
	Write(packet []byte) (int, error)
	SetReadDeadline(at time.Time) error
	Close() error
}

// Port is where one pod is plugged in.
type Port struct {
	net     *Net
	address netip.Addr
	device  Device
	ctx     context.Context // of what the pod has begun: it ends with the port
	stop    context.CancelFunc
	active  atomic.Int64 // flows that the pod has open
	once    sync.Once
	ended   error
}

// Attach plugs in the device of the pod with an address, which the network closes in the end, also after an error. One that
// has the address already is taken out.
func (n *Net) Attach(address netip.Addr, device Device) (*Port, error) {
	if !n.o.Pods.Contains(address) {
		return nil, errors.Join(fmt.Errorf("%s is not among the addresses of pods, %s", address, n.o.Pods), device.Close())
	}
	p := &Port{net: n, address: address, device: device}
	p.ctx, p.stop = context.WithCancel(n.ctx)
	n.mu.Lock()
	if n.closed || n.retired {
		n.mu.Unlock()
		p.stop()
		return nil, errors.Join(net.ErrClosed, device.Close())
	}
	old := (*n.ports.Load())[address]
	n.replace(address, p)
	n.work.Add(1) // under the lock: Close waits for it
	n.reads.Add(1)
	n.mu.Unlock()
	var err error
	if old != nil {
		err = old.end()
	}
	go func() {
		defer n.work.Done()
		defer n.reads.Done()
		p.read()
	}()
	return p, err
}

// replace has an address lead to a port; nil: to none. n.mu is held.
func (n *Net) replace(address netip.Addr, p *Port) {
	ports := map[netip.Addr]*Port{}
	for a, q := range *n.ports.Load() {
		ports[a] = q
	}
	if ports[address] = p; p == nil {
		delete(ports, address)
	}
	n.ports.Store(&ports)
}

// Detach takes a pod out, and breaks what it has open.
func (p *Port) Detach() error {
	p.net.mu.Lock()
	if (*p.net.ports.Load())[p.address] == p {
		p.net.replace(p.address, nil)
	}
	p.net.mu.Unlock()
	return p.end()
}

func (p *Port) end() error {
	p.once.Do(func() {
		p.stop()
		p.net.abort(p)
		p.ended = p.device.Close()
	})
	return p.ended
}

// read takes the pod's packets until its device ends, or the network retires.
func (p *Port) read() {
	select {
	case <-p.net.begun:
	case <-p.ctx.Done():
		return
	}
	packet := make([]byte, 1<<16)
	for {
		size, err := p.device.Read(packet)
		if err != nil {
			return // it was closed, or the pod is gone: whoever watches the pod takes it out
		}
		p.net.receive(p, packet[:size])
	}
}

// receive takes one packet of a pod.
func (n *Net) receive(from *Port, packet []byte) {
	h := header.IPv4(packet)
	if !h.IsValid(len(packet)) || netip.AddrFrom4([4]byte(h.SourceAddressSlice())) != from.address {
		return // not IPv4, or not this pod's to say
	}
	packet = packet[:h.TotalLength()]
	to := netip.AddrFrom4([4]byte(h.DestinationAddressSlice()))
	if p := (*n.ports.Load())[to]; p != nil {
		_, _ = p.device.Write(packet) // a packet that is lost is sent again
		return
	}
	n.local(packet)
}

// local gives a packet that is no pod's to the stack of this process, or of the one before it.
func (n *Net) local(packet []byte) {
	h := header.IPv4(packet)
	switch h.TransportProtocol() {
	case tcp.ProtocolNumber:
		if before := n.before.Load(); before != nil && before.takes(h) {
			return
		}
	case udp.ProtocolNumber:
	default:
		return // the stack would answer for addresses that it is not
	}
	n.link.deliver(packet)
}
