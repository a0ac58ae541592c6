package network_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/belay-dev/belay/reconciler/names"
	"github.com/belay-dev/belay/reconciler/service"
	"github.com/belay-dev/belay/reconciler/service/network"
)

// inside marks the process that has a network of its own.
const inside = "BELAY_TEST_OWN_NETWORK"

// ownNetwork runs the rest of a test in a network namespace, by running it again; false: this process is to return.
func ownNetwork(t *testing.T) bool {
	t.Helper()
	if os.Getenv(inside) != "" {
		if err := bringUp(); errors.Is(err, unix.EPERM) {
			fmt.Println("in a user namespace this process may nothing, as where AppArmor forbids it:", err)
			os.Exit(powerless)
		} else if err != nil {
			t.Fatal(err)
		}
		return true
	}
	again := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	again.Env = append(os.Environ(), inside+"=1")
	again.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}, GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	out, err := again.CombinedOutput()
	var exit *exec.ExitError
	refused := err != nil && !errors.As(err, &exit) || exit != nil && exit.ExitCode() == powerless
	switch {
	case err == nil:
	case refused && os.Getenv("REQUIRE_ROOT") == "":
		t.Skipf("no namespaces here: %v: %s", err, out)
	default:
		t.Errorf("%v\n%s", err, out)
	}
	return false
}

// powerless is how a process ends that has a network namespace and may not change it.
const powerless = 77

// bringUp has the loopback of this process's network work.
func bringUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo)
}

// TestClaim: the addresses of the cluster answer, and so do its names.
func TestClaim(t *testing.T) {
	if !ownNetwork(t) {
		return
	}
	cluster := netip.MustParsePrefix("10.96.0.0/16")
	claimed, err := network.Claim(cluster)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := network.Claim(cluster); err == nil {
		t.Error("two answer for the same names")
	}
	if err := claimed.Close(); err != nil {
		t.Fatal(err)
	}
	if claimed, err = network.Claim(cluster); err != nil { // as after a restart
		t.Fatal(err)
	}
	backend, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer backend.Close()
	go func() {
		for {
			c, err := backend.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "hello")
			_ = c.Close()
		}
	}()
	n := network.New(func(ctx context.Context, b service.Backend) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", backend.Addr().String())
	}, claimed)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	front := service.Front{
		Listeners: []service.Listener{{Address: "10.96.3.7:80", Backends: []service.Backend{{Pod: "a"}}}},
		Name:      &names.Service{Namespace: "default", Name: "web", Addresses: []netip.Addr{netip.MustParseAddr("10.96.3.7")}},
	}
	if _, err := n.Set(t.Context(), "default/web", front); err != nil {
		t.Fatal(err)
	}
	r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, "10.96.0.1:53")
	}}
	ips, err := r.LookupHost(t.Context(), "web.default.svc.cluster.local.")
	if err != nil || !slices.Equal(ips, []string{"10.96.3.7"}) {
		t.Fatalf("%v, %v", ips, err)
	}
	c, err := net.Dial("tcp", ips[0]+":80")
	if err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(c); string(text) != "hello" {
		t.Errorf("%q, %v", text, err)
	}
	_ = c.Close()
	if _, err := n.Set(t.Context(), "default/web", service.Front{}); err != nil {
		t.Fatal(err)
	}
	if ips, err = r.LookupHost(t.Context(), "web.default.svc.cluster.local."); err == nil {
		t.Errorf("a Service that went is %v", ips)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
