package service_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/belay-dev/belay/reconciler/service"
)

// pods are backends: each answers a line with its name and the line.
type pods struct {
	t  *testing.T
	mu sync.Mutex
	// by pod; one that is missing refuses.
	listeners map[string]net.Listener
	wg        sync.WaitGroup
}

func newPods(t *testing.T) *pods {
	p := &pods{t: t, listeners: map[string]net.Listener{}}
	t.Cleanup(func() {
		p.mu.Lock()
		for _, l := range p.listeners {
			_ = l.Close()
		}
		p.mu.Unlock()
		p.wg.Wait()
	})
	return p
}

// start has a pod answer. Each connection is handed to serve; nil: a line for a line.
func (p *pods) start(name string, serve func(net.Conn)) service.Backend {
	p.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		p.t.Fatal(err)
	}
	if serve == nil {
		serve = func(c net.Conn) { echo(name, c) }
	}
	p.mu.Lock()
	p.listeners[name] = l
	p.mu.Unlock()
	p.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.wg.Go(func() { defer func() { _ = c.Close() }(); serve(c) })
		}
	})
	return service.Backend{Pod: name, Port: 80}
}

func (p *pods) stop(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.listeners[name].Close()
	delete(p.listeners, name)
}

func (p *pods) dial(ctx context.Context, b service.Backend) (net.Conn, error) {
	p.mu.Lock()
	l := p.listeners[b.Pod]
	p.mu.Unlock()
	if l == nil {
		return nil, errors.New("connection refused")
	}
	var d net.Dialer
	return d.DialContext(ctx, "tcp", l.Addr().String())
}

func echo(name string, c net.Conn) {
	s := bufio.NewScanner(c)
	for s.Scan() {
		if _, err := fmt.Fprintf(c, "%s %s\n", name, s.Text()); err != nil {
			return
		}
	}
}

// run has a proxy work until the test ends.
func run(t *testing.T, dial service.Dial) *service.Proxy {
	t.Helper()
	p := service.NewProxy(dial)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	return p
}

const anyPort = "127.0.0.1:0"

// set opens the one listener of the test and tells its address.
func set(t *testing.T, p *service.Proxy, l service.Listener) string {
	t.Helper()
	l.Address = anyPort
	bound, err := p.Set(t.Context(), "web", []service.Listener{l})
	if err != nil {
		t.Fatal(err)
	}
	return bound[anyPort]
}

// ask makes one connection, says a line and gives back what was answered; "" when it broke.
func ask(address string) string {
	c, err := net.Dial("tcp", address)
	if err != nil { // a reset may come before the connection is known to be there
		return ""
	}
	defer func() { _ = c.Close() }()
	if _, err := io.WriteString(c, "hello\n"); err != nil {
		return ""
	}
	line, _ := bufio.NewReader(c).ReadString('\n')
	return strings.TrimSuffix(line, "\n")
}

func TestSpreads(t *testing.T) {
	t.Parallel()
	ps := newPods(t)
	p := run(t, ps.dial)
	backends := []service.Backend{ps.start("a", nil), ps.start("b", nil), {Pod: "gone", Port: 80}}
	address := set(t, p, service.Listener{Backends: backends})
	seen := map[string]int{}
	for range 12 {
		seen[ask(address)]++
	}
	// What "gone" refuses the next one takes.
	if len(seen) != 2 || seen["a hello"] < 4 || seen["b hello"] < 4 {
		t.Errorf("answers %v", seen)
	}

	// The listener stays over a change of its backends.
	if again := set(t, p, service.Listener{Backends: backends[1:2]}); again != address {
		t.Errorf("listens on %s, was on %s", again, address)
	}
	for range 3 {
		if got := ask(address); got != "b hello" {
			t.Errorf("answer %q", got)
		}
	}
	// Without a backend connections break.
	set(t, p, service.Listener{})
	if got := ask(address); got != "" {
		t.Errorf("answer %q", got)
	}
	if _, err := p.Set(t.Context(), "web", nil); err != nil {
		t.Fatal(err)
	}
	if c, err := net.Dial("tcp", address); err == nil {
		_ = c.Close()
		t.Error("the address still listens")
	}
}

func TestSticky(t *testing.T) {
	t.Parallel()
	ps := newPods(t)
	p := run(t, ps.dial)
	var backends []service.Backend
	for i := range 8 {
		backends = append(backends, ps.start(fmt.Sprint("p", i), nil))
	}
	address := set(t, p, service.Listener{Sticky: true, Backends: backends})
	first := ask(address)
	for range 5 {
		if got := ask(address); got != first {
			t.Errorf("answered by %q and %q", first, got)
		}
	}
	name, _, _ := strings.Cut(first, " ")
	ps.stop(name) // its client goes elsewhere, and stays there
	second := ask(address)
	if second == "" || second == first || ask(address) != second {
		t.Errorf("after %q: %q", first, second)
	}
}

