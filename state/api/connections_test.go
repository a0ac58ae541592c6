package api

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/belay-dev/belay/state"
)

// TestManyConnections: whoever comes when there are as many as there may be gets in for one that does nothing, or else for
// one that only watches, and is refused only when every other is being answered.
func TestManyConnections(t *testing.T) {
	t.Parallel()
	s := startImpatient(t, time.Minute, 3)
	ask := func(c *tls.Conn, request string) *http.Response {
		t.Helper()
		if _, err := fmt.Fprintf(c, request+"Host: x\r\nAuthorization: Bearer %s\r\n\r\n", s.token); err != nil {
			t.Fatal(err)
		}
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = res.Body.Close() })
		return res
	}
	answers := func(c *tls.Conn) {
		t.Helper()
		if res := ask(c, "GET /livez HTTP/1.1\r\n"); res.StatusCode != http.StatusOK {
			t.Fatal(res.Status)
		} else if _, err := io.Copy(io.Discard, res.Body); err != nil {
			t.Fatal(err)
		}
	}
	watches := func(c *tls.Conn) io.Reader {
		t.Helper()
		return ask(c, "GET /api/v1/namespaces/default/configmaps?watch=true HTTP/1.1\r\n").Body
	}
	waits := func(c *tls.Conn) {
		t.Helper()
		if _, err := fmt.Fprintf(c, "POST /own/x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 2\r\n\r\nok", s.token); err != nil {
			t.Fatal(err)
		}
		<-s.reading
	}

	a, b, c := s.dial(t), s.dial(t), s.dial(t)
	for _, one := range []*tls.Conn{a, b, c, a} {
		answers(one)
	}
	d := s.dial(t)
	answers(d)
	ends(t, "who asked for nothing for the longest time", b)
	answers(a)
	events := map[*tls.Conn]io.Reader{}
	for _, one := range []*tls.Conn{c, a, d} {
		events[one] = watches(one)
	}
	e := s.dial(t)
	answers(e)
	ends(t, "the first who only watched", c)
	f := s.dial(t)
	answers(f)
	ends(t, "who did nothing, before any who watched", e)
	if _, err := s.store.Commit(state.Create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "m"}})); err != nil {
		t.Fatal(err)
	}
	for _, one := range []*tls.Conn{a, d} {
		if line, err := bufio.NewReader(events[one]).ReadString('\n'); err != nil || !strings.Contains(line, `"name":"m"`) {
			t.Errorf("a watch tells %q, %v", line, err)
		}
	}
	waits(f)
	g := s.dial(t)
	waits(g)
	h := s.dial(t)
	waits(h)
	ends(t, "who watched", a)
	ends(t, "who watched last", d)
	if i, err := tls.Dial("tcp", s.address.String(), &tls.Config{InsecureSkipVerify: true}); err == nil {
		t.Errorf("one too many: %v", errors.Join(errors.New("it gets in"), i.Close()))
	}
	close(s.release)
	for _, one := range []*tls.Conn{f, g, h} {
		if res, err := http.ReadResponse(bufio.NewReader(one), nil); err != nil || res.StatusCode != http.StatusOK || res.Body.Close() != nil {
			t.Errorf("who was being answered: %v, %v", res, err)
		}
	}
	answers(s.dial(t))
}
