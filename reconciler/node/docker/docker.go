package docker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/client"

	"github.com/belay-dev/belay/reconciler/node"
)

// The labels of everything that is made here.
const (
	labelPod       = "belay.dev/pod-uid"
	labelRecord    = "belay.dev/pod" // of a pause container: the node.Sandbox as JSON
	labelContainer = "belay.dev/container"
	labelAttempt   = "belay.dev/attempt"
	labelSandbox   = "belay.dev/sandbox"
	labelRef       = "belay.dev/image"
	labelDigest    = "belay.dev/image-digest"
	labelInstance  = "belay.dev/instance"
)

// networkName is the engine's network that pods are on.
const networkName = "belay"

// Runtime is the driver. It keeps nothing that the engine does not tell, but for answers that can no longer change.
type Runtime struct {
	c       *client.Client
	arch    string
	version string
	outruns bool          // the engine loses lines of a log that it follows
	podman  bool          // the engine is podman, which answers as Docker does but for what is named where it is asked
	quiet   time.Duration // how long the engine may have nothing of an ended container's log before that is all of it

	prepare sync.Mutex // over making what all pods need
	network bool       // it was seen
	pause   string     // ID of the pause image; empty: not loaded yet

	mu      sync.Mutex
	ended   map[string]node.ContainerState // by ID: runs that are over
	started map[string]node.ContainerState // by ID: runs as they were when they had begun
	addrs   map[string]string              // by ID of a pause container
	died    map[string]bool                // by ID: the engine told of its end, which its list may not know for a moment
	digests map[string]string              // by ID of an image
}

var _ node.Runtime = (*Runtime)(nil)

// Open asks the engine that the environment (DOCKER_HOST) names, or the machine's own, whether it can run pods here. The
// error says why not. Close has to be called.
func Open(ctx context.Context) (*Runtime, error) {
	c, err := client.New(client.FromEnv)
	if err != nil {
		return nil, fmt.Errorf("docker: %w", err)
	}
	r := &Runtime{
		c: c, quiet: 10 * time.Second, ended: map[string]node.ContainerState{}, started: map[string]node.ContainerState{},
		addrs: map[string]string{}, died: map[string]bool{}, digests: map[string]string{},
	}
	if err := r.check(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("docker: %w", err), c.Close())
	}
	return r, nil
}

// check sees whether the pods of the engine can be reached from here, and its files from there.
func (r *Runtime) check(ctx context.Context) error {
	if host := r.c.DaemonHost(); !strings.HasPrefix(host, "unix://") {
		return fmt.Errorf("the engine at %s is not on this machine", host)
	}
	result, err := r.c.Info(ctx, client.InfoOptions{})
	if err != nil {
		return err
	}
	info := result.Info
	arch, ok := map[string]string{"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}[info.Architecture]
	switch {
	case info.OSType != "linux":
		return fmt.Errorf("the engine runs containers of %s", info.OSType)
	case strings.Contains(info.OperatingSystem, "Docker Desktop"):
		return errors.New("the network of Docker Desktop cannot be reached from this machine")
	case slices.ContainsFunc(info.SecurityOptions, func(o string) bool { return strings.Contains(o, "rootless") }):
		return errors.New("the network of a rootless engine cannot be reached from this machine")
	case !ok:
		return fmt.Errorf("no pause image is known for %s", info.Architecture)
	}
	version, err := r.c.ServerVersion(ctx, client.ServerVersionOptions{})
	if err != nil {
		return err
	}
	r.podman = slices.ContainsFunc(version.Components, func(c system.ComponentVersion) bool { return c.Name == "Podman Engine" })
	r.arch, r.version = arch, info.ServerVersion
	r.outruns = !r.podman && outruns(r.version)
	return nil
}

// Podman says whether the engine is podman.
func (r *Runtime) Podman() bool { return r.podman }

// String names the engine, for people.
func (r *Runtime) String() string {
	kind := "docker"
	if r.podman {
		kind = "podman"
	}
	return fmt.Sprintf("%s %s at %s", kind, r.version, r.c.DaemonHost())
}

// Close ends idle connections. What runs goes on.
func (r *Runtime) Close() error { return r.c.Close() }

// absent is nil when what was asked of something failed because it is not there, or is as it should be already.
func absent(err error) error {
	if cerrdefs.IsNotFound(err) || cerrdefs.IsNotModified(err) {
		return nil
	}
	return err
}
