package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// wire is a socket for datagrams in memory.
type wire struct {
	in, out chan datagram
	read    chan struct{} // closed: nothing is read any more
	closed  chan struct{}
}

type datagram struct {
	client net.Addr
	text   string
}

func newWire() *wire {
	return &wire{make(chan datagram), make(chan datagram), make(chan struct{}), make(chan struct{})}
}

func (w *wire) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case d := <-w.in:
		return copy(b, d.text), d.client, nil
	case <-w.read:
		return 0, nil, os.ErrDeadlineExceeded
	case <-w.closed:
		return 0, nil, io.EOF // as some sockets say it
	}
}

func (w *wire) WriteTo(b []byte, to net.Addr) (int, error) {
	select {
	case w.out <- datagram{to, string(b)}:
		return len(b), nil
	case <-w.closed:
		return 0, net.ErrClosed
	}
}

func (w *wire) Close() error {
	select {
	case <-w.closed:
	default:
		close(w.closed)
	}
	return nil
}

func (w *wire) LocalAddr() net.Addr { return client("192.0.2.1:53") }

func (w *wire) SetReadDeadline(time.Time) error { close(w.read); return nil }

func (w *wire) SetDeadline(time.Time) error      { return errors.ErrUnsupported }
func (w *wire) SetWriteDeadline(time.Time) error { return errors.ErrUnsupported }

func client(address string) net.Addr {
	return net.UDPAddrFromAddrPort(netip.MustParseAddrPort(address))
}

// answering is a proxy over a wire, with backends in memory that answer with their names.
type answering struct {
	*testing.T
	*wire
	proxy *Proxy
	stop  context.CancelFunc
	ended chan error
	flows chan backend // in the order of their beginnings
}

// backend is the other end of a flow.
type backend struct {
	net.Conn
	over chan struct{}
}

func answer(t *testing.T) *answering {
	a := &answering{T: t, wire: newWire(), ended: make(chan error, 1), flows: make(chan backend, 2*maxFlows)}
	a.proxy = NewProxy(func(_ context.Context, b Backend) (net.Conn, error) {
		if b.Pod == "gone" || !b.UDP {
			return nil, errors.New("nobody listens")
		}
		here, there := net.Pipe()
		over := make(chan struct{})
		a.flows <- backend{there, over}
		go func() {
			defer close(over)
			for buf := make([]byte, maxDatagram); ; {
				n, err := there.Read(buf)
				if err == nil && string(buf[:n]) != "hush" {
					_, err = fmt.Fprintf(there, "%s: %s", b.Pod, buf[:n])
				}
				if err != nil {
					_ = there.Close()
					return
				}
			}
		}()
		return here, nil
	})
	a.proxy.ListenPacket = func(string) (net.PacketConn, error) { return a.wire, nil }
	ctx, cancel := context.WithCancel(t.Context())
	a.stop = cancel
	go func() { a.ended <- a.proxy.Run(ctx) }()
	return a
}

func (a *answering) end() {
	a.Helper()
	a.stop()
	if err := <-a.ended; err != nil {
		a.Error(err)
	}
}

// pods has the Service be of some pods.
func (a *answering) pods(sticky bool, names ...string) {
	a.Helper()
	l := Listener{Address: "192.0.2.1:53", UDP: true, Sticky: sticky}
	for _, name := range names {
		l.Backends = append(l.Backends, Backend{Pod: name, Port: 53, UDP: true})
	}
	bound, err := a.proxy.Set(a.Context(), "dns", []Listener{l})
	if err != nil || bound["udp:192.0.2.1:53"] != "192.0.2.1:53" {
		a.Fatal(bound, err)
	}
}

// asks says something as a client, and expects an answer.
func (a *answering) asks(from, text, want string) {
	a.Helper()
	a.in <- datagram{client(from), text}
	if got := <-a.out; got.text != want || got.client.String() != from {
		a.Errorf("%s asks %q: %s gets %q, want %q", from, text, got.client, got.text, want)
	}
}

