package source

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// webServer serves the repositories below a directory over HTTP as git http-backend does, and can be told to misbehave.
type webServer struct {
	*httptest.Server
	backend http.Handler
	mu      sync.Mutex
	before  func(http.ResponseWriter, *http.Request) bool // true: it has answered

	requests atomic.Int64
	bytes    atomic.Int64 // answered
	noTwo    atomic.Bool  // knows version 0 alone
}

func serveHTTP(t testing.TB, r *repo) *webServer {
	t.Helper()
	out, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		t.Fatal(err)
	}
	backend := filepath.Join(strings.TrimSpace(string(out)), "git-http-backend")
	if _, err := os.Stat(backend); err != nil {
		t.Skip("git http-backend is not installed")
	}
	w := &webServer{backend: &cgi.Handler{
		Path: backend, Env: append(gitEnv(), "GIT_PROJECT_ROOT="+filepath.Dir(r.dir), "GIT_HTTP_EXPORT_ALL=1"),
		InheritEnv: []string{"PATH"}, Stderr: io.Discard,
	}}
	w.Server = httptest.NewServer(w)
	t.Cleanup(w.Close)
	return w
}

func (w *webServer) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	w.requests.Add(1)
	w.mu.Lock()
	before := w.before
	w.mu.Unlock()
	if before != nil && before(out, r) {
		return
	}
	if w.noTwo.Load() {
		r.Header.Del("Git-Protocol")
	}
	w.backend.ServeHTTP(countingResponse{out, &w.bytes}, r)
}

// fault makes every request go through f first; nil ends it.
func (w *webServer) fault(f func(http.ResponseWriter, *http.Request) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.before = f
}

type countingResponse struct {
	http.ResponseWriter
	n *atomic.Int64
}

func (c countingResponse) Write(p []byte) (int, error) {
	c.n.Add(int64(len(p)))
	return c.ResponseWriter.Write(p)
}

// shellServer serves git over SSH to one key.
type shellServer struct {
	addr, key, known string // address, file of the client's key, file of known hosts
	noTwo            bool   // refuses variables, so that version 0 is spoken
	host             ssh.Signer
}

func newSigner(t testing.TB) (ssh.Signer, []byte) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "test")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return signer, pem.EncodeToMemory(block)
}

func write(t testing.TB, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func serveSSH(t testing.TB, noTwo bool) *shellServer {
	t.Helper()
	needGit(t)
	dir := t.TempDir()
	client, clientPEM := newSigner(t)
	host, _ := newSigner(t)
	s := &shellServer{noTwo: noTwo, key: write(t, filepath.Join(dir, "key"), string(clientPEM)), host: host}
	cfg := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if string(key.Marshal()) != string(client.PublicKey().Marshal()) {
			return nil, errors.New("no")
		}
		return &ssh.Permissions{}, nil
	}}
	cfg.AddHostKey(host)
	listener := listen(t, func(c net.Conn) { s.serve(c, cfg) })
	s.addr = listener
	s.known = write(t, filepath.Join(dir, "known_hosts"), knownhosts.Line([]string{knownhosts.Normalize(s.addr)}, host.PublicKey())+"\n")
	return s
}

// listen serves connections until the test ends, and waits for those that are open.
func listen(t testing.TB, serve func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var open sync.WaitGroup
	var mu sync.Mutex
	conns := map[net.Conn]bool{}
	open.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns[c] = true
			mu.Unlock()
			open.Go(func() {
				defer c.Close()
				serve(c)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for c := range conns {
			_ = c.Close()
		}
		mu.Unlock()
		open.Wait()
	})
	return l.Addr().String()
}

func (s *shellServer) serve(c net.Conn, cfg *ssh.ServerConfig) {
	conn, channels, requests, err := ssh.NewServerConn(c, cfg)
	if err != nil {
		return
	}
	defer conn.Close()
	go ssh.DiscardRequests(requests)
	for ch := range channels {
		channel, requests, err := ch.Accept()
		if err != nil {
			return
		}
		env := gitEnv()
		for r := range requests {
			switch r.Type {
			case "env":
				var pair struct{ Name, Value string }
				ok := !s.noTwo && ssh.Unmarshal(r.Payload, &pair) == nil && pair.Name == "GIT_PROTOCOL"
				if ok {
					env = append(env, pair.Name+"="+pair.Value)
				}
				_ = r.Reply(ok, nil)
			case "exec":
				var line struct{ Command string }
				_ = ssh.Unmarshal(r.Payload, &line)
				_ = r.Reply(true, nil)
				run(channel, line.Command, env)
			default:
				_ = r.Reply(false, nil)
			}
		}
	}
}

func run(channel ssh.Channel, command string, env []string) {
	defer channel.Close()
	for _, program := range []string{"upload-pack", "receive-pack"} {
		command = strings.Replace(command, "git-"+program, "git "+program, 1)
	}
	cmd := exec.Command("sh", "-c", command)
	cmd.Env, cmd.Stdout, cmd.Stderr = env, channel, channel.Stderr()
	in, err := cmd.StdinPipe()
	if err != nil || cmd.Start() != nil {
		return
	}
	go func() {
		_, _ = io.Copy(in, channel)
		_ = in.Close()
	}()
	status := struct{ Code uint32 }{}
	if err := cmd.Wait(); err != nil {
		status.Code = 128
	}
	_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(status))
}

func (s *shellServer) config(r *repo) Config {
	cfg := r.config()
	cfg.URL = "ssh://git@" + s.addr + r.dir
	cfg.Auth = Auth{KeyFile: s.key, KnownHostsFile: s.known}
	cfg.Timeout = 2 * time.Minute
	return cfg
}

func (w *webServer) config(r *repo) Config {
	cfg := r.config()
	cfg.URL = w.URL + "/" + filepath.Base(r.dir)
	cfg.Timeout = 2 * time.Minute
	return cfg
}

// transports are the ways a repository is reached; every behaviour holds for each of them.
var transports = []struct {
	name   string
	config func(testing.TB, *repo) Config
}{
	{"path", func(_ testing.TB, r *repo) Config { return r.config() }},
	{"http", func(t testing.TB, r *repo) Config { return serveHTTP(t, r).config(r) }},
	{"http version 0", func(t testing.TB, r *repo) Config {
		w := serveHTTP(t, r)
		w.noTwo.Store(true)
		return w.config(r)
	}},
	{"ssh", func(t testing.TB, r *repo) Config { return serveSSH(t, false).config(r) }},
	{"ssh version 0", func(t testing.TB, r *repo) Config { return serveSSH(t, true).config(r) }},
}
