package names_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/belay-dev/belay/reconciler/names"
)

func table() *names.Table {
	var t names.Table
	t.Set(names.Service{
		Namespace: "default", Name: "web", Addresses: []netip.Addr{netip.MustParseAddr("10.96.0.7")},
		Ports: []names.Port{{Name: "http", Protocol: "tcp", Number: 80}},
	})
	t.Set(names.Service{Namespace: "shop", Name: "db", Addresses: []netip.Addr{netip.MustParseAddr("10.244.0.2"), netip.MustParseAddr("10.244.0.3")}})
	t.Set(names.Service{Namespace: "shop", Name: "out", Alias: "www.example.org"})
	t.Set(names.Service{Namespace: "shop", Name: "idle"})
	var many []netip.Addr
	for i := range 100 {
		many = append(many, netip.AddrFrom4([4]byte{10, 244, 1, byte(i)}))
	}
	t.Set(names.Service{Namespace: "shop", Name: "many", Addresses: many})
	t.Set(names.Service{Namespace: "shop", Name: "gone"})
	t.Remove("shop", "gone")
	return &t
}

func query(name string, kind dnsmessage.Type, options ...dnsmessage.Resource) []byte {
	m := dnsmessage.Message{
		Header:      dnsmessage.Header{ID: 7, RecursionDesired: true},
		Questions:   []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: kind, Class: dnsmessage.ClassINET}},
		Additionals: options,
	}
	text, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return text
}

// words are an answer in short.
func words(t *testing.T, answer []byte) string {
	t.Helper()
	var m dnsmessage.Message
	if err := m.Unpack(answer); err != nil {
		t.Fatal(err)
	}
	if m.ID != 7 || !m.Response || len(m.Questions) != 1 {
		t.Errorf("header %v, questions %v", m.Header, m.Questions)
	}
	var out []string
	for _, a := range append(m.Answers, m.Additionals...) {
		switch b := a.Body.(type) {
		case *dnsmessage.AResource:
			out = append(out, netip.AddrFrom4(b.A).String())
		case *dnsmessage.CNAMEResource:
			out = append(out, "alias "+b.CNAME.String())
		case *dnsmessage.SRVResource:
			out = append(out, fmt.Sprintf("port %d of %s", b.Port, b.Target))
		}
	}
	slices.Sort(out)
	if m.RCode != dnsmessage.RCodeSuccess {
		out = append(out, m.RCode.String())
	}
	if m.Truncated {
		out = append(out, "truncated")
	}
	return strings.Join(out, ", ")
}

func TestAnswer(t *testing.T) {
	t.Parallel()
	const a, srv = dnsmessage.TypeA, dnsmessage.TypeSRV
	for _, c := range []struct {
		name string
		kind dnsmessage.Type
		want string
	}{
		{"web.default.svc.cluster.local.", a, "10.96.0.7"},
		{"WEB.Default.svc.Cluster.local.", a, "10.96.0.7"},
		{"web.default.svc.cluster.local.", dnsmessage.TypeALL, "10.96.0.7"},
		{"web.default.svc.cluster.local.", dnsmessage.TypeAAAA, ""}, // the name exists
		{"web.default.svc.cluster.local.", dnsmessage.TypeTXT, ""},
		{"web.other.svc.cluster.local.", a, "RCodeNameError"},
		{"web.default.cluster.local.", a, "RCodeNameError"},
		{"x.web.default.svc.cluster.local.", a, "RCodeNameError"},
		{"gone.shop.svc.cluster.local.", a, "RCodeNameError"},
		{"www.example.org.default.svc.cluster.local.", a, "RCodeNameError"},
		{"default.svc.cluster.local.", a, ""},
		{"nobody.svc.cluster.local.", a, "RCodeNameError"},
		{"svc.cluster.local.", a, ""},
		{"db.shop.svc.cluster.local.", a, "10.244.0.2, 10.244.0.3"},
		{"idle.shop.svc.cluster.local.", a, ""},
		{"out.shop.svc.cluster.local.", a, "alias www.example.org."},
		{"_http._tcp.web.default.svc.cluster.local.", srv, "10.96.0.7, port 80 of web.default.svc.cluster.local."},
		{"_http._tcp.web.default.svc.cluster.local.", a, ""},
		{"_http._udp.web.default.svc.cluster.local.", srv, "RCodeNameError"},
		{"many.shop.svc.cluster.local.", a, "truncated"},
	} {
		answer, mine, err := table().Answer(query(c.name, c.kind), false)
		if err != nil || !mine {
			t.Errorf("%s %s: mine %v, %v", c.name, c.kind, mine, err)
			continue
		}
		if got := words(t, answer); got != c.want {
			t.Errorf("%s %s: %q, want %q", c.name, c.kind, got, c.want)
		}
	}
	for _, name := range []string{"www.example.org.", "local.", "cluster.local.", "mycluster.local.", "."} {
		if _, mine, err := table().Answer(query(name, a), false); mine || err != nil {
			t.Errorf("%s: mine %v, %v", name, mine, err)
		}
	}
	whole, _, err := table().Answer(query("many.shop.svc.cluster.local.", a), true)
	if err != nil || strings.Count(words(t, whole), "10.244.1.") != 100 {
		t.Errorf("over TCP: %v, %v", words(t, whole), err)
	}
	// EDNS makes room, and no more than fits into one packet.
	for size, fits := range map[int]bool{1200: false, 60_000: false} {
		var opt dnsmessage.ResourceHeader
		if err := opt.SetEDNS0(size, dnsmessage.RCodeSuccess, false); err != nil {
			t.Fatal(err)
		}
		answer, _, err := table().Answer(query("many.shop.svc.cluster.local.", a, dnsmessage.Resource{Header: opt, Body: &dnsmessage.OPTResource{}}), false)
		if err != nil || strings.Contains(words(t, answer), "truncated") == fits {
			t.Errorf("size %d: %q, %v", size, words(t, answer), err)
		}
	}
	for _, junk := range [][]byte{nil, {1, 2, 3}, make([]byte, 12), make([]byte, 600)} {
		if answer, mine, err := table().Answer(junk, false); mine || answer != nil || err == nil {
			t.Errorf("junk of %d bytes: %v, %v", len(junk), mine, err)
		}
	}
}

