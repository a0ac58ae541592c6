//go:build linux

package embedded_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
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
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/remotecommand"

	"net/http/httptest"

	"github.com/belay-dev/belay/reconciler/node"
	"github.com/belay-dev/belay/reconciler/node/embedded"
	"github.com/belay-dev/belay/reconciler/node/image"
)

// faulty is a machine with the image of testdata/faults.
type faulty struct {
	*testing.T
	*embedded.Runtime
	dir, image string
	ctx        context.Context
}

func (f *faulty) Context() context.Context { return f.ctx }

func openFaulty(t *testing.T, with func(*embedded.Options)) *faulty {
	t.Helper()
	f := &faulty{T: t, dir: t.TempDir()}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	t.Cleanup(cancel)
	f.ctx = ctx
	o := embedded.Options{Pods: filepath.Join(f.dir, "pods"), Images: filepath.Join(f.dir, "images")}
	if with != nil {
		with(&o)
	}
	f.Runtime = open(t, o)
	program, err := os.ReadFile(filepath.Join(binaries, "faults"))
	if err != nil {
		t.Fatal(err)
	}
	img, err := image.Single{Architecture: runtime.GOARCH, Name: "/faults", Program: program}.Image()
	if err != nil {
		t.Fatal(err)
	}
	shelf := httptest.NewServer(registry.New())
	t.Cleanup(shelf.Close)
	ref, err := name.ParseReference(strings.TrimPrefix(shelf.URL, "http://") + "/faults:1")
	if err == nil {
		err = remote.Write(ref, img)
	}
	if err != nil {
		t.Fatal(err)
	}
	pulled, err := f.Pull(ctx, ref.String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	f.image = pulled.ID
	return f
}

// pod runs a pod with a container that does something faulty.
func (f *faulty) pod(n int, with func(*node.Container), args ...string) (types.UID, string) {
	f.Helper()
	uid := types.UID(fmt.Sprintf("00000000-0000-4000-8000-%012x", 0xfa0000+n))
	f.Cleanup(func() {
		if err := f.RemovePod(context.WithoutCancel(f.Context()), uid); err != nil {
			f.Error(err)
		}
	})
	if _, err := f.RunPod(f.Context(), node.Sandbox{UID: uid, Namespace: "default", Name: "p", Hostname: "p"}); err != nil {
		f.Fatal(err)
	}
	c := node.Container{Pod: uid, Name: "c", Ref: "faults", Image: f.image, Args: args}
	if with != nil {
		with(&c)
	}
	id, err := f.Start(f.Context(), c)
	if err != nil {
		f.Fatal(err)
	}
	return uid, id
}

// says waits until a container has said something, and returns its log.
func (f *faulty) says(id, what string) string {
	f.Helper()
	r, err := f.Logs(f.Context(), id, node.LogOptions{Follow: true})
	if err != nil {
		f.Fatal(err)
	}
	defer r.Close()
	var out strings.Builder
	for b := make([]byte, 1024); !strings.Contains(out.String(), what); {
		n, err := r.Read(b)
		out.Write(b[:n])
		if err != nil {
			if !errors.Is(err, io.EOF) || !strings.Contains(out.String(), what) {
				f.Fatalf("%q does not come: %v, %s", what, err, out.String())
			}
		}
	}
	return out.String()
}

// run runs a command in a container.
func (f *faulty) run(id string, args ...string) (string, error) {
	f.Helper()
	var out, errs bytes.Buffer
	_, err := f.Exec(f.Context(), id, append([]string{"/faults"}, args...), remotecommand.StreamOptions{Stdout: &out, Stderr: &errs})
	return out.String() + errs.String(), err
}

// TestForkBomb: a container that starts processes without end comes to one, by its control group or by a limit of its user,
// harms no other pod, and goes with all of them.
func TestForkBomb(t *testing.T) {
	const most = 64
	f := openFaulty(t, func(o *embedded.Options) { o.Processes = most })
	m := f.Machine()
	if !slices.Contains(m.Bounded, "pids") && m.Processes == 0 {
		if !strings.Contains(m.String(), "nothing bounds how many processes a pod has") || f.Unenforced(node.Resources{}) == "" {
			t.Errorf("it does not say so: %s", m)
		}
		t.Skip(m)
	}
	if m.Processes != 0 && !strings.Contains(m.String(), fmt.Sprintf("a pod has at most %d processes", most)) {
		t.Errorf("it does not say so: %s", m)
	}
	_, good := f.pod(1, nil, "wait")
	uid, bad := f.pod(2, nil, "bomb")
	said := f.says(bad, "\n")
	n, err := strconv.Atoi(strings.TrimPrefix(strings.SplitN(said, ":", 2)[0], "ended after "))
	if err != nil || n >= most || n == 0 || !strings.Contains(said, "resource temporarily unavailable") {
		t.Errorf("the bomb says %q", said)
	}
	if out, err := f.run(good, "processes"); err != nil || strings.Count(out, "\n") != 2 {
		t.Errorf("in the pod beside it: %q, %v", out, err)
	}
	state, ok, err := f.Pod(f.Context(), uid)
	if err != nil || !ok || !state.Sandbox.Running || state.Containers[0].Phase != node.PhaseRunning {
		t.Errorf("the pod with the bomb is %+v, %v, %v", state, ok, err)
	}
	if err := f.RemovePod(f.Context(), uid); err != nil {
		t.Fatal(err)
	}
}

// TestOrphans: what a command leaves behind in a container belongs to the container's first process; and a command whose process
// outside is killed ends, and leaves no zombie with the pod's.
func TestOrphans(t *testing.T) {
	f := openFaulty(t, nil)
	uid, id := f.pod(1, nil, "wait")
	if out, err := f.run(id, "orphan"); err != nil || out != "" {
		t.Fatalf("%q, %v", out, err)
	}
	if out, err := f.run(id, "processes"); err != nil || strings.Count(out, " left wait ") != 1 {
		t.Errorf("%q, %v", out, err)
	}
	const commands = 5
	var running sync.WaitGroup
	for range commands {
		running.Go(func() { _, _ = f.run(id, "wait") }) // it is killed
	}
	shim := f.shimOf(uid)
	for killed := map[string]bool{}; len(killed) < commands; {
		for pid, args := range f.childrenOf(shim) {
			if strings.Contains(args, "__nsexec") && !killed[pid] && len(f.childrenOf(pid)) > 0 {
				f.kill(pid)
				killed[pid] = true
			}
		}
		f.bounded("the commands begin")
	}
	running.Wait()
	for {
		left := f.childrenOf(shim) // the container is one
		out, err := f.run(id, "processes")
		if err == nil && len(left) <= 2 && strings.Count(out, "/faults wait") == 1 { // and this command
			break
		}
		f.bounded(fmt.Sprintf("the commands end: %v, %q, %v", left, out, err))
	}
	for { // the last command of this test may not have been waited for yet
		left := f.childrenOf(shim)
		if len(left) == 1 {
			break
		}
		f.bounded(fmt.Sprintf("there are zombies: %v", left))
	}
}

// bounded fails a test that does not come to its end.
func (f *faulty) bounded(what string) {
	f.Helper()
	if f.Context().Err() != nil {
		f.Fatal(what)
	}
	runtime.Gosched()
}

// shimOf is the process that holds a pod.
func (f *faulty) shimOf(uid types.UID) string {
	f.Helper()
	for _, pid := range shims(f.T, filepath.Join(f.dir, "pods", string(uid))) {
		return pid
	}
	f.Fatal("no process holds the pod")
	return ""
}

// childrenOf are the children of a process, with their arguments; a zombie has none.
func (f *faulty) childrenOf(pid string) map[string]string {
	f.Helper()
	out := map[string]string{}
	all, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range all {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has gone
		}
		_, rest, _ := strings.Cut(string(text), ") ")
		if fields := strings.Fields(rest); len(fields) > 1 && fields[1] == pid {
			args, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "cmdline"))
			out[filepath.Base(filepath.Dir(file))] = string(args)
		}
	}
	return out
}

