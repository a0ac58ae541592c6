package docker_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/moby/moby/client"

	"github.com/belay-dev/belay/reconciler/node/docker"
)

// cut is the way of a process to its engine, until one of its requests that change anything: the engine does what that one
// asks for, and the process hears of it no more than of anything from then on, as one that is killed.
type cut struct {
	http.Handler

	mu   sync.Mutex
	left int
	dead chan struct{}
}

func (c *cut) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	if c.last(q) {
		c.Handler.ServeHTTP(httptest.NewRecorder(), q.WithContext(context.WithoutCancel(q.Context())))
		close(c.dead)
	}
	ctx, cancel := context.WithCancel(q.Context())
	defer cancel()
	go func() { // ends with the request, or before
		select {
		case <-c.dead:
			cancel()
		case <-ctx.Done():
		}
	}()
	if c.over() {
		panic(http.ErrAbortHandler)
	}
	c.Handler.ServeHTTP(w, q.WithContext(ctx))
}

// last says whether it is the request that the process dies with.
func (c *cut) last(q *http.Request) bool {
	if q.Method == http.MethodGet || q.Method == http.MethodHead || strings.HasSuffix(q.URL.Path, "/wait") || c.over() {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left--
	return c.left == 0
}

func (c *cut) over() bool {
	select {
	case <-c.dead:
		return true
	default:
		return false
	}
}

// through opens the engine that can be reached until the n-th request that changes anything.
func through(t *testing.T, host string, n int) (*docker.Runtime, *cut) {
	t.Helper()
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", strings.TrimPrefix(host, "unix://"))
	}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: "engine"})
	proxy.Transport, proxy.FlushInterval = &http.Transport{DialContext: dial, DisableKeepAlives: true}, -1
	proxy.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }
	c := &cut{Handler: proxy, left: n, dead: make(chan struct{})}
	at := filepath.Join(t.TempDir(), "docker.sock")
	listener, err := net.Listen("unix", at)
	if err != nil {
		t.Fatal(err)
	}
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: c}}
	server.Start()
	t.Cleanup(server.Close)
	t.Setenv("DOCKER_HOST", "unix://"+at)
	return open(t), c
}

// TestKilledAtEachRequest has a pod start, lose its container, and end, and the process killed at one of its requests to the
// engine, another each time: nothing is started twice or forgotten, and nothing is left.
func TestKilledAtEachRequest(t *testing.T) {
	const together = 4 // lives at a time
	r := open(t)
	ref, c := present(t, r), engine(t)
	host := c.DaemonHost()
	var reached atomic.Bool
	n := 0
	for reached.Store(true); reached.Load() && !t.Failed(); {
		t.Run(fmt.Sprint("from ", n+1), func(t *testing.T) {
			for range together {
				n++
				name := fmt.Sprint("killed-", n)
				first, cut := through(t, host, n)
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					if !life(t, name, ref, first, r, c, cut) {
						reached.Store(false)
					}
				})
			}
		})
	}
	if n < 8 {
		t.Errorf("a life was over after fewer than %d requests", n)
	}
}

// life reports whether the process was killed in it.
func life(t *testing.T, name, ref string, first, second *docker.Runtime, c *client.Client, cut *cut) bool {
	ctx := within(t)
	a := agentOf(ctx, t, first, name)
	watch, stop := context.WithCancel(ctx)
	var replacing sync.WaitGroup
	replacing.Go(func() {
		select {
		case <-cut.dead:
			a.stop()
			a.start(second)
		case <-watch.Done():
		}
	})
	defer replacing.Wait()
	defer stop()

	a.create(podOf(name, ref, "forever"))
	p := a.until(name, "running", runs(0))
	label := "belay.dev/pod-uid=" + string(p.UID)
	if got := strings.Join(attempts(ctx, t, c, label), " "); got != "0" {
		t.Errorf("the engine has the attempts %s, want 0", got)
	}
	if _, err := c.ContainerKill(ctx, p.Status.ContainerStatuses[0].ContainerID, client.ContainerKillOptions{Signal: "KILL"}); err != nil {
		t.Fatal(err)
	}
	p = a.until(name, "running again", runs(1))
	if last := p.Status.ContainerStatuses[0].LastTerminationState.Terminated; last == nil || last.ExitCode != 137 {
		t.Errorf("it ended before with %+v", last)
	}
	if got := strings.Join(attempts(ctx, t, c, label), " "); got != "0 1" {
		t.Errorf("the engine has the attempts %s, want 0 1", got)
	}
	a.end(name)
	left, err := c.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: make(client.Filters).Add("label", label)})
	if err != nil || len(left.Items) > 0 {
		t.Errorf("the engine has %d containers of it still, %v", len(left.Items), err)
	}
	return cut.over()
}
