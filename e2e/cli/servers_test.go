package cli

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/subtle"
	"encoding/pem"
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

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/crypto/ssh"
)

// serveHTTP serves the script's directory over Git's smart HTTP protocol, for who shows the token in file args[0], read
// at each request. It sets HTTP_URL.
func serveHTTP(ts *testscript.TestScript, _ bool, args []string) {
	handler, err := gitHandler(ts.MkAbs("."), ts.MkAbs(args[0]))
	ts.Check(err)
	server := httptest.NewServer(handler)
	ts.Defer(server.Close)
	ts.Setenv("HTTP_URL", server.URL)
}

// gitHandler serves a directory over Git's smart HTTP protocol, for who shows the token in a file.
func gitHandler(dir, token string) (http.Handler, error) {
	exe, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		return nil, err
	}
	backend := &cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(exe)), "git-http-backend"),
		Env:  []string{"GIT_PROJECT_ROOT=" + dir, "GIT_HTTP_EXPORT_ALL=1"},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if away(dir) {
			panic(http.ErrAbortHandler)
		}
		want, err := os.ReadFile(token)
		_, got, ok := r.BasicAuth()
		if err != nil || !ok || subtle.ConstantTimeCompare([]byte(got), []byte(strings.TrimSpace(string(want)))) != 1 {
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		backend.ServeHTTP(w, r)
	}), nil
}

// away reports whether the servers of a directory answer nobody.
func away(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "away"))
	return err == nil
}

// serveSSH serves the script's directory over ssh, for the key that it writes to the file args[0]. It sets SSH_ADDR.
func serveSSH(ts *testscript.TestScript, _ bool, args []string) {
	address, stop, err := gitOverSSH(ts.MkAbs("."), ts.MkAbs(args[0]))
	ts.Check(err)
	stop = sync.OnceFunc(stop)
	ts.Defer(stop)
	stops.Store(ts.Getenv("WORK"), append(stopsOf(ts), stop))
	ts.Setenv("SSH_ADDR", address)
}

// gitOverSSH serves a directory over ssh, for the key that it writes to a file, until it is stopped.
func gitOverSSH(dir, keyFile string) (address string, stop func(), err error) {
	_, hostKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return "", nil, err
	}
	host, err := ssh.NewSignerFromSigner(hostKey)
	if err != nil {
		return "", nil, err
	}
	public, userKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return "", nil, err
	}
	user, err := ssh.NewPublicKey(public)
	if err != nil {
		return "", nil, err
	}
	block, err := ssh.MarshalPrivateKey(userKey, "")
	if err != nil {
		return "", nil, err
	}
	if err := os.WriteFile(keyFile, pem.EncodeToMemory(block), 0o600); err != nil {
		return "", nil, err
	}
	config := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if string(key.Marshal()) != string(user.Marshal()) {
			return nil, os.ErrPermission
		}
		return &ssh.Permissions{}, nil
	}}
	config.AddHostKey(host)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	s := &sshServer{config: config, dir: dir}
	var wg sync.WaitGroup
	wg.Go(func() { s.accept(l) })
	return l.Addr().String(), func() { _ = l.Close(); wg.Wait() }, nil // accept ends with any error
}

// stops holds what stops the ssh servers of each script.
var stops sync.Map

func stopsOf(ts *testscript.TestScript) []func() {
	v, _ := stops.Load(ts.Getenv("WORK"))
	fs, _ := v.([]func())
	return fs
}

// stopSSH stops every ssh server of the script.
func stopSSH(ts *testscript.TestScript, _ bool, _ []string) {
	for _, stop := range stopsOf(ts) {
		stop()
	}
}

type sshServer struct {
	config *ssh.ServerConfig
	dir    string
}

func (s *sshServer) accept(l net.Listener) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		wg.Go(func() {
			defer c.Close()
			if !away(s.dir) {
				s.connection(c)
			}
		})
	}
}

// connection runs what git asks for in every session of a connection.
func (s *sshServer) connection(c net.Conn) {
	_, channels, requests, err := ssh.NewServerConn(c, s.config)
	if err != nil {
		return // a client that only wanted to see the key, or has another one
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { ssh.DiscardRequests(requests) })
	for ch := range channels {
		channel, requests, err := ch.Accept()
		if err != nil {
			return
		}
		wg.Go(func() { s.session(channel, requests) })
	}
}

func (s *sshServer) session(channel ssh.Channel, requests <-chan *ssh.Request) {
	defer channel.Close()
	for r := range requests {
		if r.Type != "exec" {
			_ = r.Reply(false, nil) // the client is gone: nobody to tell
			continue
		}
		_ = r.Reply(true, nil) // the same
		var command struct{ Line string }
		if ssh.Unmarshal(r.Payload, &command) != nil {
			return
		}
		service, path, _ := strings.Cut(command.Line, " ")
		if service != "git-upload-pack" && service != "git-receive-pack" {
			return
		}
		cmd := exec.Command("git", strings.TrimPrefix(service, "git-"), filepath.Join(s.dir, strings.Trim(path, "'")))
		cmd.Stdin, cmd.Stdout, cmd.Stderr = io.Reader(channel), channel, channel.Stderr()
		status := struct{ Code uint32 }{}
		if cmd.Run() != nil {
			status.Code = 128
		}
		_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(status)) // the same
		return
	}
}
