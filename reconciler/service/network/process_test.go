//go:build unix

package network_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/belay-dev/belay/reconciler/service"
	"github.com/belay-dev/belay/reconciler/service/network"
)

// The test binary is also the process under test, and the service that tells it what to do.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "network" {
		if err := network.Main(context.Background(), os.Args[2], os.Args[3], func(network.Setup) network.Pods { return network.Pods{Dial: network.Dial} }); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		if err := serve(os.Args[2], os.Args[3], os.Args[4], os.Args[5]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

func options(dir, build string) network.Options {
	return network.Options{Dir: dir, Setup: network.Setup{Build: build}, Command: []string{os.Args[0], "network"}, Log: zerolog.Nop()}
}

// front has the pod of a name and port answer at an address.
func front(address, pod, ip, port string) (service.Front, error) {
	b := service.Backend{Pod: pod, IP: ip}
	_, err := fmt.Sscan(port, &b.Port)
	return service.Front{Listeners: []service.Listener{{Address: address, Backends: []service.Backend{b}}}}, err
}

// serve is a service: it says so when its Service answers, and is killed.
func serve(dir, build, address, backend string) error {
	ctx := context.Background()
	c, err := network.Open(ctx, options(dir, build))
	if err != nil {
		return err
	}
	ip, port, err := net.SplitHostPort(backend)
	if err != nil {
		return err
	}
	f, err := front(address, "a", ip, port)
	if err != nil {
		return err
	}
	if _, err := c.Set(ctx, "default/web", f); err != nil {
		return err
	}
	fmt.Println("serving", c.PID())
	return c.Run(ctx)
}

// free is an address that nobody listens on.
func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// talk has a backend that answers each line with a line.
func talk(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				s := bufio.NewScanner(c)
				for s.Scan() {
					if _, err := fmt.Fprintln(c, "re:", s.Text()); err != nil {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
	})
	return l.Addr().String()
}

// line says a line on a connection and expects the answer.
func line(c net.Conn, r *bufio.Reader, text string) error {
	if _, err := fmt.Fprintln(c, text); err != nil {
		return err
	}
	got, err := r.ReadString('\n')
	if err == nil && got != "re: "+text+"\n" {
		err = fmt.Errorf("answer %q", got)
	}
	return err
}

func once(address string) error {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer c.Close()
	return line(c, bufio.NewReader(c), "hello")
}

// started runs a service as a process of its own until it serves, and tells the process that carries its connections.
func started(t *testing.T, dir, build, address, backend string) (*exec.Cmd, string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "serve", dir, build, address, backend)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said, err := bufio.NewReader(out).ReadString('\n')
	pid, ok := strings.CutPrefix(strings.TrimSpace(said), "serving ")
	if !ok {
		log, _ := os.ReadFile(filepath.Join(dir, "log"))
		t.Fatalf("%q, %v\n%s", said, err, log)
	}
	return cmd, pid
}

