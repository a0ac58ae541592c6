package podnet_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"

	"github.com/belay-dev/belay/reconciler/service/podnet"
)

// TestBetweenPods: pods reach each other by address, and nobody speaks as somebody else.
func TestBetweenPods(t *testing.T) {
	t.Parallel()
	n := started(t, podnet.Options{})
	a, b, liar := newPod(t, "10.244.0.1"), newPod(t, "10.244.0.2"), newPod(t, "10.244.0.3")
	attach(t, n, a)
	attach(t, n, b)
	b.listen(t, 80)
	c, err := a.dial(t, "10.244.0.2:80")
	if err != nil {
		t.Fatal(err)
	}
	if err := say(c, "hello"); err != nil {
		t.Error(err)
	}
	if _, err := a.dial(t, "10.244.0.2:81"); err == nil {
		t.Error("a port that nobody listens on was reached")
	}
	if _, err := a.dial(t, "10.244.0.9:80"); err == nil {
		t.Error("a pod that is not there was reached")
	}
	if _, err := n.Attach(netip.MustParseAddr("10.245.0.1"), a.device()); err == nil {
		t.Error("an address outside the range was attached")
	}

	to := full("10.244.0.2:53")
	server, err := gonet.DialUDP(b.stack, &to, nil, ipv4.ProtocolNumber)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	if _, err := n.Attach(netip.MustParseAddr("10.244.0.4"), liar.device()); err != nil {
		t.Fatal(err)
	}
	for _, from := range []*pod{liar, a} {
		u, err := gonet.DialUDP(from.stack, nil, &to, ipv4.ProtocolNumber)
		if err != nil {
			t.Fatal(err)
		}
		defer u.Close()
		if _, err := fmt.Fprint(u, from.address); err != nil {
			t.Fatal(err)
		}
	}
	buf := make([]byte, 100)
	size, from, err := server.ReadFrom(buf) // the first that comes is the second that was sent
	if err != nil || string(buf[:size]) != "10.244.0.1" {
		t.Errorf("%q from %v, %v", buf[:size], from, err)
	}
}

