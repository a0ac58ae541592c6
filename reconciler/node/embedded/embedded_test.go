//go:build linux

package embedded_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"golang.org/x/sys/unix"

	"github.com/belay-dev/belay/reconciler/node"
	"github.com/belay-dev/belay/reconciler/node/conformance"
	"github.com/belay-dev/belay/reconciler/node/embedded"
	"github.com/belay-dev/belay/reconciler/node/embedded/shim"
	"github.com/belay-dev/belay/reconciler/node/image"
)

// binariesVariable names the directory of the suite's binaries to a run of this one by another user, who cannot build them.
const binariesVariable = "BELAY_TEST_BINARIES"

// binaries is a directory with the program of the suite's image, and belay-shim.
var binaries string

func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == carries {
		os.Exit(carry(os.Args[2:]))
	}
	os.Exit(func() int {
		if binaries = os.Getenv(binariesVariable); binaries != "" {
			for variable, f := range map[string]func(context.Context, string) error{
				lifeVariable: live, beginVariable: begin, refusedVariable: refused,
			} {
				if text := os.Getenv(variable); text != "" {
					if err := f(context.Background(), text); err != nil {
						fmt.Fprintln(os.Stderr, err)
						return 1
					}
					return 0
				}
			}
			return m.Run()
		}
		dir, err := os.MkdirTemp("", "belay-embedded-")
		if err != nil {
			panic(err)
		}
		defer func() { _ = os.RemoveAll(dir) }() // a temporary directory
		binaries = dir
		return m.Run()
	}())
}

// build builds the binaries once. They are small, and have no race detector, which ends a process only after a second.
var build = sync.OnceValue(func() error {
	if os.Getenv(binariesVariable) != "" {
		return nil
	}
	const module = "github.com/belay-dev/belay/"
	for name, pkg := range map[string]string{
		"program": "reconciler/node/conformance/image", "belay-shim": "cmd/belay-shim", "faults": "reconciler/node/embedded/testdata/faults",
	} {
		cmd := exec.Command("go", "build", "-trimpath", "-o", filepath.Join(binaries, name), module+pkg)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
	}
	return nil
})

// key opens what is guarded.
var key = node.Credential{Username: "belay", Password: "right"}

// registries are made once for all tests of a process, and live as long: one for everybody, and one for those with the
// key. They have the same images.
var registries = sync.OnceValues(func() (hosts [2]string, err error) {
	handler := registry.New()
	guard := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != key.Username || password != key.Password {
			w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`, http.StatusUnauthorized)
			return
		}
		handler.ServeHTTP(w, r)
	})
	for i, h := range []http.Handler{handler, guard} {
		hosts[i] = strings.TrimPrefix(httptest.NewServer(h).URL, "http://")
	}
	data, err := os.ReadFile(filepath.Join(binaries, "program"))
	if err != nil {
		return hosts, err
	}
	img, err := image.Single{Architecture: runtime.GOARCH, Name: "/program", Program: data}.Image()
	if err != nil {
		return hosts, err
	}
	for _, repository := range []string{"belay/app:1", "belay/served:1", "belay/guarded:1"} {
		tag, err := name.ParseReference(hosts[0] + "/" + repository)
		if err != nil {
			return hosts, err
		}
		if err := remote.Write(tag, img); err != nil {
			return hosts, err
		}
	}
	return hosts, nil
})

// nowhere is an address on this machine where nothing listens.
func nowhere(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return l.Addr().String()
}

func open(t testing.TB, o embedded.Options) *embedded.Runtime {
	t.Helper()
	if err := build(); err != nil {
		t.Fatal(err)
	}
	if o.Shim == "" {
		o.Shim = filepath.Join(binaries, "belay-shim")
	}
	r, err := embedded.Open(t.Context(), o)
	if err != nil {
		if os.Getenv("REQUIRE_NAMESPACES") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	return r
}

func TestConformance(t *testing.T) {
	dir := t.TempDir()
	first := open(t, embedded.Options{Pods: filepath.Join(dir, "pods"), Images: filepath.Join(dir, "images")})
	t.Log(first.Machine())
	hosts, err := registries()
	if err != nil {
		t.Fatal(err)
	}
	app := hosts[0] + "/belay/app:1"
	if _, err := first.Pull(t.Context(), app, nil); err != nil {
		t.Fatal(err)
	}
	unbounded := first.Machine().Unbounded
	if slices.Contains(first.Machine().Bounded, "memory") {
		unbounded = ""
	}
	noGroup := ""
	if os.Geteuid() != 0 {
		noGroup = "a user namespace of one user has one group"
	}
	conformance.Run(t, func(*testing.T) conformance.World {
		return conformance.World{
			Open: func(t *testing.T) node.Runtime {
				return open(t, embedded.Options{Pods: filepath.Join(dir, "pods"), Images: filepath.Join(dir, "images")})
			},
			App: app, Served: hosts[0] + "/belay/served:1", Guarded: hosts[1] + "/belay/guarded:1", Credential: key, NoGroup: noGroup,
			Missing: hosts[0] + "/belay/served:2", Down: nowhere(t) + "/belay/app:1", Unbounded: unbounded,
			Kill: func(t *testing.T, id string) {
				parts := strings.SplitN(id, ".", 3)
				c := shim.Client{Dir: filepath.Join(dir, "pods", parts[0], parts[1])}
				if err := c.Signal(t.Context(), parts[2], syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
			},
			KillSandbox: func(t *testing.T, id string) { killShim(t, id) },
		}
	})
}

// TestUnprivileged runs the tests of this package as a user who may nothing.
func TestUnprivileged(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to become somebody else")
	}
	if err := build(); err != nil {
		t.Fatal(err)
	}
	binary, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	const nobody = 65534
	test, own := filepath.Join(binaries, "embedded.test"), filepath.Join(binaries, "tmp")
	// A program that another test starts meanwhile would hold this one open for writing, and it could not be run.
	syscall.ForkLock.RLock()
	err = errors.Join(os.WriteFile(test, binary, 0o755), os.Chmod(binaries, 0o755), os.Mkdir(own, 0o755), os.Chown(own, nobody, nobody))
	syscall.ForkLock.RUnlock()
	if err != nil {
		t.Fatal(err)
	}
	// A device that everybody may open, as common machines have it.
	tun := filepath.Join(binaries, "tun")
	if err := unix.Mknod(tun, unix.S_IFCHR|0o666, int(unix.Mkdev(10, 200))); err == nil {
		if err := os.Chmod(tun, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if err := image.RemoveTree(own); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, test, "-test.v", "-test.count=1")
	cmd.Dir, cmd.WaitDelay = own, time.Second
	cmd.Env = []string{
		"TMPDIR=" + own, "PATH=" + os.Getenv("PATH"), binariesVariable + "=" + binaries,
		"REQUIRE_NAMESPACES=" + os.Getenv("REQUIRE_NAMESPACES"),
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}

// killShim kills the shim whose directory has a name.
func killShim(t *testing.T, id string) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range all {
		text, err := os.ReadFile(file)
		if err != nil || !strings.HasSuffix(string(text), "/"+id+"\x00") || !strings.HasPrefix(string(text), "belay-shim\x00") {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Fatalf("no shim of %s", id)
}
