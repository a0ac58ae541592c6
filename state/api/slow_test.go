package api

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/belay-dev/belay/state"
)

// patience is how long a test waits for what must happen.
const patience = 3 * time.Minute

// noted is a listener that tells what deadlines its connections were given, and which were closed.
type noted struct {
	net.Listener
	deadlines chan time.Time
	closed    chan string
}

func (l noted) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return notedConn{c, l}, nil
}

type notedConn struct {
	net.Conn
	all noted
}

func (c notedConn) Close() error {
	err := c.Conn.Close()
	select {
	case c.all.closed <- c.RemoteAddr().String():
	default:
	}
	return err
}

func (c notedConn) SetReadDeadline(t time.Time) error {
	select {
	case c.all.deadlines <- t:
	default:
	}
	return c.Conn.SetReadDeadline(t)
}

// impatient is a server whose clients have next to no time, or of which there may be few; 0: as many as ever.
type impatient struct {
	*Server
	store    *state.Store
	token    string
	reading  chan struct{} // told once by /own/ that it read a body
	release  chan struct{} // closed to have /own/ answer
	deadline chan time.Time
	closed   chan string // the addresses of clients
}

func startImpatient(t *testing.T, slowest time.Duration, most int) *impatient {
	t.Helper()
	s := &impatient{reading: make(chan struct{}, 1), release: make(chan struct{}), deadline: make(chan time.Time, 100), closed: make(chan string, 100)}
	var err error
	if s.store, err = state.OpenMemory(state.Options{Now: time.Now}); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	own := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		s.reading <- struct{}{}
		select {
		case <-s.release:
			_, _ = io.WriteString(w, "released")
		case <-r.Context().Done():
		}
	})
	s.Server, err = New(Options{
		Store: s.store, Listener: noted{listener, s.deadline, s.closed}, Dir: t.TempDir(), Now: time.Now, Log: zerolog.Nop(), slowest: slowest, most: most,
		Paths: map[string]http.Handler{"/own/": own},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-ended, s.store.Close()); err != nil {
			t.Error(err)
		}
	})
	select {
	case <-s.Ready():
	case err := <-ended:
		t.Fatal(err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", s.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	s.token = config.BearerToken
	return s
}

// dial connects as a client of HTTP/1.1 whose every wait ends some day.
func (s *impatient) dial(t *testing.T) *tls.Conn {
	t.Helper()
	c, err := tls.Dial("tcp", s.address.String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return c
}

// dial2 connects as a client of HTTP/2 that asks for something and reads nothing, nor tells that it does not.
func (s *impatient) dial2(t *testing.T, path string) net.Conn {
	t.Helper()
	c, err := tls.Dial("tcp", s.address.String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	var head bytes.Buffer
	e := hpack.NewEncoder(&head)
	for _, f := range []hpack.HeaderField{
		{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "https"}, {Name: ":authority", Value: "x"}, {Name: ":path", Value: path},
		{Name: "authorization", Value: "Bearer " + s.token},
	} {
		if err := e.WriteField(f); err != nil {
			t.Fatal(err)
		}
	}
	f := http2.NewFramer(c, nil)
	_, err = io.WriteString(c, http2.ClientPreface)
	if err := errors.Join(err, c.NetConn().(*net.TCPConn).SetReadBuffer(4096),
		f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 30}), f.WriteWindowUpdate(0, 1<<30),
		f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: head.Bytes(), EndStream: true, EndHeaders: true}),
	); err != nil {
		t.Fatal(err)
	}
	return c
}

// ends waits until the server has broken a connection off.
func ends(t *testing.T, what string, c net.Conn) {
	t.Helper()
	var slow net.Error
	if _, err := io.Copy(io.Discard, c); errors.As(err, &slow) && slow.Timeout() {
		t.Errorf("%s: the connection stays", what)
	}
}