// FuzzAnswer: whatever comes, it is answered or not.
func FuzzAnswer(f *testing.F) {
	f.Add(query("web.default.svc.cluster.local.", dnsmessage.TypeA))
	f.Add(query("_http._tcp.web.default.svc.cluster.local.", dnsmessage.TypeSRV))
	known := table()
	f.Fuzz(func(t *testing.T, q []byte) {
		answer, mine, err := known.Answer(q, false)
		if err != nil && answer != nil || mine && err == nil && len(answer) > 1232 {
			t.Errorf("%d bytes, %v, %v", len(answer), mine, err)
		}
	})
}

// start has a server work until the test ends, and tells where.
func start(t *testing.T, s *names.Server) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.ListenPacket("udp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	go func() { ended <- s.Serve(ctx, l) }()
	go func() { ended <- s.ServePacket(ctx, c) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-ended, <-ended); err != nil {
			t.Error(err)
		}
	})
	return netip.MustParseAddrPort(l.Addr().String())
}

func noServers() []netip.AddrPort { return nil }

// TestServer asks as programs do, through a resolver of the standard library.
func TestServer(t *testing.T) {
	t.Parallel()
	upstream := &names.Table{} // it stands for the machine's servers: it knows another name
	upstream.Set(names.Service{Namespace: "far", Name: "away", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.9")}})
	above := start(t, names.NewServer(upstream, noServers))
	known := table()
	for _, network := range []string{"udp", "tcp"} {
		at := start(t, names.NewServer(known, func() []netip.AddrPort { return []netip.AddrPort{above} }))
		r := &net.Resolver{PreferGo: true, StrictErrors: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, at.String())
		}}
		got, err := r.LookupHost(t.Context(), "web.default.svc.cluster.local.")
		if err != nil || !slices.Equal(got, []string{"10.96.0.7"}) {
			t.Errorf("%s: %v, %v", network, got, err)
		}
		got, err = r.LookupHost(t.Context(), "many.shop.svc.cluster.local.")
		if network == "tcp" && (err != nil || len(got) != 100) {
			t.Errorf("%s: %d addresses, %v", network, len(got), err)
		}
		_, err = r.LookupHost(t.Context(), "nobody.shop.svc.cluster.local.")
		var dns *net.DNSError
		if !errors.As(err, &dns) || !dns.IsNotFound {
			t.Errorf("%s: %v", network, err)
		}
		known.Set(names.Service{Namespace: "shop", Name: "new", Addresses: []netip.Addr{netip.MustParseAddr("10.96.0.8")}})
		if got, err := r.LookupHost(t.Context(), "new.shop.svc.cluster.local."); err != nil || len(got) != 1 {
			t.Errorf("%s: a Service that came: %v, %v", network, got, err)
		}
		known.Remove("shop", "new")
	}
}

// TestForward: what is not of the cluster is asked of the machine's servers, the next one when one is away.
func TestForward(t *testing.T) {
	t.Parallel()
	above, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer above.Close()
	ended := make(chan error, 1)
	go func() {
		buf := make([]byte, 512)
		n, from, err := above.ReadFrom(buf)
		if err == nil {
			_, err = above.WriteTo([]byte("not the answer"), from)
		}
		if err == nil {
			buf[2] |= 0x80 // a response
			_, err = above.WriteTo(buf[:n], from)
		}
		ended <- err
	}()
	closed, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	away := netip.MustParseAddrPort(closed.LocalAddr().String())
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	servers := []netip.AddrPort{away, netip.MustParseAddrPort(above.LocalAddr().String())}
	q := query("www.example.org.", dnsmessage.TypeA)
	answer := names.NewServer(table(), func() []netip.AddrPort { return servers }).Reply(t.Context(), q, false)
	if got := words(t, answer); got != "" {
		t.Errorf("answer %q", got)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	answer = names.NewServer(table(), noServers).Reply(t.Context(), q, false)
	if got := words(t, answer); got != "RCodeServerFailure" {
		t.Errorf("without servers: %q", got)
	}
}

func TestResolvers(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "resolv.conf")
	text := "# nameserver 192.0.2.1\nsearch example.org\nnameserver 10.96.0.1\nnameserver 192.0.2.2\n nameserver\t2001:db8::1\nnameserver nobody\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	own := netip.MustParseAddr("10.96.0.1")
	if got := fmt.Sprint(names.Resolvers(file, own)()); got != "[192.0.2.2:53 [2001:db8::1]:53]" {
		t.Errorf("servers %s", got)
	}
	if got := names.Resolvers(file + ".none")(); len(got) != 0 {
		t.Errorf("servers %v", got)
	}
}
