package docker_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/belay-dev/belay/reconciler/node"
)

// TestEngineDiskFull fills the disk of an engine while an image is on its way to it: what cannot be written is told in the
// engine's words, what runs goes on, and everything comes right by itself when there is room again.
func TestEngineDiskFull(t *testing.T) {
	const size = 96 << 20
	d, ctx := engineWith(t, func(dir string) {
		disk := filepath.Join(dir, "data")
		err := os.Mkdir(disk, 0o711)
		if err == nil {
			err = syscall.Mount("tmpfs", disk, "tmpfs", 0, fmt.Sprint("size=", size))
		}
		if errors.Is(err, syscall.EPERM) && os.Getenv("REQUIRE_ROOT") != "1" {
			t.Skip("a disk of its own takes the right to mount one")
		}
		if err != nil {
			t.Fatal(err)
		}
	}), within(t)
	const ref = "belay.example.com/app:1"
	r := loaded(ctx, t, ref)
	served, release := withheld(t, "belay/served:1")
	a := agentOf(ctx, t, r, "full")
	a.create(podOf("before", ref, "forever"), podOf("pulling", served, "forever"))
	a.until("before", "running", runs(0))
	a.told("pulling", fmt.Sprintf("Pulling: Pulling image %q", served))
	sandboxOf(ctx, t, r, "made-before")
	img, _, err := r.Image(ctx, ref)
	if err != nil {
		t.Fatal(err)
	}

	ballast := filepath.Join(d.dir, "data", "ballast")
	fill(t, ballast)
	release()
	says := func(text string) bool { return strings.Contains(text, "no space left on device") }
	_, err = r.Start(ctx, node.Container{Pod: "made-before", Name: "c", Ref: ref, Image: img.ID, Args: []string{"forever"}})
	if failed, ok := errors.AsType[*node.StartError](err); !ok || failed.Reason != node.ReasonCreateContainer || !says(failed.Error()) {
		t.Errorf("a container on a full disk: %v", err)
	}
	a.create(podOf("after", ref, "forever"))
	until(ctx, t, "a sandbox is refused", func() error {
		said := a.events("after")
		for _, e := range said {
			if strings.HasPrefix(e, "FailedCreatePodSandBox: Failed to create pod sandbox: ") && says(e) {
				return nil
			}
		}
		return fmt.Errorf("it said %q", said)
	})
	p := a.until("pulling", "without its image", func(p *corev1.Pod) bool { return waits("ErrImagePull")(p) || waits("ImagePullBackOff")(p) })
	if message := p.Status.ContainerStatuses[0].State.Waiting.Message; !says(message) {
		t.Errorf("the pull says %q", message)
	}
	a.until("before", "running still", runs(0))

	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"before", "after", "pulling"} {
		a.until(name, "running", runs(0))
	}
	a.end("before", "after", "pulling")
}

// fill writes a file until the disk takes no more.
func fill(t *testing.T, name string) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, piece := range []int{1 << 20, 4 << 10, 1} {
		for err = nil; err == nil; {
			_, err = f.Write(make([]byte, piece))
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
	}
}