// TestSlowHead: who does not send the head of a request has as long as the library gives, and no longer.
func TestSlowHead(t *testing.T) {
	t.Parallel()
	s := startImpatient(t, time.Minute, 0)
	c := s.dial(t)
	if _, err := io.WriteString(c, "GET /livez HTTP/1.1\r\nHost: x\r\n"); err != nil {
		t.Fatal(err)
	}
	// The handshake has one too, and ends with none.
	for began, shaken := time.Now(), false; ; {
		select {
		case d := <-s.deadline:
			if d.IsZero() {
				shaken = true
			} else if shaken {
				if d.Sub(began) > 10*time.Minute {
					t.Errorf("it has %s", d.Sub(began))
				}
				return
			}
		case <-time.After(patience):
			t.Fatal("no deadline")
		}
	}
}

// TestSlowBody: who does not send the body of a request is broken off, whoever it is. What takes long after that is not.
func TestSlowBody(t *testing.T) {
	t.Parallel()
	s := startImpatient(t, 50*time.Millisecond, 0)
	long := s.dial(t)
	if _, err := fmt.Fprintf(long, "POST /own/x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 2\r\n\r\nok", s.token); err != nil {
		t.Fatal(err)
	}
	<-s.reading
	var slow sync.WaitGroup
	for what, head := range map[string]string{
		"nobody":       "POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nContent-Length: 1000\r\n",
		"an editor":    "POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nContent-Length: 1000\r\nAuthorization: Bearer " + s.token + "\r\n",
		"in chunks":    "POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nTransfer-Encoding: chunked\r\nAuthorization: Bearer " + s.token + "\r\n",
		"beside it":    "POST /own/x HTTP/1.1\r\nContent-Length: 1000\r\nAuthorization: Bearer " + s.token + "\r\n",
		"with a patch": "PATCH /api/v1/namespaces/default HTTP/1.1\r\nContent-Length: 1000\r\nAuthorization: Bearer " + s.token + "\r\nContent-Type: application/json-patch+json\r\n",
	} {
		c := s.dial(t)
		if _, err := io.WriteString(c, head+"Host: x\r\nContent-Type: application/json\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		slow.Go(func() { ends(t, what, c) })
	}
	slow.Wait() // so that the first has been there for longer than its body might have taken
	close(s.release)
	res, err := http.ReadResponse(bufio.NewReader(long), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err := errors.Join(err, res.Body.Close()); err != nil || string(body) != "released" {
		t.Errorf("%q %v", body, err)
	}
}

// TestSlowWatch: a client that takes nothing of what a watch sends is broken off. One that waits for what comes is not.
func TestSlowWatch(t *testing.T) {
	t.Parallel()
	s := startImpatient(t, 3*time.Second, 0)
	put := func(name, data string) {
		t.Helper()
		o := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Data: map[string]string{"x": data}}
		if _, err := s.store.Commit(state.Create(o)); err != nil {
			t.Fatal(err)
		}
	}
	patient := s.dial(t)
	const request = "GET /api/v1/namespaces/default/configmaps?watch=true%s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n"
	if _, err := fmt.Fprintf(patient, request, "&fieldSelector=metadata.name%3Dlast", s.token); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(patient), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = errors.Join(patient.Close(), res.Body.Close()) }()

	slow := s.dial(t)
	if err := slow.NetConn().(*net.TCPConn).SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintf(slow, request, "", s.token); err != nil {
		t.Fatal(err)
	}
	still := s.dial2(t, "/api/v1/namespaces/default/configmaps?watch=true")
	for n := range 60 { // more than the system keeps of what is on its way
		put(fmt.Sprint("m", n), strings.Repeat("x", 500_000))
	}
	timeout := time.After(patience)
	for open := map[string]bool{slow.LocalAddr().String(): true, still.LocalAddr().String(): true}; len(open) > 0; {
		select {
		case address := <-s.closed:
			delete(open, address)
		case <-timeout:
			t.Fatal("connections stay: ", open)
		}
	}
	put("last", "")
	if line, err := bufio.NewReader(res.Body).ReadString('\n'); err != nil || !strings.Contains(line, `"name":"last"`) {
		t.Errorf("%q %v", line, err)
	}
}
