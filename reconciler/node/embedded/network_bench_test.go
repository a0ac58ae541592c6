//go:build linux

package embedded_test

import (
	"bytes"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"

	"k8s.io/client-go/tools/remotecommand"

	"github.com/belay-dev/belay/reconciler/node/conformance/program"
	"github.com/belay-dev/belay/reconciler/service"
)

// BenchmarkNetwork measures, in turns in one run, from inside of a pod: what answers in the pod itself, another pod, and that
// pod by its Service; and from the machine: what answers there, and the pod by its Service's listener. Each tells how many
// times longer it takes than over loopback: an exchange of 64 bytes on a new connection and on an open one, and 16 MiB there
// and back.
func BenchmarkNetwork(b *testing.B) {
	c := connect(b)
	pod, _, ip := c.pod("echoes", "80")
	_, client, _ := c.pod("echoes", "80")
	const cluster, host = "10.96.3.7:80", "127.0.0.1:0"
	backends := []service.Backend{{Pod: string(pod), IP: ip, Port: 80}}
	bound, err := c.client.Set(b.Context(), "shop/web", service.Front{Listeners: []service.Listener{
		{Address: cluster, Backends: backends}, {Address: host, Backends: backends},
	}})
	if err != nil {
		b.Fatal(err)
	}
	inside := func(args ...string) (int, string, error) {
		var out, errs bytes.Buffer
		code, err := c.Exec(b.Context(), client, append([]string{"/program"}, args...), remotecommand.StreamOptions{Stdout: &out, Stderr: &errs})
		return code, out.String() + errs.String(), err
	}
	here := func(args ...string) (int, string, error) {
		var out bytes.Buffer
		return program.Run(b.Context(), program.Process{Args: args, Stdout: &out, Stderr: &out}), out.String(), nil
	}
	loopback := echo(b)
	for _, what := range []string{"connect", "ask", "bulk"} {
		for _, from := range []struct {
			name      string
			run       func(...string) (int, string, error)
			addresses []string
			names     []string
		}{
			{"pod", inside, []string{"127.0.0.1:80", net.JoinHostPort(ip, "80"), cluster}, []string{"loopback", "pod", "service"}},
			{"host", here, []string{loopback, bound[host]}, []string{"loopback", "service"}},
		} {
			b.Run(what+"/"+from.name, func(b *testing.B) {
				code, out, err := from.run(append([]string{"measure", what, strconv.Itoa(b.N)}, from.addresses...)...)
				lines := strings.Fields(out)
				if err != nil || code != 0 || len(lines) != len(from.addresses) {
					b.Fatalf("%d, %v: %s", code, err, out)
				}
				var direct float64
				for i, name := range from.names {
					took, err := strconv.ParseFloat(lines[i], 64)
					if err != nil {
						b.Fatal(err)
					}
					if i == 0 {
						direct = took
					} else {
						b.ReportMetric(took/direct, "x-"+name)
					}
					b.ReportMetric(took/1e3/float64(b.N), "µs/"+name)
				}
			})
		}
	}
}

// echo answers on this machine's loopback what it is sent.
func echo(b *testing.B) string {
	var listen net.ListenConfig
	l, err := listen.Listen(b.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c)
				_ = c.Close()
			}()
		}
	}()
	return l.Addr().String()
}
