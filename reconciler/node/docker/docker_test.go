package docker_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/moby/moby/client"

	"github.com/belay-dev/belay/reconciler/node"
	"github.com/belay-dev/belay/reconciler/node/conformance"
	"github.com/belay-dev/belay/reconciler/node/docker"
	"github.com/belay-dev/belay/reconciler/node/image"
)

// open is a driver over the engine that the tests are given; without one they are skipped.
func open(t testing.TB) *docker.Runtime {
	t.Helper()
	r, err := docker.Open(t.Context())
	if err != nil {
		if os.Getenv("REQUIRE_DOCKER") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// engine is a client beside the driver.
func engine(t testing.TB) *client.Client {
	t.Helper()
	c, err := client.New(client.FromEnv)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// program builds the suite's image once.
var program = sync.OnceValues(func() (v1.Image, error) {
	dir, err := os.MkdirTemp("", "belay-program-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }() // a temporary directory
	file := filepath.Join(dir, "program")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", file, "github.com/belay-dev/belay/reconciler/node/conformance/image")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return image.Single{Architecture: runtime.GOARCH, Name: "/program", Program: data}.Image()
})

// extra is about how much a layer has that no other image has.
const extra = 256 << 10

// programWith is the suite's image with such a layer, for a name.
func programWith(name string) (v1.Image, error) {
	img, err := program()
	if err != nil {
		return nil, err
	}
	noise := make([]byte, extra) // which nothing makes smaller
	_, err = rand.NewChaCha8(sha256.Sum256([]byte(name))).Read(noise)
	var content bytes.Buffer
	w := tar.NewWriter(&content)
	err = errors.Join(err, w.WriteHeader(&tar.Header{Name: "noise", Mode: 0o644, Size: extra, Typeflag: tar.TypeReg}), write(w, noise), w.Close())
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content.Bytes())), nil })
	if err != nil {
		return nil, err
	}
	return mutate.AppendLayers(img, layer)
}

func write(w io.Writer, data []byte) error {
	_, err := w.Write(data)
	return err
}

// serve has a registry on this machine serve the program under a name, and has the engine forget it with the test.
func serve(t testing.TB, repository string, credential node.Credential) (ref string) {
	t.Helper()
	handler := registry.New()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		if credential.Username != "" && (user != credential.Username || password != credential.Password) {
			w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`, http.StatusUnauthorized)
			return
		}
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	ref = strings.TrimPrefix(server.URL, "http://") + "/" + repository
	tag, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	img, err := program()
	if err != nil {
		t.Fatal(err)
	}
	auth := &authn.Basic{Username: credential.Username, Password: credential.Password}
	if err := remote.Write(tag, img, remote.WithAuth(auth), remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
	forget(t, ref)
	return ref
}

// forget has the engine forget an image with the test.
func forget(t testing.TB, ref string) {
	c := engine(t)
	t.Cleanup(func() {
		_, _ = c.ImageRemove(context.WithoutCancel(t.Context()), ref, client.ImageRemoveOptions{Force: true}) // it may not be there
	})
}

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

// present has the engine pull the program.
func present(t testing.TB, r *docker.Runtime) (ref string) {
	t.Helper()
	ref = serve(t, "belay/app:1", node.Credential{})
	if _, err := r.Pull(t.Context(), ref, nil); err != nil {
		t.Fatal(err)
	}
	return ref
}

func TestConformance(t *testing.T) {
	c := engine(t)
	kill := func(t *testing.T, id string) {
		if _, err := c.ContainerKill(t.Context(), id, client.ContainerKillOptions{Signal: "KILL"}); err != nil {
			t.Fatal(err)
		}
	}
	key := node.Credential{Username: "belay", Password: "right"}
	app, served := present(t, open(t)), serve(t, "belay/served:1", node.Credential{})
	world := conformance.World{ // of which one test alone pulls anything
		Unbounded: untold(t),
		Open:      func(t *testing.T) node.Runtime { return open(t) },
		App:       app, Served: served, Guarded: serve(t, "belay/guarded:1", key), Credential: key,
		Missing: strings.TrimSuffix(served, ":1") + ":2", Down: nowhere(t) + "/belay/app:1",
		Kill: kill, KillSandbox: kill,
	}
	conformance.Run(t, func(*testing.T) conformance.World { return world })
}

// untold says why the engine would not tell that the kernel killed a container for its memory; empty: it does.
func untold(t *testing.T) string {
	if r := open(t); r.Podman() && strings.HasPrefix(r.String(), "podman 4.") {
		return "the monitor of containers notes it where this podman does not look, in the directory that its service was started in"
	}
	return ""
}

func TestCorruptLayer(t *testing.T) {
	r := open(t)
	handler := registry.New()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		record := httptest.NewRecorder()
		handler.ServeHTTP(record, q)
		body := record.Body.Bytes()
		if q.Method == http.MethodGet && strings.Contains(q.URL.Path, "/blobs/") && len(body) >= extra && len(body) < 2*extra {
			body[len(body)/2] ^= 0xff
		}
		for key, values := range record.Header() {
			w.Header()[key] = values
		}
		w.WriteHeader(record.Code)
		if _, err := w.Write(body); err != nil {
			return // the engine has seen enough
		}
	}))
	defer server.Close()
	ref := strings.TrimPrefix(server.URL, "http://") + "/belay/corrupt:1"
	tag, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	img, err := programWith(ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(tag, img, remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
	forget(t, ref)
	_, err = r.Pull(t.Context(), ref, nil)
	if pull, ok := errors.AsType[*image.PullError](err); !ok || pull.Class != image.Corrupt {
		t.Errorf("the pull of a layer that is not what its digest says: %v, want class %s", err, image.Corrupt)
	}
	if _, ok, err := r.Image(t.Context(), ref); ok || err != nil {
		t.Errorf("the image is present: %v, %v", ok, err)
	}
}

// TestNetworksOfOneName has the engine in the state that two services leave that start at the same time.
func TestNetworksOfOneName(t *testing.T) {
	r, c := open(t), engine(t)
	if _, err := c.NetworkCreate(t.Context(), "belay", client.NetworkCreateOptions{Driver: "bridge"}); err != nil {
		t.Skip(err) // this engine does not let it happen, or a test before has the name
	}
	second, err := c.NetworkCreate(t.Context(), "belay", client.NetworkCreateOptions{Driver: "bridge"})
	if err != nil {
		t.Skip(err)
	}
	const uid = "networks-of-one-name"
	t.Cleanup(func() {
		if err := r.RemovePod(context.WithoutCancel(t.Context()), uid); err != nil {
			t.Error(err)
		}
	})
	state, err := r.RunPod(t.Context(), node.Sandbox{UID: uid, Namespace: "default", Name: "web-1"})
	if err != nil || state.IP == "" {
		t.Errorf("the pod's sandbox is %+v, %v", state, err)
	}
	if _, err := c.NetworkInspect(t.Context(), second.ID, client.NetworkInspectOptions{}); err == nil {
		t.Error("the younger network is there still")
	}
}
