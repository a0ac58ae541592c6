package docker_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	corev1 "k8s.io/api/core/v1"

	"github.com/belay-dev/belay/reconciler/node/docker"
)

// daemon is an engine of the test's own, in the network that .ci/docker made.
type daemon struct {
	t   *testing.T
	dir string
	cmd *exec.Cmd
	log bytes.Buffer
}

// engineOf starts an engine and has the environment name it.
func engineOf(t *testing.T) *daemon { return engineWith(t, func(string) {}) }

// engineWith is engineOf, with something made in its directory first.
func engineWith(t *testing.T, before func(dir string)) *daemon {
	t.Helper()
	if open(t).Podman() {
		t.Skip("containers of podman do not end with its service")
	}
	if os.Getenv("OWN_NETWORK") != "1" {
		const why = "an engine that may be killed takes a network of its own: .ci/docker"
		if os.Getenv("REQUIRE_DOCKER") == "1" {
			t.Fatal(why)
		}
		t.Skip(why)
	}
	d := &daemon{t: t, dir: t.TempDir()}
	t.Setenv("DOCKER_HOST", "unix://"+filepath.Join(d.dir, "docker.sock"))
	t.Cleanup(d.end)
	before(d.dir)
	d.start()
	return d
}

func (d *daemon) start() {
	d.t.Helper()
	d.cmd = exec.Command("dockerd", "--data-root", filepath.Join(d.dir, "data"), "--exec-root", filepath.Join(d.dir, "exec"),
		"--pidfile", filepath.Join(d.dir, "pid"), "-H", os.Getenv("DOCKER_HOST"), "--bridge=none", "--iptables=false")
	d.cmd.Stdout, d.cmd.Stderr = &d.log, &d.log
	if err := d.cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
}

// stop ends the engine with a signal and waits for it.
func (d *daemon) stop(signal os.Signal) {
	err := errors.Join(d.cmd.Process.Signal(signal), d.cmd.Wait())
	if _, told := errors.AsType[*exec.ExitError](err); err != nil && !told {
		d.t.Error(err)
	}
}

func (d *daemon) end() {
	if d.cmd != nil {
		d.stop(syscall.SIGTERM)
	}
	if d.t.Failed() {
		d.t.Logf("the engine says:\n%s", d.log.String())
	}
	mounts, err := os.ReadFile("/proc/mounts")
	if err != nil {
		d.t.Error(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); len(fields) > 1 && strings.HasPrefix(fields[1], d.dir+"/") {
			if err := syscall.Unmount(fields[1], syscall.MNT_DETACH); err != nil {
				d.t.Logf("unmount %s: %v", fields[1], err)
			}
		}
	}
}

// loaded puts the suite's program into an engine, once that answers.
func loaded(ctx context.Context, t *testing.T, ref string) *docker.Runtime {
	t.Helper()
	var r *docker.Runtime
	until(ctx, t, "the engine answers", func() (err error) {
		r, err = docker.Open(ctx)
		return err
	})
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	img, err := program()
	if err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag(ref)
	if err != nil {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	if err := tarball.Write(tag, img, &archive); err != nil {
		t.Fatal(err)
	}
	answer, err := engine(t).ImageLoad(ctx, &archive)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Close()
	if _, err := io.Copy(io.Discard, answer); err != nil {
		t.Fatal(err)
	}
	return r
}

// until tries until there is no error.
func until(ctx context.Context, t testing.TB, what string, try func() error) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s: not in time: %v", what, err)
		}
	}
}

// TestEngineRestarted kills the engine under pods that run: they are Unknown, and run again when it is back, each started
// once more and no more.
func TestEngineRestarted(t *testing.T) {
	d, ctx := engineOf(t), within(t)
	const ref = "belay.example.com/app:1"
	a := agentOf(ctx, t, loaded(ctx, t, ref), "restarted")
	names := []string{"pod-0", "pod-1", "pod-2"}
	for _, name := range names {
		a.create(podOf(name, ref, "forever"))
	}
	all := func(what string, is func(*corev1.Pod) bool) {
		t.Helper()
		for _, name := range names {
			a.until(name, what, is)
		}
	}
	all("running", runs(0))
	d.stop(syscall.SIGKILL)
	all("unknown", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodUnknown })
	d.start()
	all("running again", runs(1))
	if got, want := attempts(ctx, t, engine(t), "belay.dev/pod-uid"), []string{"0", "0", "0", "1", "1", "1"}; !slices.Equal(got, want) {
		t.Errorf("the engine has the attempts %q, want %q", got, want)
	}
	a.end(names...)
}
