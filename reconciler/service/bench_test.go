package service_test

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/belay-dev/belay/reconciler/service"
)

// BenchmarkProxy measures the proxy beside a direct connection, in turns in one run: how many times longer a new connection
// with a question and its answer takes, a question on an open connection, and 64 MiB.
func BenchmarkProxy(b *testing.B) {
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer server.Close()
	wg.Go(func() {
		for {
			c, err := server.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				_, _ = io.Copy(c, c) // until the client goes
			})
		}
	})
	direct := server.Addr().String()
	p := service.NewProxy(func(ctx context.Context, _ service.Backend) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", direct)
	})
	ctx, cancel := context.WithCancel(b.Context())
	wg.Go(func() { _ = p.Run(ctx) })
	defer cancel()
	bound, err := p.Set(ctx, "web", []service.Listener{{Address: "127.0.0.1:0", Backends: []service.Backend{{Pod: "a"}}}})
	if err != nil {
		b.Fatal(err)
	}
	proxied := bound["127.0.0.1:0"]

	compare := func(name string, work func(b *testing.B, address string)) {
		b.Run(name, func(b *testing.B) {
			var times [2]time.Duration
			for b.Loop() {
				for i, address := range []string{direct, proxied} {
					start := time.Now()
					work(b, address)
					times[i] += time.Since(start)
				}
			}
			b.ReportMetric(float64(times[1])/float64(times[0]), "x-direct")
			b.ReportMetric(float64(times[1].Microseconds())/float64(b.N), "µs/proxied")
		})
	}
	compare("connect", func(b *testing.B, address string) {
		c := open(b, address)
		exchange(b, c)
		_ = c.Close()
	})
	conns := map[string]net.Conn{direct: open(b, direct), proxied: open(b, proxied)}
	compare("ask", func(b *testing.B, address string) { exchange(b, conns[address]) })
	compare("64MiB", func(b *testing.B, address string) { bulk(b, conns[address]) })
	for _, c := range conns {
		_ = c.Close()
	}
}

func open(b *testing.B, address string) net.Conn {
	c, err := net.Dial("tcp", address)
	if err != nil {
		b.Fatal(err)
	}
	return c
}

// exchange says something small and reads it again.
func exchange(b *testing.B, c net.Conn) {
	buf := []byte("a question of some length")
	if _, err := c.Write(buf); err != nil {
		b.Fatal(err)
	}
	if _, err := io.ReadFull(c, buf); err != nil {
		b.Fatal(err)
	}
}

// bulk sends much and reads it again at the same time.
func bulk(b *testing.B, c net.Conn) {
	const size = 64 << 20
	sent := make(chan error, 1)
	go func() {
		_, err := io.CopyN(c, zeros{}, size)
		sent <- err
	}()
	if _, err := io.CopyN(io.Discard, c, size); err != nil {
		b.Fatal(err)
	}
	if err := <-sent; err != nil {
		b.Fatal(err)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }
