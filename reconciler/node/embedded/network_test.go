//go:build linux

package embedded_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/remotecommand"

	"github.com/belay-dev/belay/reconciler/names"
	"github.com/belay-dev/belay/reconciler/node"
	"github.com/belay-dev/belay/reconciler/node/embedded"
	"github.com/belay-dev/belay/reconciler/service"
	"github.com/belay-dev/belay/reconciler/service/network"
	"github.com/belay-dev/belay/reconciler/service/podnet"
)

// inside marks the process of a test that has a network namespace of its own.
const inside = "BELAY_TEST_OWN_NETWORK"

// outside is an address of that namespace that is not its loopback's.
const outside = "198.51.100.1"

// carries is the process that carries the packets of the tests' pods: this binary with such arguments.
const carries = "carry-packets"

// carry is that process.
func carry(args []string) int {
	err := network.Main(context.Background(), args[0], args[1], func(s network.Setup) network.Pods {
		return network.Pods{
			Dial: func(ctx context.Context, b service.Backend) (net.Conn, error) {
				return embedded.Dial(ctx, s.Pods, types.UID(b.Pod), b.Port)
			},
			List: func() ([]string, error) {
				uids, err := embedded.UIDs(s.Pods)
				var out []string
				for _, uid := range uids {
					out = append(out, string(uid))
				}
				return out, err
			},
			Open: func(ctx context.Context, pod string) (network.Device, error) {
				d, err := embedded.OpenDevice(ctx, s.Pods, types.UID(pod))
				return network.Device{Sandbox: d.Sandbox, Address: d.Address, File: d.File, Held: d.Held}, err
			},
		}
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// ownNetwork runs the rest of a test in a network namespace with an address of its own, by running it again; false: this
// process is to return.
func ownNetwork(t *testing.T) bool {
	t.Helper()
	if os.Getenv(inside) == "" {
		if err := build(); err != nil {
			t.Fatal(err)
		}
		again := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v", "-test.count=1")
		again.Env = append(os.Environ(), inside+"=1", binariesVariable+"="+binaries)
		again.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
		if uid := os.Geteuid(); uid != 0 {
			again.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
			again.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: uid, Size: 1}}
			again.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}
		}
		out, err := again.CombinedOutput()
		var exit *exec.ExitError
		refused := err != nil && !errors.As(err, &exit) || exit != nil && exit.ExitCode() == powerless
		switch {
		case err == nil:
			t.Logf("%s", out)
		case refused && os.Getenv("REQUIRE_NAMESPACES") != "1":
			t.Skipf("no namespaces here: %v: %s", err, out)
		default:
			t.Errorf("%v\n%s", err, out)
		}
		return false
	}
	if err := bringUp(); errors.Is(err, unix.EPERM) {
		fmt.Println("in a user namespace this process may nothing, as where AppArmor forbids it:", err)
		os.Exit(powerless)
	} else if err != nil {
		t.Fatal(err)
	}
	return true
}

// powerless is how a process ends that has a network namespace and may not change it.
const powerless = 77

// bringUp has the loopback of this process's network work, and have a second address, outside.
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
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo); err != nil {
		return err
	}
	second, err := unix.NewIfreq("lo:1")
	if err == nil {
		err = second.SetInet4Addr(netip.MustParseAddr(outside).AsSlice())
	}
	if err != nil {
		return err
	}
	return unix.IoctlIfreq(fd, unix.SIOCSIFADDR, second)
}

// connected is a machine whose pods have a network.
type connected struct {
	testing.TB
	*embedded.Runtime
	dir   string
	image string
	pods  int

	client *network.Client
	stop   context.CancelFunc // of what holds on to the process
	ended  chan error
}

// begin is a service that begins, and finds the process or starts it.
func (c *connected) begin(build string) {
	c.Helper()
	client, err := network.Open(c.TB.Context(), c.options(build))
	if err != nil {
		c.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(c.TB.Context()))
	c.client, c.stop, c.ended = client, cancel, make(chan error, 1)
	go func() { c.ended <- client.Run(ctx) }()
}

// end is its end.
func (c *connected) end() {
	c.Helper()
	c.stop()
	if err := errors.Join(<-c.ended, c.client.Close()); err != nil {
		c.Error(err)
	}
}

func (c *connected) options(build string) network.Options {
	return network.Options{
		Dir: filepath.Join(c.dir, "network"), Command: []string{"/proc/self/exe", carries}, Log: zerolog.Nop(),
		Setup: network.Setup{Build: build, Range: "10.96.0.0/16", Addresses: "10.244.0.0/24", Pods: filepath.Join(c.dir, "pods")},
	}
}

