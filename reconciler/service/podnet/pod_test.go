package podnet_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"

	"github.com/belay-dev/belay/reconciler/service/podnet"
)

var (
	podRange = netip.MustParsePrefix("10.244.0.0/16")
	cluster  = netip.MustParsePrefix("10.96.0.0/16")
)

// pod has a stack of its own where a real one has a kernel's.
type pod struct {
	address netip.Addr
	stack   *stack.Stack
	link    *channel.Endpoint
}

func newPod(t testing.TB, address string) *pod {
	t.Helper()
	const nic = 1
	p := &pod{
		address: netip.MustParseAddr(address), link: channel.New(1<<12, podnet.MTU, ""),
		stack: stack.New(stack.Options{
			NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol},
			TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol},
		}),
	}
	if err := p.stack.CreateNIC(nic, p.link); err != nil {
		t.Fatal(err)
	}
	own := tcpip.ProtocolAddress{Protocol: ipv4.ProtocolNumber, AddressWithPrefix: tcpip.AddrFrom4(p.address.As4()).WithPrefix()}
	if err := p.stack.AddProtocolAddress(nic, own, stack.AddressProperties{}); err != nil {
		t.Fatal(err)
	}
	p.stack.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, NIC: nic}})
	t.Cleanup(p.stack.Destroy)
	return p
}

// device is one process's descriptor of a pod's device.
type device struct {
	pod    *pod
	ctx    context.Context
	cancel context.CancelFunc
}

func (p *pod) device() *device {
	ctx, cancel := context.WithCancel(context.Background())
	return &device{p, ctx, cancel}
}

func (d *device) Read(packet []byte) (int, error) {
	b := d.pod.link.ReadContext(d.ctx)
	if b == nil {
		return 0, os.ErrDeadlineExceeded
	}
	defer b.DecRef()
	view := b.ToView()
	defer view.Release()
	return copy(packet, view.AsSlice()), nil
}

func (d *device) Write(packet []byte) (int, error) {
	b := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(packet)})
	defer b.DecRef()
	d.pod.link.InjectInbound(header.IPv4ProtocolNumber, b)
	return len(packet), nil
}

func (d *device) SetReadDeadline(time.Time) error { d.cancel(); return nil }

func (d *device) Close() error { d.cancel(); return nil }

func full(address string) tcpip.FullAddress {
	a := netip.MustParseAddrPort(address)
	return tcpip.FullAddress{Addr: tcpip.AddrFrom4(a.Addr().As4()), Port: a.Port()}
}

// dial connects from the pod.
func (p *pod) dial(t testing.TB, address string) (net.Conn, error) {
	t.Helper()
	return gonet.DialContextTCP(t.Context(), p.stack, full(address), ipv4.ProtocolNumber)
}

// listen has the pod answer lines.
func (p *pod) listen(t testing.TB, port uint16) {
	t.Helper()
	l, err := gonet.ListenTCP(p.stack, tcpip.FullAddress{Port: port}, ipv4.ProtocolNumber)
	if err != nil {
		t.Fatal(err)
	}
	talk(t, l, l.Shutdown)
}

// talk answers each line that comes with a line, until the test ends.
func talk(t testing.TB, l net.Listener, stop func()) {
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				for s := bufio.NewScanner(c); s.Scan(); {
					if _, err := fmt.Fprintln(c, "re:", s.Text()); err != nil {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		stop()
		_ = l.Close()
	})
}

// say says a line and expects the answer.
func say(c net.Conn, text string) error {
	if _, err := fmt.Fprintln(c, text); err != nil {
		return err
	}
	want := "re: " + text + "\n"
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if string(got) != want {
		return fmt.Errorf("answer %q", got)
	}
	return nil
}

// network is one for the test.
func network(t testing.TB, o podnet.Options) *podnet.Net {
	t.Helper()
	o.Pods, o.Cluster = podRange, cluster
	n, err := podnet.New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// started is one that carries.
func started(t testing.TB, o podnet.Options) *podnet.Net {
	t.Helper()
	n := network(t, o)
	n.Start()
	return n
}

func attach(t testing.TB, n *podnet.Net, p *pod) *podnet.Port {
	t.Helper()
	port, err := n.Attach(p.address, p.device())
	if err != nil {
		t.Fatal(err)
	}
	return port
}
