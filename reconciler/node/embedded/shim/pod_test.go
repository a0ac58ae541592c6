//go:build linux

package shim_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/belay-dev/belay/reconciler/node/embedded/shim"
)

func TestMain(m *testing.M) {
	shim.Main() // this binary is the shim of its own pods
	if serve := os.Getenv("SHIM_TEST_SERVE"); serve != "" {
		os.Exit(answer(serve))
	}
	os.Exit(m.Run())
}

// answer is a program in a pod: it listens and says its name to whoever connects.
func answer(name string) int {
	l, err := net.Listen("tcp", "0.0.0.0:80")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := os.WriteFile("/here", []byte("listening\n"), 0); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return 1
		}
		_, _ = io.WriteString(c, name)
		_ = c.Close()
	}
}

// pod is a pod that runs for a test.
type pod struct {
	t       *testing.T
	dir     string
	client  shim.Client
	process *os.Process
}

// needPods skips where pods cannot run, unless they must.
func needPods(t *testing.T, dir string) {
	t.Helper()
	err := shim.Probe("/proc/self/exe", dir, nil)
	switch {
	case err == nil:
	case os.Getenv("REQUIRE_NAMESPACES") == "1":
		t.Fatalf("pods cannot run here: %v", err)
	default:
		t.Skipf("pods cannot run here: %v", err)
	}
}

func newPod(t *testing.T, name string) *pod {
	t.Helper()
	needPods(t, t.TempDir())
	dir := t.TempDir()
	text, err := json.Marshal(shim.Pod{Hostname: name})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, shim.PodFile), text, 0o600); err != nil {
		t.Fatal(err)
	}
	process, err := shim.Launch("/proc/self/exe", dir)
	if err != nil {
		t.Fatal(err)
	}
	p := &pod{t: t, dir: dir, client: shim.Client{Dir: dir}, process: process}
	t.Cleanup(func() {
		if err := p.client.Shutdown(context.WithoutCancel(t.Context())); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		_, _ = process.Wait()
	})
	return p
}

// container is one whose image is this machine's programs and libraries.
func (p *pod) container(name string, args ...string) shim.Container {
	p.t.Helper()
	c := shim.Container{
		Name: name, Rootfs: filepath.Join(p.dir, "rootfs"), Scratch: filepath.Join(p.dir, name), Log: filepath.Join(p.dir, name+".log"),
		Args: args, Env: []string{"PATH=/usr/bin:/bin", "WHO=" + name}, Capabilities: shim.DefaultCapabilities(),
	}
	for _, dir := range []string{c.Rootfs, c.Scratch} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			p.t.Fatal(err)
		}
	}
	for _, dir := range []string{"/bin", "/lib", "/lib64", "/usr"} {
		if _, err := os.Stat(dir); err == nil {
			c.Mounts = append(c.Mounts, shim.Mount{Source: dir, Target: dir, ReadOnly: true})
		}
	}
	return c
}

func (p *pod) start(c shim.Container) shim.Status {
	p.t.Helper()
	st, err := p.client.Start(p.t.Context(), c)
	if err != nil {
		p.t.Fatalf("start %s: %v", c.Name, err)
	}
	return st
}

// ended waits until a container has.
func (p *pod) ended(name string) shim.Status {
	p.t.Helper()
	ctx, cancel := context.WithCancel(p.t.Context())
	defer cancel()
	var last shim.Status
	err := p.client.Watch(ctx, func(states []shim.Status) {
		for _, st := range states {
			if st.Name == name && st.Phase != shim.Running {
				last = st
				cancel()
			}
		}
	})
	if !errors.Is(err, context.Canceled) {
		p.t.Fatalf("watch: %v", err)
	}
	return last
}

// logged is the text that a container wrote, by stream.
func (p *pod) logged(c shim.Container) string {
	p.t.Helper()
	text, err := os.ReadFile(c.Log)
	if err != nil {
		p.t.Fatal(err)
	}
	var out []string
	for line := range strings.Lines(string(text)) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 4)
		if _, err := time.Parse(time.RFC3339Nano, fields[0]); err != nil || len(fields) != 4 || fields[2] != "F" {
			p.t.Errorf("log line %q: %v", line, err)
			continue
		}
		out = append(out, fields[1]+" "+fields[3])
	}
	slices.SortStableFunc(out, func(a, b string) int { return strings.Compare(a[:6], b[:6]) })
	return strings.Join(out, "\n")
}

// run starts a shell script and waits for its end.
func (p *pod) run(name, script string, edit func(*shim.Container)) (shim.Status, string) {
	p.t.Helper()
	c := p.container(name, "sh", "-c", script)
	if edit != nil {
		edit(&c)
	}
	if st := p.start(c); st.Phase == shim.Refused {
		p.t.Fatalf("%s: refused: %s", name, st.Message)
	}
	return p.ended(name), p.logged(c)
}

// signpost gives a container a pipe at /here, and returns what waits for a line that it writes there.
func (p *pod) signpost(c *shim.Container) func() string {
	p.t.Helper()
	name := filepath.Join(p.dir, c.Name+".here")
	if err := unix.Mkfifo(name, 0o666); err != nil {
		p.t.Fatal(err)
	}
	f, err := os.OpenFile(name, os.O_RDWR, 0) // both ends: opening does not wait then
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = f.Close() })
	c.Mounts = append(c.Mounts, shim.Mount{Source: name, Target: "/here"})
	r := bufio.NewReader(f)
	return func() string {
		line, err := r.ReadString('\n')
		if err != nil {
			p.t.Fatal(err)
		}
		return strings.TrimSpace(line)
	}
}

// begin starts a shell script and waits for the line that it writes to /here.
func (p *pod) begin(name, script string, edit func(*shim.Container)) shim.Container {
	p.t.Helper()
	c := p.container(name, "sh", "-c", script)
	if edit != nil {
		edit(&c)
	}
	here := p.signpost(&c)
	if st := p.start(c); st.Phase != shim.Running {
		p.t.Fatalf("%s: %+v", name, st)
	}
	here()
	return c
}