// TestDatagrams: a client keeps its backend while that is one, others share the backends, and who is sticky goes by address.
func TestDatagrams(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := answer(t)
		defer a.end()
		a.pods(false, "gone", "a", "b")
		a.asks("10.0.0.1:1000", "one", "a: one")
		a.asks("10.0.0.1:1000", "two", "a: two")
		a.asks("10.0.0.1:1001", "one", "b: one")
		a.asks("10.0.0.1:1000", strings.Repeat("x", 60_000), "a: "+strings.Repeat("x", 60_000))
		a.pods(false, "b")
		a.asks("10.0.0.1:1000", "three", "b: three")
		a.pods(false, "b", "c")
		if err := a.proxy.Drain(t.Context(), "b"); err != nil {
			t.Error(err)
		}
		a.asks("10.0.0.1:1000", "four", "c: four")
		a.proxy.Forget("b")
		a.pods(true, "a", "b", "c", "d")
		a.in <- datagram{client("10.0.0.2:1"), "sticky"}
		first := <-a.out
		for port := range 8 {
			a.asks(fmt.Sprintf("10.0.0.2:%d", 2+port), "sticky", first.text)
		}
		a.pods(false)
		a.in <- datagram{client("10.0.0.3:1"), "nobody answers"}
		synctest.Wait()
		a.pods(false, "e")
		a.asks("10.0.0.3:1", "again", "e: again")
	})
}

// TestFlowsEnd: a flow ends when nobody has said anything for a while, with its Service, and where there are too many.
func TestFlowsEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := answer(t)
		defer a.end()
		a.pods(false, "a")
		start := time.Now()
		a.asks("10.0.0.1:1", "one", "a: one")
		first := <-a.flows
		<-time.After(idle - time.Second)
		a.asks("10.0.0.1:1", "two", "a: two")
		<-first.over
		if took := time.Since(start); took != 2*idle-time.Second {
			t.Errorf("it was over after %s", took)
		}
		for i := range maxClientFlows + 1 {
			a.asks(fmt.Sprintf("10.0.0.1:%d", 1000+i), "one", "a: one")
		}
		synctest.Wait()
		<-(<-a.flows).over // the oldest made room
		for range maxClientFlows {
			select {
			case <-(<-a.flows).over:
				t.Error("another one made room, too")
			default:
			}
		}
		if _, err := a.proxy.Set(t.Context(), "dns", nil); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if a.proxy.active != 0 {
			t.Errorf("%d flows are left without their Service", a.proxy.active)
		}
	})
}

// TestRetiredFlows: a proxy that another one takes over for reads nothing more, and brings the answers that come still.
func TestRetiredFlows(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := answer(t)
		a.pods(false, "a")
		a.in <- datagram{client("10.0.0.1:1"), "hush"}
		asked := <-a.flows
		synctest.Wait()
		if err := a.proxy.Retire(); err != nil {
			t.Error(err)
		}
		go func() { _, _ = io.WriteString(asked, "late") }()
		if got := <-a.out; got.text != "late" {
			t.Errorf("the answer is %q", got.text)
		}
		if err := <-a.ended; err != nil {
			t.Error(err)
		}
		a.stop()
	})
}

// TestDatagramsHandedOver: a proxy that takes the place of another one answers at its socket.
func TestDatagramsHandedOver(t *testing.T) {
	t.Parallel()
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	go func() {
		for buf := make([]byte, 100); ; {
			n, from, err := server.ReadFrom(buf)
			if err != nil {
				return // the test is over
			}
			_, _ = server.WriteTo(buf[:n], from)
		}
	}()
	begin := func() (*Proxy, func()) {
		p := NewProxy(func(ctx context.Context, _ Backend) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "udp", server.LocalAddr().String())
		})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- p.Run(ctx) }()
		return p, func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	}
	want := []Listener{{Address: "127.0.0.1:0", UDP: true, Backends: []Backend{{Pod: "a", UDP: true}}}}
	first, end := begin()
	defer end()
	bound, err := first.Set(t.Context(), "echo", want)
	if err != nil {
		t.Fatal(err)
	}
	key := want[0].Key()
	conn, err := net.Dial("udp", bound[key])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ask := func(text string) {
		t.Helper()
		for buf := make([]byte, 100); t.Context().Err() == nil; { // datagrams may be lost
			_, _ = io.WriteString(conn, text)
			_ = conn.SetReadDeadline(time.Now().Add(time.Second))
			if n, err := conn.Read(buf); err == nil && string(buf[:n]) == text {
				return
			}
		}
		t.Fatalf("nobody answers %q", text)
	}
	ask("one")
	files, err := first.Files()
	if err != nil {
		t.Fatal(err)
	}
	opened, err := Reopen(key, files[key])
	if err := errors.Join(err, files[key].Close()); err != nil {
		t.Fatal(err)
	}
	second, end := begin()
	defer end()
	second.Give(map[string]io.Closer{key: opened})
	if again, err := second.Set(t.Context(), "echo", want); err != nil || again[key] != bound[key] {
		t.Fatalf("bound %v, before %v: %v", again, bound, err)
	}
	if err := errors.Join(second.DropGiven(), first.Retire()); err != nil {
		t.Fatal(err)
	}
	ask("two")
}
