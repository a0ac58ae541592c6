//go:build linux

package embedded_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/belay-dev/belay/reconciler/node"
	"github.com/belay-dev/belay/reconciler/node/embedded"
)

// lifeVariable has a run of this binary lead a pod's life in the directory it names, with the image after it, until it has
// seen the directory change as often as the number before both, and then kill itself.
const lifeVariable = "BELAY_TEST_LIFE"

const mortalPod types.UID = "00000000-0000-4000-8000-0000000000e1"

// life is one step of a pod after the other, each told in advance.
func life(ctx context.Context, r *embedded.Runtime, ref string, told func(step string)) error {
	told("pull")
	img, err := r.Pull(ctx, ref, nil)
	if err != nil {
		return err
	}
	told("run")
	if _, err := r.RunPod(ctx, node.Sandbox{UID: mortalPod, Namespace: "default", Name: "p", Hostname: "p"}); err != nil {
		return err
	}
	told("start")
	id, err := r.Start(ctx, node.Container{Pod: mortalPod, Name: "c", Ref: ref, Image: img.ID, Args: []string{"forever"}})
	if err != nil {
		return err
	}
	told("stop")
	if err := r.Stop(ctx, id, 0); err != nil {
		return err
	}
	told("remove")
	if err := r.Remove(ctx, id); err != nil {
		return err
	}
	told("remove pod")
	return r.RemovePod(ctx, mortalPod)
}

// live leads a life until it is killed.
func live(ctx context.Context, text string) error {
	count, rest, _ := strings.Cut(text, " ")
	dir, ref, _ := strings.Cut(rest, " ")
	left, err := strconv.Atoi(count)
	if err != nil {
		return err
	}
	r, err := embedded.Open(ctx, options(dir))
	if err != nil {
		return err
	}
	go func() { // ends with the process
		for before := listing(dir); ; {
			if now := listing(dir); now != before {
				before = now
				if left--; left <= 0 {
					_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
				}
			}
		}
	}()
	return life(ctx, r, ref, func(step string) { fmt.Println(step) })
}

func options(dir string) embedded.Options {
	return embedded.Options{
		Pods: filepath.Join(dir, "pods"), Images: filepath.Join(dir, "images"), Shim: filepath.Join(binaries, "belay-shim"),
		Beacons: []string{filepath.Join(dir, "run")},
	}
}

// listing is what lies in a directory; what goes meanwhile is not there.
func listing(dir string) string {
	var out []string
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, _ error) error {
		if d == nil {
			return nil
		}
		out = append(out, path)
		if d.Name() == "rootfs" {
			return fs.SkipDir
		}
		return nil
	})
	return strings.Join(out, "\n")
}

// TestKilledAtEveryStep: the process that runs pods is killed as its files change, at another change each time. The next one
// takes over what there is, starts nothing twice, and nothing is left in the end: no process, directory or control group.
func TestKilledAtEveryStep(t *testing.T) {
	dir := t.TempDir()
	r := open(t, options(dir)) // skips where there are no namespaces
	hosts, err := registries()
	if err != nil {
		t.Fatal(err)
	}
	ref := hosts[0] + "/belay/app:1"
	const most, stride = 60, 5 // changes of the files: more than a whole life makes, and how many are left out
	var steps []string
	for n := 1; n <= most; n += stride {
		step, whole := killedAfter(t, n, dir, ref)
		if steps = append(steps, step); t.Failed() {
			t.Fatalf("killed after change %d, at %s", n, step)
		}
		takeOver(t, dir, ref)
		if t.Failed() {
			t.Fatalf("after one was killed after change %d, at %s", n, step)
		}
		if whole {
			break
		}
	}
	r.Wait()
	t.Logf("killed at: %s", strings.Join(slices.Compact(steps), ", "))
}

// again is a run of this binary that a variable says what to do, with the binaries of this one.
func again(ctx context.Context, variable string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Env = append(os.Environ(), variable, binariesVariable+"="+binaries)
	cmd.WaitDelay = time.Second
	return cmd
}

// killedAfter has a process lead a life until it is killed; whole says that it came to the end first.
func killedAfter(t *testing.T, n int, dir, ref string) (step string, whole bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := again(ctx, fmt.Sprintf("%s=%d %s %s", lifeVariable, n, dir, ref))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		step = lines.Text()
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return step, true
	case errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL && ctx.Err() == nil:
		return step, false
	}
	t.Fatalf("%v, at %q: %s", err, step, said.String())
	return "", false
}

// takeOver has the next process lead the same life, and looks at it on the way.
func takeOver(t *testing.T, dir, ref string) {
	t.Helper()
	r, err := embedded.Open(t.Context(), options(dir))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	err = life(ctx, r, ref, func(step string) {
		state, ok, err := r.Pod(ctx, mortalPod)
		if err != nil {
			t.Errorf("%s: %v", step, err)
		}
		if n := len(shims(t, dir)); n > 1 {
			t.Errorf("%s: %d processes hold the pod", step, n)
		}
		running := slices.DeleteFunc(slices.Clone(state.Containers), func(c node.ContainerState) bool { return c.Phase != node.PhaseRunning })
		if len(state.Containers) > 1 || len(running) > 1 {
			t.Errorf("%s: %+v", step, state.Containers)
		}
		if step == "start" && (!ok || !state.Sandbox.Running) {
			t.Errorf("%s: %+v", step, state)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	r.Wait()
	img, ok, err := r.Image(ctx, ref)
	if err != nil || !ok {
		t.Fatalf("the image is there: %v, %v", ok, err)
	}
	if gone, err := r.Discard(ctx, node.PulledImage{Ref: ref, ID: img.ID, Digest: img.Digest}); !gone || err != nil {
		t.Errorf("the image is gone: %v, %v", gone, err)
	}
	if left := shims(t, dir); len(left) > 0 {
		t.Errorf("processes left: %v", left)
	}
	for _, sub := range []string{"pods", "run"} {
		if left, err := os.ReadDir(filepath.Join(dir, sub)); len(left) > 0 || err != nil {
			t.Errorf("left in %s: %v, %v", sub, left, err)
		}
	}
	for _, pattern := range []string{"unpack-*", "sha256/*"} {
		if left, err := filepath.Glob(filepath.Join(dir, "images", pattern)); len(left) > 0 || err != nil {
			t.Errorf("left of images: %v, %v", left, err)
		}
	}
	mounts, err := os.Open("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	defer mounts.Close()
	if text, err := io.ReadAll(mounts); err != nil || strings.Contains(string(text), dir) {
		t.Errorf("mounts are left, %v", err)
	}
}

// shims are the processes that hold pods below a directory.
func shims(t testing.TB, dir string) (pids []string) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range all {
		if text, err := os.ReadFile(file); err == nil && strings.HasPrefix(string(text), "belay-shim\x00__shim\x00"+dir+"/") {
			pids = append(pids, filepath.Base(filepath.Dir(file)))
		}
	}
	return pids
}