func (f *faulty) kill(pid string) {
	f.Helper()
	n, err := strconv.Atoi(pid)
	if err == nil {
		err = syscall.Kill(n, syscall.SIGKILL)
	}
	if err != nil {
		f.Fatal(err)
	}
}

// TestDeviceNodes: a device node that a container makes is no device, wherever it makes it, but for a privileged one.
func TestDeviceNodes(t *testing.T) {
	f := openFaulty(t, nil)
	volume := filepath.Join(f.dir, "volume")
	if err := os.Mkdir(volume, 0o777); err != nil {
		t.Fatal(err)
	}
	mounts := func(c *node.Container) { c.Mounts = []node.Mount{{Source: volume, Target: "/volume"}} }
	_, id := f.pod(1, mounts, "wait")
	want := "permission denied"
	if os.Geteuid() != 0 {
		want = "operation not permitted" // in a user namespace there are none
	}
	for _, file := range []string{"/null", "/dev/other", "/dev/shm/null", "/volume/null"} {
		if out, err := f.run(id, "device", file); err != nil || !strings.Contains(out, want) {
			t.Errorf("%s: %q, %v, want %q", file, out, err, want)
		}
	}
	if os.Geteuid() != 0 {
		return
	}
	_, id = f.pod(2, func(c *node.Container) { c.Security.Privileged = true }, "wait")
	if out, err := f.run(id, "device", "/null"); err != nil || out != "" {
		t.Errorf("privileged: %q, %v", out, err)
	}
}

// TestSetuid: nobody else on the machine comes to a set-user-ID program of an image, and one without root has no such
// programs in its containers either.
func TestSetuid(t *testing.T) {
	f := openFaulty(t, nil)
	for _, dir := range []string{"pods", "images"} {
		info, err := os.Stat(filepath.Join(f.dir, dir))
		if err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s is open to others: %v, %v", dir, info, err)
		}
	}
	uid, _ := f.pod(1, nil, "wait")
	var container string
	for pid, args := range f.childrenOf(f.shimOf(uid)) {
		if strings.HasPrefix(args, "/faults") {
			container = pid
		}
	}
	var st unix.Statfs_t
	if err := unix.Statfs(filepath.Join("/proc", container, "root"), &st); err != nil {
		t.Fatal(err)
	}
	if st.Flags&unix.ST_NODEV == 0 || (st.Flags&unix.ST_NOSUID != 0) != (os.Geteuid() != 0) {
		t.Errorf("the container's files have flags %x", st.Flags)
	}
	if said := strings.Contains(f.Machine().String(), "set-user-ID programs as who runs them"); said != (os.Geteuid() != 0) {
		t.Errorf("said: %s", f.Machine())
	}
}
