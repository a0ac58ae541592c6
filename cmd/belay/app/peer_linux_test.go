package app

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os/user"
	"path/filepath"
	"testing"

	"github.com/belay-dev/belay/cmd/belay/control"
)

// TestPeer: who connects to the socket is known by the system, whatever the request says.
func TestPeer(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := control.CallerOf(r.Context())
		_, _ = io.WriteString(w, c.Name+" "+string(c.Role))
	}))
	server.Listener, server.Config.ConnContext = l, knowPeer
	server.Start()
	defer server.Close()
	c, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET / HTTP/1.0\r\nX-Remote-User: mallory\r\nAuthorization: Basic bWFsbG9yeTo=\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	if want := "\r\n\r\n" + me.Username + " edit"; len(answer) < len(want) || string(answer[len(answer)-len(want):]) != want {
		t.Errorf("answer %q, want the end %q", answer, want)
	}
	if got := userName(4294967294); got != "uid 4294967294" {
		t.Errorf("a user without a name is %q", got)
	}
}