func TestAddressTaken(t *testing.T) {
	t.Parallel()
	ps := newPods(t)
	p := run(t, ps.dial)
	address := set(t, p, service.Listener{Backends: []service.Backend{ps.start("a", nil)}})
	bound, err := p.Set(t.Context(), "other", []service.Listener{{Address: address}, {Address: anyPort}})
	if err == nil || !strings.Contains(err.Error(), "address already in use") || len(bound) != 1 || bound[anyPort] == "" {
		t.Errorf("%v, %v", bound, err)
	}
	if got := ask(address); got != "a hello" {
		t.Errorf("answer %q", got)
	}
}

// TestHalfClose: each direction ends by itself.
func TestHalfClose(t *testing.T) {
	t.Parallel()
	ps := newPods(t)
	p := run(t, ps.dial)
	counted := ps.start("count", func(c net.Conn) {
		n, err := io.Copy(io.Discard, c)
		if err == nil {
			_, _ = fmt.Fprint(c, n)
		}
	})
	address := set(t, p, service.Listener{Backends: []service.Backend{counted}})
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	const size = 3 << 20
	if _, err := c.Write(make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(c)
	if err != nil || string(got) != fmt.Sprint(size) {
		t.Errorf("%q, %v", got, err)
	}
}

// TestDrain: a pod that leaves gets nothing new, and Drain returns once it has begun to answer what it has.
func TestDrain(t *testing.T) {
	t.Parallel()
	ps := newPods(t)
	p := run(t, ps.dial)
	asked, answer := make(chan struct{}), make(chan struct{})
	slow := ps.start("slow", func(c net.Conn) {
		if _, err := bufio.NewReader(c).ReadString('\n'); err != nil {
			return
		}
		asked <- struct{}{}
		<-answer
		_, _ = io.WriteString(c, "slow hello\n")
	})
	quick := ps.start("quick", nil)
	address := set(t, p, service.Listener{Backends: []service.Backend{slow}})
	answered := make(chan string, 1)
	go func() { answered <- ask(address) }()
	<-asked

	set(t, p, service.Listener{Backends: []service.Backend{slow, quick}})
	gaveUp, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Drain(gaveUp, "slow"); !errors.Is(err, context.Canceled) {
		t.Errorf("drained with a question open: %v", err)
	}
	for range 4 {
		if got := ask(address); got != "quick hello" {
			t.Errorf("answer %q", got)
		}
	}
	drained := make(chan error, 1)
	go func() { drained <- p.Drain(t.Context(), "slow") }()
	close(answer)
	if err := <-drained; err != nil {
		t.Errorf("drain: %v", err)
	}
	if got := <-answered; got != "slow hello" {
		t.Errorf("answer %q", got)
	}
	if err := p.Drain(t.Context(), "idle"); err != nil { // one that never had a connection
		t.Errorf("drain: %v", err)
	}
	p.Forget("slow")
	p.Forget("idle")
}

// TestRolling: twenty times new pods take the place of the old ones, each old one drained before it stops, while
// clients ask all the time. None of them is let down.
func TestRolling(t *testing.T) {
	t.Parallel()
	ps := newPods(t)
	p := run(t, ps.dial)
	generation := func(g int) (names []string, backends []service.Backend) {
		for i := range 3 {
			name := fmt.Sprintf("g%d-%d", g, i)
			names, backends = append(names, name), append(backends, ps.start(name, nil))
		}
		return names, backends
	}
	old, backends := generation(0)
	address := set(t, p, service.Listener{Backends: backends})
	ctx, cancel := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for ctx.Err() == nil {
				if got := ask(address); !strings.HasSuffix(got, " hello") {
					t.Errorf("answer %q", got)
					return
				}
			}
		})
	}
	for g := 1; g <= 20; g++ {
		var names []string
		names, backends = generation(g)
		set(t, p, service.Listener{Backends: backends})
		for _, name := range old {
			if err := p.Drain(t.Context(), name); err != nil {
				t.Error(err)
			}
			ps.stop(name)
			p.Forget(name)
		}
		old = names
	}
	cancel()
	clients.Wait()
}

// TestEnd: the end of the proxy breaks what is open, and Set says so.
func TestEnd(t *testing.T) {
	t.Parallel()
	ps := newPods(t)
	p := service.NewProxy(ps.dial)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	address := set(t, p, service.Listener{Backends: []service.Backend{ps.start("a", nil)}})
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	r := bufio.NewReader(c)
	if _, err := io.WriteString(c, "hello\n"); err != nil {
		t.Fatal(err)
	}
	if line, err := r.ReadString('\n'); err != nil || line != "a hello\n" {
		t.Fatalf("%q, %v", line, err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("run: %v", err)
	}
	if _, err := r.ReadByte(); err == nil {
		t.Error("the connection is still there")
	}
	if _, err := p.Set(t.Context(), "web", []service.Listener{{Address: anyPort}}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("set: %v", err)
	}
}