// TestServices: the network answers where it is told to, and refuses elsewhere.
func TestServices(t *testing.T) {
	t.Parallel()
	n := started(t, podnet.Options{Flows: 8}) // two of each pod
	a := newPod(t, "10.244.0.1")
	port := attach(t, n, a)
	web := netip.MustParseAddrPort("10.96.3.7:80")
	l, err := n.Listen(web)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.Listen(web); err == nil {
		t.Error("two listen at one address")
	}
	talk(t, l, func() {})
	first, err := a.dial(t, web.String())
	if err != nil {
		t.Fatal(err)
	}
	if err := say(first, "one"); err != nil {
		t.Error(err)
	}
	second, err := a.dial(t, web.String())
	if err != nil {
		t.Fatal(err)
	}
	if err := say(second, "two"); err != nil {
		t.Error(err)
	}
	if c, err := a.dial(t, web.String()); err == nil {
		t.Errorf("a third connection was opened: %v", c.Close())
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	for { // until its end has come to the other side
		c, err := a.dial(t, web.String())
		if err == nil {
			first = c
			break
		}
		if t.Context().Err() != nil {
			t.Fatal(err)
		}
	}
	if err := say(first, "three"); err != nil {
		t.Error(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := a.dial(t, web.String()); err == nil {
		t.Error("a listener that is closed answers")
	}
	if err := say(second, "still here"); err != nil {
		t.Errorf("a connection ended with its listener: %v", err)
	}

	names := netip.MustParseAddrPort("10.96.0.1:53")
	packets, err := n.ListenPacket(names)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		buf := make([]byte, 100)
		for {
			size, from, err := packets.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = packets.WriteTo(append([]byte("re: "), buf[:size]...), from)
		}
	}()
	defer packets.Close()
	to := full(names.String())
	u, err := gonet.DialUDP(a.stack, nil, &to, ipv4.ProtocolNumber)
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	if err := say(u, "web?"); err != nil {
		t.Error(err)
	}

	if err := port.Detach(); err != nil {
		t.Fatal(err)
	}
	if err := port.Detach(); err != nil {
		t.Errorf("again: %v", err)
	}
}

// TestPodEnds: who is connected to a pod that ended learns it.
func TestPodEnds(t *testing.T) {
	t.Parallel()
	n := started(t, podnet.Options{})
	a, b := newPod(t, "10.244.0.1"), newPod(t, "10.244.0.2")
	attach(t, n, a)
	port := attach(t, n, b)
	b.listen(t, 80)
	toPod, err := a.dial(t, "10.244.0.2:80")
	if err != nil {
		t.Fatal(err)
	}
	l, err := n.Listen(netip.MustParseAddrPort("10.96.3.7:80"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	opened := make(chan error, 1)
	go func() {
		_, err := b.dial(t, "10.96.3.7:80")
		opened <- err
	}()
	fromPod, err := l.Accept()
	if err = errors.Join(err, <-opened); err != nil {
		t.Fatal(err)
	}
	if err := port.Detach(); err != nil {
		t.Fatal(err)
	}
	if _, err := fromPod.Read(make([]byte, 1)); err == nil {
		t.Error("a pod that is gone said something")
	}
	if err := say(toPod, "are you there?"); err == nil {
		t.Error("a pod that is gone answered")
	}
	if _, err := a.dial(t, "10.244.0.2:80"); err == nil {
		t.Error("a pod that is gone was reached")
	}
}

// TestOutside: pods reach what is outside, and not what the machine keeps to itself.
func TestOutside(t *testing.T) {
	t.Parallel()
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	talk(t, server, func() {})
	packets, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer packets.Close()
	go func() {
		buf := make([]byte, 100)
		for {
			size, from, err := packets.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = packets.WriteTo(append([]byte("re: "), buf[:size]...), from)
		}
	}()
	var mu sync.Mutex
	var asked []string
	n := started(t, podnet.Options{Outside: func(ctx context.Context, network, address string) (net.Conn, error) {
		mu.Lock()
		asked = append(asked, network+" "+address)
		mu.Unlock()
		var d net.Dialer
		switch {
		case network == "udp":
			return d.DialContext(ctx, network, packets.LocalAddr().String())
		case address == "192.0.2.1:80":
			return d.DialContext(ctx, network, server.Addr().String())
		}
		return nil, errors.New("connection refused")
	}})
	a := newPod(t, "10.244.0.1")
	attach(t, n, a)
	c, err := a.dial(t, "192.0.2.1:80")
	if err != nil {
		t.Fatal(err)
	}
	if err := say(c, "hello"); err != nil {
		t.Error(err)
	}
	if err := c.(*gonet.TCPConn).CloseWrite(); err != nil {
		t.Error(err)
	}
	if rest, err := io.ReadAll(c); err != nil || len(rest) > 0 {
		t.Errorf("after the end: %q, %v", rest, err)
	}
	to := full("192.0.2.1:53")
	u, err := gonet.DialUDP(a.stack, nil, &to, ipv4.ProtocolNumber)
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	if err := say(u, "who?"); err != nil {
		t.Error(err)
	}
	if _, err := a.dial(t, "192.0.2.1:81"); err == nil {
		t.Error("what refuses was reached")
	}
	for _, address := range []string{
		"0.0.0.1:80", "169.254.169.254:80", "240.0.0.1:80", "10.96.0.9:443", "10.244.7.7:80",
	} {
		if _, err := a.dial(t, address); err == nil {
			t.Errorf("%s was reached", address)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if want := []string{"tcp 192.0.2.1:80", "udp 192.0.2.1:53", "tcp 192.0.2.1:81"}; !slices.Equal(asked, want) {
		t.Errorf("asked for %v, want %v", asked, want)
	}
}

// TestHandover: a network takes over from another one, and from that a third. What is open goes on, and what is new is
// the last one's.
func TestHandover(t *testing.T) {
	t.Parallel()
	a, b := newPod(t, "10.244.0.1"), newPod(t, "10.244.0.2")
	b.listen(t, 80)
	var nets []*podnet.Net
	var open, ends []net.Conn
	var following sync.WaitGroup
	defer following.Wait()
	web := netip.MustParseAddrPort("10.96.3.7:80")
	for i := range 3 {
		n := network(t, podnet.Options{})
		l, err := n.Listen(web)
		if err != nil {
			t.Fatal(err)
		}
		talk(t, l, func() {})
		if i > 0 {
			before := nets[i-1]
			flows := before.Retire(t.Context())
			if len(flows) != i { // one of each network, and none between pods
				t.Errorf("network %d hands over %v", i-1, flows)
			}
			theirs, ours := net.Pipe()
			following.Go(func() {
				if err := before.Follow(theirs); err != nil && !errors.Is(err, io.ErrClosedPipe) {
					t.Error(err)
				}
			})
			ends = append(ends, theirs)
			n.Precede(flows, ours)
		}
		attach(t, n, a)
		attach(t, n, b)
		n.Start()
		nets = append(nets, n)
		addresses := []string{web.String()}
		if i == 0 {
			addresses = append(addresses, "10.244.0.2:80")
		}
		for _, address := range addresses {
			c, err := a.dial(t, address)
			if err != nil {
				t.Fatalf("network %d: %s: %v", i, address, err)
			}
			open = append(open, c)
		}
		for j, c := range open {
			if err := say(c, fmt.Sprint("network ", i)); err != nil {
				t.Errorf("network %d: connection %d: %v", i, j, err)
			}
		}
	}
	if _, err := nets[0].Attach(a.address, a.device()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a network that retired attaches a pod: %v", err)
	}
	for _, c := range open[:2] {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	_ = ends[1].Close() // the last process was killed
	for i, c := range open[2:] {
		if err := say(c, "still there?"); (err == nil) != (i == 1) { // the one that it has itself goes on
			t.Errorf("after the end of the process that has the devices: connection %d: %v", i+2, err)
		}
	}
	for i, n := range nets[:2] {
		select {
		case <-n.Idle():
		case <-time.After(2 * time.Minute):
			t.Fatalf("network %d carries something still", i)
		}
		_ = ends[i].Close() // as the end of its process does
	}
}