// connect opens the driver with a network for its pods.
func connect(t testing.TB) *connected {
	t.Helper()
	c := &connected{TB: t, dir: t.TempDir()}
	o := embedded.Options{Pods: filepath.Join(c.dir, "pods"), Images: filepath.Join(c.dir, "images"), Network: embedded.Network{
		Range: netip.MustParsePrefix("10.244.0.0/24"), MTU: podnet.MTU, Device: ownDevice(),
		Carry: func(ctx context.Context, uid types.UID) error { return c.client.Carry(ctx, string(uid)) },
	}}
	c.Runtime = open(t, o)
	t.Log(c.Machine())
	if c.Machine().Alone != "" {
		t.Skip("pods have no network here: " + c.Machine().Alone)
	}
	c.begin("1")
	t.Cleanup(func() {
		c.stop()
		if err := errors.Join(<-c.ended, c.client.Stop(context.WithoutCancel(t.Context())), c.client.Close()); err != nil {
			t.Error(err)
		}
	})
	hosts, err := registries()
	if err != nil {
		t.Fatal(err)
	}
	img, err := c.Pull(t.Context(), hosts[0]+"/belay/app:1", nil)
	if err != nil {
		t.Fatal(err)
	}
	c.image = img.ID
	return c
}

// ownDevice is a tun device that everybody may open, where root has made one; empty: the machine's.
func ownDevice() string {
	if file := filepath.Join(binaries, "tun"); exists(file) {
		return file
	}
	return ""
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// pod runs a pod with one container, and tells its UID, the container's run and its address.
func (c *connected) pod(args ...string) (types.UID, string, string) {
	c.Helper()
	c.pods++
	uid := types.UID(fmt.Sprintf("00000000-0000-4000-9000-%012x", c.pods))
	c.Cleanup(func() {
		if err := c.RemovePod(context.WithoutCancel(c.Context()), uid); err != nil {
			c.Error(err)
		}
	})
	state, err := c.RunPod(c.Context(), node.Sandbox{
		UID: uid, Namespace: "shop", Name: "pod", Hostname: "pod",
		DNS: node.DNS{Servers: []string{"10.96.0.1"}, Searches: names.Searches("shop"), Options: []string{names.Dots}},
	})
	if err != nil {
		c.Fatal(err)
	}
	id, err := c.Start(c.Context(), node.Container{Pod: uid, Name: "c", Ref: "app", Image: c.image, Args: args})
	if err != nil {
		c.Fatal(err)
	}
	return uid, id, state.IP
}

// get asks for a URL from inside of a container.
func (c *connected) get(id, url string) (string, error) {
	var out, errs bytes.Buffer
	code, err := c.Exec(c.Context(), id, []string{"/program", "get", url}, remotecommand.StreamOptions{Stdout: &out, Stderr: &errs})
	if err == nil && code != 0 {
		err = fmt.Errorf("%s: %s", url, strings.TrimSpace(errs.String()))
	}
	return out.String(), err
}

// wants asks until it is answered.
func (c *connected) wants(id, url, want string) {
	c.Helper()
	for {
		got, err := c.get(id, url)
		if err == nil {
			if got != want {
				c.Errorf("%s: %q, want %q", url, got, want)
			}
			return
		}
		if c.Context().Err() != nil {
			c.Fatal(err)
		}
	}
}

// serves has pods answer for the Service web.
func (c *connected) serves(backends ...service.Backend) {
	c.Helper()
	front := service.Front{
		Listeners: []service.Listener{{Address: "10.96.3.7:80", Backends: backends}},
		Name:      &names.Service{Namespace: "shop", Name: "web", Addresses: []netip.Addr{netip.MustParseAddr("10.96.3.7")}},
	}
	if _, err := c.client.Set(c.Context(), "shop/web", front); err != nil {
		c.Fatal(err)
	}
}

// TestNetwork: pods reach each other, Services and the outside, and go on doing so when the process between them is
// replaced or killed.
func TestNetwork(t *testing.T) {
	if !ownNetwork(t) {
		return
	}
	c := connect(t)
	first, _, firstIP := c.pod("serve", "80")
	second, _, secondIP := c.pod("serve", "81")
	_, client, clientIP := c.pod("forever")
	if !strings.HasPrefix(firstIP, "10.244.0.") || firstIP == secondIP || firstIP == clientIP || secondIP == clientIP {
		t.Fatalf("addresses are %s, %s and %s", firstIP, secondIP, clientIP)
	}
	c.wants(client, "http://"+firstIP+"/by/address", "GET /by/address\n")
	c.wants(client, "http://"+secondIP+":81/", "GET /\n")
	if _, err := c.get(client, "http://"+secondIP+"/"); err == nil {
		t.Error("a port that nobody listens on answers")
	}
	if _, err := c.get(client, "http://10.244.0.254/"); err == nil && firstIP != "10.244.0.254" && secondIP != "10.244.0.254" {
		t.Error("a pod that is not there answers")
	}

	c.serves(service.Backend{Pod: string(first), Port: 80})
	for _, host := range []string{"10.96.3.7", "web", "web.shop", "web.shop.svc", "web.shop.svc.cluster.local"} {
		c.wants(client, "http://"+host+"/", "GET /\n")
	}
	if _, err := c.get(client, "http://nobody.shop.svc.cluster.local./"); err == nil || !strings.Contains(err.Error(), "no such host") {
		t.Errorf("a name that is nobody's: %v", err)
	}
	c.serves(service.Backend{Pod: string(second), Port: 81})
	if err := c.RemovePod(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	c.wants(client, "http://web/from/another", "GET /from/another\n")
	if _, err := c.get(client, "http://"+firstIP+"/"); err == nil {
		t.Error("a pod that is gone answers")
	}

	t.Run("Outside", c.outside(client))
	t.Run("Upgrades", c.upgrades(client, second, secondIP))
	t.Run("Kill", c.kill(client, secondIP))
}

// outside: pods reach what listens on an address of this machine that is not its loopback's, and nothing on that.
func (c *connected) outside(client string) func(t *testing.T) {
	return func(t *testing.T) {
		server := serveOutside(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "outside ", r.URL.Path) }))
		c.wants(client, "http://"+server+"/x", "outside /x")
		_, port, _ := net.SplitHostPort(server)
		for _, host := range []string{"127.0.0.1", "0.0.0.0", "169.254.169.254"} {
			if out, err := c.get(client, "http://"+net.JoinHostPort(host, port)+"/"); err == nil {
				t.Errorf("%s answers %q", host, out)
			}
		}
	}
}

