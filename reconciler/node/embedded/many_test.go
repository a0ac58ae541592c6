//go:build linux

package embedded_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"

	"github.com/belay-dev/belay/reconciler/node"
	"github.com/belay-dev/belay/reconciler/node/embedded"
)

// TestManyAtOnce: many pods are started at once, all answer, another process takes them over, and all go at once. Nothing of
// them is left: no process, directory, control group, mount or socket.
func TestManyAtOnce(t *testing.T) {
	const many = 40
	dir := t.TempDir()
	atOnce(t, many, options(dir), dir, func(string, time.Duration) {})
}

// atOnce is a life of many pods below a directory, of which told is told how long each part took, at its end.
func atOnce(t testing.TB, many int, o embedded.Options, dir string, told func(part string, took time.Duration)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	r := open(t, o)
	hosts, err := registries()
	if err != nil {
		t.Fatal(err)
	}
	ref := hosts[0] + "/belay/app:1"
	img, err := r.Pull(ctx, ref, nil)
	if err != nil {
		t.Fatal(err)
	}
	uid := func(i int) types.UID { return types.UID(fmt.Sprintf("00000000-0000-4000-8000-%012x", 0xaa0000+i)) }
	all := func(part string, f func(i int) error) {
		t.Helper()
		begin := time.Now()
		var group sync.WaitGroup
		var failed atomic.Int64
		for i := range many {
			group.Go(func() {
				if err := f(i); err != nil && failed.Add(1) == 1 {
					t.Errorf("%s: %v", part, err)
				}
			})
		}
		group.Wait()
		if n := failed.Load(); n > 0 {
			t.Fatalf("%s: %d of %d failed", part, n, many)
		}
		told(part, time.Since(begin))
	}
	defer func() { // of a test that failed
		for i := range many {
			_ = r.RemovePod(context.WithoutCancel(ctx), uid(i))
		}
		r.Wait()
	}()
	all("start", func(i int) error {
		if _, err := r.RunPod(ctx, node.Sandbox{UID: uid(i), Namespace: "default", Name: "p", Hostname: "p"}); err != nil {
			return err
		}
		_, err := r.Start(ctx, node.Container{Pod: uid(i), Name: "c", Ref: ref, Image: img.ID, Args: []string{"serve", "80"}})
		return err
	})
	all("ready", func(i int) error { return answers(ctx, r, uid(i)) })
	if n := len(shims(t, dir)); n != many {
		t.Errorf("%d processes hold %d pods", n, many)
	}
	begin := time.Now()
	next := open(t, o)
	found, err := next.List(ctx)
	told("adoption", time.Since(begin))
	if err != nil || len(found) != many {
		t.Fatalf("%d of %d pods are found, %v", len(found), many, err)
	}
	for _, p := range found {
		if !p.Sandbox.Running || len(p.Containers) != 1 || p.Containers[0].Phase != node.PhaseRunning {
			t.Errorf("found %+v", p)
		}
	}
	all("removal", func(i int) error { return next.RemovePod(ctx, uid(i)) })
	r.Wait()
	nothingLeft(t, dir, found)
}

// answers returns once the server of a pod does.
func answers(ctx context.Context, r *embedded.Runtime, uid types.UID) error {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return r.Dial(ctx, uid, 80)
	}}}
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://pod/ready", nil)
		if err != nil {
			return err
		}
		answer, err := client.Do(request)
		if err == nil {
			return answer.Body.Close()
		}
		if ctx.Err() != nil {
			return err
		}
		<-time.After(time.Millisecond) // it has not begun to listen
	}
}

// nothingLeft looks for what pods that were removed have left.
func nothingLeft(t testing.TB, dir string, pods []node.PodState) {
	t.Helper()
	if left := shims(t, dir); len(left) > 0 {
		t.Errorf("processes left: %v", left)
	}
	for _, sub := range []string{"pods", "run"} {
		if left, err := os.ReadDir(filepath.Join(dir, sub)); len(left) > 0 || err != nil {
			t.Errorf("left in %s: %d, %v", sub, len(left), err)
		}
	}
	for _, file := range []string{"/proc/self/mounts", "/proc/net/unix"} {
		if text, err := os.ReadFile(file); err != nil || strings.Contains(string(text), dir) {
			t.Errorf("%s has something of them, %v", file, err)
		}
	}
	var groups []string
	for _, pattern := range []string{"/sys/fs/cgroup/belay/*", "/sys/fs/cgroup/*/belay/*", "/sys/fs/cgroup/*/*/belay/*"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		groups = append(groups, found...)
	}
	for _, p := range pods {
		for _, g := range groups {
			if strings.Contains(g, p.Sandbox.ID) {
				t.Errorf("control group %s is left", g)
			}
		}
	}
}