// stopped ends the process of a directory with the test, and waits for its end.
func stopped(t *testing.T, dir string) {
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		c, err := network.Open(ctx, options(dir, "end"))
		if err != nil {
			t.Error(err)
			return
		}
		if err := c.Stop(ctx); err != nil {
			t.Error(err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestRestarts: the service is killed and started again, and upgraded, while clients ask all the time, with new connections
// and with one that stays. None of them notices.
func TestRestarts(t *testing.T) {
	t.Parallel()
	dir, address, backend := filepath.Join(t.TempDir(), "network"), free(t), talk(t)
	stopped(t, dir)
	cmd, first := started(t, dir, "1", address, backend)

	long, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer long.Close()
	reader := bufio.NewReader(long)
	ctx, cancel := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	for range 3 {
		clients.Go(func() {
			for ctx.Err() == nil {
				if err := once(address); err != nil {
					t.Errorf("a request failed: %v", err)
					return
				}
			}
		})
	}
	seen := map[string]bool{first: true}
	for i := range 20 {
		if err := line(long, reader, fmt.Sprint("still here ", i)); err != nil {
			t.Fatalf("the connection that stays: %v", err)
		}
		if i%5 == 1 { // it is told to stop, otherwise killed
			err = cmd.Process.Signal(syscall.SIGTERM)
		} else {
			err = cmd.Process.Kill()
		}
		if err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // it was killed
		build := fmt.Sprint("build ", i/4)
		var pid string
		cmd, pid = started(t, dir, build, address, backend)
		if same := i%4 != 0; same && !seen[pid] || !same && seen[pid] {
			t.Errorf("restart %d with %s: carried by %s, before by %v", i, build, pid, seen)
		}
		seen[pid] = true
	}
	cancel()
	clients.Wait()
	if err := line(long, reader, "to the end"); err != nil {
		t.Errorf("the connection that stays: %v", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
}

// TestClient: what a network does, it does in a process of its own; one that is killed is started again.
func TestClient(t *testing.T) {
	t.Parallel()
	dir, address, backend := filepath.Join(t.TempDir(), strings.Repeat("long", 40), "network"), free(t), talk(t)
	c, err := network.Open(t.Context(), options(dir, "end"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	t.Cleanup(func() {
		if err := c.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	ip, port, _ := net.SplitHostPort(backend)
	web, err := front(address, "a", ip, port)
	if err != nil {
		t.Fatal(err)
	}
	if bound, err := c.Set(ctx, "default/web", web); err != nil || bound[address] != address {
		t.Fatalf("%v, %v", bound, err)
	}
	if _, err := c.Set(ctx, "default/other", web); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("taken: %v", err)
	}
	if _, err := c.Set(ctx, "default/other", service.Front{}); err != nil {
		t.Error(err)
	}
	if owners, err := c.Owners(ctx); err != nil || fmt.Sprint(owners) != "[default/web]" {
		t.Errorf("owners %v, %v", owners, err)
	}
	if err := c.Drain(ctx, "a"); err != nil {
		t.Error(err)
	}
	if err := once(address); err == nil {
		t.Error("a pod that left was given a connection")
	}
	if err := c.Forget(ctx, "a"); err != nil {
		t.Error(err)
	}
	if err := once(address); err != nil {
		t.Error(err)
	}
	before := c.PID()
	open, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	if err := line(open, bufio.NewReader(open), "before"); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(before, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if _, err := open.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after the kill: %v", err)
	}
	for once(address) != nil { // until it answers again; the test's own time bounds it
		if t.Context().Err() != nil {
			t.Fatal(t.Context().Err())
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if owners, err := c.Owners(t.Context()); err != nil || fmt.Sprint(owners) != "[default/web]" {
		t.Errorf("after the kill: owners %v, %v", owners, err)
	}
}

// TestEndsByItself: a process whose directory goes, goes.
func TestEndsByItself(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "network")
	c, err := network.Open(t.Context(), options(dir, "1"))
	if err != nil {
		t.Fatal(err)
	}
	address := free(t)
	web, err := front(address, "a", "127.0.0.1", "1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Set(t.Context(), "default/web", web); err != nil {
		t.Fatal(err)
	}
	watch, err := net.Dial("unix", filepath.Join(dir, "socket"))
	if err != nil {
		t.Skipf("the directory's name is too long for a socket here: %v", err)
	}
	defer watch.Close()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(watch); err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Error(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// TestSecond starts a process whose place another one takes at the same time: it ends, also with a network of pods.
func TestSecond(t *testing.T) {
	t.Parallel()
	for name, setup := range map[string]string{
		"alone": "{}", "with pods": `{"range":"10.97.0.0/16","addresses":"10.245.0.0/16"}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			ready, theirs, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer ready.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, os.Args[0], "network", dir, setup)
			cmd.ExtraFiles = []*os.File{theirs}
			var said bytes.Buffer
			cmd.Stderr = &said
			err = cmd.Start()
			_ = theirs.Close()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadAll(ready); err != nil { // its end is all there is to read: it answers
				t.Error(err)
			}
			other := filepath.Join(dir, "other")
			if err := os.WriteFile(other, nil, 0o600); err != nil {
				t.Error(err)
			}
			if err := os.Rename(other, filepath.Join(dir, "socket")); err != nil {
				t.Error(err)
			}
			if err := cmd.Wait(); err != nil {
				t.Errorf("%v: %s", err, said.Bytes())
			}
		})
	}
}