// serveOutside answers on all addresses of this machine.
func serveOutside(t *testing.T, h http.Handler) string {
	l, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(h)
	_ = server.Listener.Close() // another one takes its place
	server.Listener = l
	server.Start()
	t.Cleanup(server.Close)
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return net.JoinHostPort(outside, port)
}

// upgrades: while the process is replaced again and again, no request fails, and a connection that is open goes on.
func (c *connected) upgrades(client string, second types.UID, ip string) func(t *testing.T) {
	return func(t *testing.T) {
		begun, release := make(chan struct{}), make(chan struct{})
		server := serveOutside(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "begun, ")
			_ = http.NewResponseController(w).Flush()
			close(begun)
			select {
			case <-release:
			case <-r.Context().Done():
			}
			_, _ = io.WriteString(w, "ended")
		}))
		long := make(chan error, 1)
		go func() {
			out, err := c.get(client, "http://"+server+"/long")
			if err == nil && out != "begun, ended" {
				err = fmt.Errorf("the long answer is %q", out)
			}
			long <- err
		}()
		select {
		case <-begun:
		case err := <-long:
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var clients sync.WaitGroup
		for _, url := range []string{"http://web/", "http://" + ip + ":81/"} {
			clients.Go(func() {
				for ctx.Err() == nil {
					if _, err := c.get(client, url); err != nil {
						t.Errorf("a request failed: %v", err)
						return
					}
				}
			})
		}
		seen := map[int]bool{c.client.PID(): true}
		for i := range 4 {
			c.end()
			c.begin(fmt.Sprint(1 + (i+1)/2))
			if pid := c.client.PID(); seen[pid] != (i%2 == 0) {
				t.Errorf("service %d: carried by %d, before by %v", i, pid, seen)
			}
			seen[c.client.PID()] = true
			c.serves(service.Backend{Pod: string(second), Port: 81}) // the service that comes tells it again
		}
		cancel()
		clients.Wait()
		close(release)
		if err := <-long; err != nil {
			t.Errorf("the connection that stays: %v", err)
		}
	}
}

// kill: a process that is killed is started again, and finds the pods.
func (c *connected) kill(client, ip string) func(t *testing.T) {
	return func(t *testing.T) {
		before := c.client.PID()
		if err := syscall.Kill(before, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		for c.client.PID() == before { // until it is started again; the test's own time bounds it
			if t.Context().Err() != nil {
				t.Fatal(t.Context().Err())
			}
		}
		c.wants(client, "http://"+ip+":81/", "GET /\n")
		c.wants(client, "http://web/", "GET /\n")
	}
}
