package cli

import (
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// gitExample is the host that the README's commands name.
const gitExample = "git.example.com"

// remoteCommands are the README's commands about a remote repository: those over HTTPS, and those over SSH.
func remoteCommands(t *testing.T) (web, shell []string) {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## A remote repository\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var blocks [][]string
	for _, b := range regexp.MustCompile("(?ms)^```sh\n(.*?)\n```$").FindAllStringSubmatch(section, -1) {
		blocks = append(blocks, strings.Split(b[1], "\n"))
	}
	if len(blocks) != 2 || !strings.Contains(section, "HTTPS_PROXY") {
		t.Fatalf("the README's section about remote repositories has %d blocks", len(blocks))
	}
	return blocks[0], blocks[1]
}

// reader is somebody who follows the README, in a directory with the repository team/shop.git beside it.
func reader(t *testing.T) (s *session, served string) {
	t.Helper()
	needGit(t)
	dir := t.TempDir()
	served = filepath.Join(dir, "served")
	s = &session{t: t, dir: filepath.Join(dir, "reader"), env: os.Environ()}
	for _, d := range []string{served, s.dir} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(s.dir, "belay")); err != nil {
		t.Fatal(err)
	}
	setenv(func(k, v string) { s.env = append(s.env, k+"="+v) }, s.dir)
	s.env = append(s.env, "PATH="+s.dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	manifest := `apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, image: "web:1"}]
`
	s.run("git init --quiet --bare " + served + "/team/shop.git && git clone --quiet " + served + "/team/shop.git work 2>/dev/null")
	if err := os.WriteFile(filepath.Join(s.dir, "work", "web.yaml"), []byte(manifest), 0o600); err != nil {
		t.Fatal(err)
	}
	s.run("git -C work add . && git -C work commit --quiet -m 'Run web:1' && git -C work push --quiet origin HEAD")
	return s, served
}

// follows runs the commands, of which the last serves, and checks that what is pushed is what runs.
func (s *session) follows(commands []string) {
	s.t.Helper()
	last := len(commands) - 1
	if !strings.HasPrefix(commands[last], "belay serve ") {
		s.t.Fatalf("the last command is %s", commands[last])
	}
	for _, c := range commands[:last] {
		s.run(c)
	}
	s.run(commands[last] + " --runtime simulated &")
	if out := s.run("belay sync --wait"); !regexp.MustCompile(`^shop: [0-9a-f]{7} Complete\n$`).MatchString(out) {
		s.t.Errorf("the first sync says %s", out)
	}
	s.run("sed -i s/web:1/web:2/ work/web.yaml && git -C work commit --quiet -am 'Run web:2' && git -C work push --quiet")
	s.run("belay sync --wait")
	if out := s.run("belay history deploy/web"); !strings.Contains(out, "Run web:2") {
		s.t.Errorf("the history is\n%s", out)
	}
}

// The README's commands over HTTPS, as they are: what they send to the host they name goes, by HTTPS_PROXY, to a server
// that knows the token.
func TestReadmeOverHTTPS(t *testing.T) {
	t.Parallel()
	commands, _ := remoteCommands(t)
	s, served := reader(t)
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("t0ken"), 0o600); err != nil {
		t.Fatal(err)
	}
	handler, err := gitHandler(served, token)
	if err != nil {
		t.Fatal(err)
	}
	var asked atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host == gitExample {
			asked.Add(1)
		}
		handler.ServeHTTP(w, r)
	}))
	server.StartTLS()
	defer server.Close()
	proxy := httptest.NewServer(tunnel(server.Listener.Addr().String()))
	defer proxy.Close()
	// The certificate of the server is for example.com and what is below it.
	ca := filepath.Join(t.TempDir(), "ca.pem")
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(ca, certificate, 0o600); err != nil {
		t.Fatal(err)
	}
	s.env = append(s.env, "TOKEN=t0ken", "HTTPS_PROXY="+proxy.URL, "https_proxy="+proxy.URL, "NO_PROXY=", "no_proxy=", "SSL_CERT_FILE="+ca)
	defer s.stop()
	s.follows(commands)
	if asked.Load() == 0 {
		t.Error("nothing came through the proxy")
	}
	if info, err := os.Stat(filepath.Join(s.dir, "shop.token")); err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Errorf("the token's file: %v, %v", info, err)
	}
}

// tunnel is a proxy whose way to the host of the README leads to an address.
func tunnel(address string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect || r.Host != gitExample+":443" {
			http.Error(w, "not the way", http.StatusForbidden)
			return
		}
		there, err := net.Dial("tcp", address)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer there.Close()
		here, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return // the client is gone
		}
		defer here.Close()
		if _, err := io.WriteString(here, "HTTP/1.1 200 OK\r\n\r\n"); err != nil {
			return // the same
		}
		var wg sync.WaitGroup
		defer wg.Wait()
		wg.Go(func() {
			_, _ = io.Copy(there, here) // one end closes the other
			_ = there.Close()
		})
		_, _ = io.Copy(here, there) // the same
		_ = here.Close()
	})
}

// The README's commands over SSH, with the address of a server in the place of the host's name.
func TestReadmeOverSSH(t *testing.T) {
	t.Parallel()
	_, commands := remoteCommands(t)
	s, served := reader(t)
	address, stop, err := gitOverSSH(served, filepath.Join(s.dir, "deploy_key"))
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	defer s.stop()
	for i, c := range commands {
		if !strings.Contains(c, gitExample) {
			t.Errorf("%s does not name the host", c)
		}
		commands[i] = strings.ReplaceAll(c, gitExample, address)
	}
	s.follows(commands)
	hosts, err := os.ReadFile(filepath.Join(s.dir, "known_hosts"))
	if err != nil || !strings.Contains(string(hosts), "ssh-ed25519 ") {
		t.Errorf("known hosts: %s %v", hosts, err)
	}
}