// beginVariable has a run of this binary begin a pod in the directory it names, with the image after it, and end.
const beginVariable = "BELAY_TEST_BEGIN"

// begin begins a pod and leaves it to whoever comes.
func begin(ctx context.Context, text string) error {
	dir, ref, _ := strings.Cut(text, " ")
	r, err := embedded.Open(ctx, options(dir))
	if err != nil {
		return err
	}
	img, err := r.Pull(ctx, ref, nil)
	if err != nil {
		return err
	}
	if _, err := r.RunPod(ctx, node.Sandbox{UID: mortalPod, Namespace: "default", Name: "p", Hostname: "p"}); err != nil {
		return err
	}
	_, err = r.Start(ctx, node.Container{Pod: mortalPod, Name: "c", Ref: ref, Image: img.ID, Args: []string{"forever"}})
	return err
}

// TestZombieShim: the process that held a pod was killed, and nobody waits for it, as on a machine, or in a container, whose
// first process does not: the pod is dead all the same, and another takes its place.
func TestZombieShim(t *testing.T) {
	dir := t.TempDir()
	r := open(t, options(dir))
	hosts, err := registries()
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0); err != nil {
			t.Error(err)
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	first := again(ctx, beginVariable+"="+dir+" "+hosts[0]+"/belay/app:1")
	if out, err := first.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	left := shims(t, dir)
	if len(left) != 1 {
		t.Fatalf("pods are held by %v", left)
	}
	before, _, err := r.Pod(ctx, mortalPod)
	if err != nil || !before.Sandbox.Running {
		t.Fatalf("%+v, %v", before, err)
	}
	killShim(t, before.Sandbox.ID)
	for { // its end is seen, and it stays
		text, err := os.ReadFile("/proc/" + left[0] + "/stat")
		if err != nil || ctx.Err() != nil {
			t.Fatalf("the process is no zombie: %v, %v", err, ctx.Err())
		}
		if strings.Contains(string(text), ") Z ") {
			break
		}
	}
	after, _, err := r.Pod(ctx, mortalPod)
	if err != nil || after.Sandbox.Running || len(after.Containers) != 1 || after.Containers[0].Exit != 137 {
		t.Errorf("the dead pod is %+v, %v", after, err)
	}
	if state, err := r.RunPod(ctx, before.Pod); err != nil || !state.Running || state.ID == before.Sandbox.ID {
		t.Errorf("another in its place: %+v, %v", state, err)
	}
	if err := r.RemovePod(ctx, mortalPod); err != nil {
		t.Error(err)
	}
	r.Wait()
	var pid int
	if _, err := fmt.Sscan(left[0], &pid); err != nil {
		t.Fatal(err)
	}
	if _, err := syscall.Wait4(pid, nil, 0, nil); err != nil {
		t.Errorf("it was waited for: %v", err)
	}
	nothingLeft(t, dir, []node.PodState{before})
}

// TestNoNamespaces: where a user may make no namespaces, the driver is refused in words that say so.
func TestNoNamespaces(t *testing.T) {
	dir := t.TempDir()
	open(t, options(dir)) // skips where there are none for another reason
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	cmd := again(ctx, refusedVariable+"="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 1000, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 1000, HostID: os.Getegid(), Size: 1}},
		AmbientCaps: []uintptr{unix.CAP_SYS_RESOURCE},
	}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.ExitCode() == powerless:
		t.Skipf("namespaces cannot be forbidden here: %s", out)
	case err != nil:
		t.Fatalf("%v: %s", err, out)
	}
	if text := string(out); !strings.Contains(text, "pods cannot run in namespaces here: make namespaces: ") {
		t.Errorf("it says %q", text)
	}
}

// refusedVariable has a run of this binary be refused over the directory it names.
const refusedVariable = "BELAY_TEST_REFUSED"

// refused forbids this process all user namespaces, and says why the driver is not to be had.
func refused(ctx context.Context, dir string) error {
	if err := os.WriteFile("/proc/sys/user/max_user_namespaces", []byte("0"), 0); err != nil {
		fmt.Println(err)
		os.Exit(powerless) // as in a container that may not write there
	}
	_, err := embedded.Open(ctx, options(dir))
	if err == nil {
		return fmt.Errorf("it opens")
	}
	fmt.Println(err)
	return nil
}
