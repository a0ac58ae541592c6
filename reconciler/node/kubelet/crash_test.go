package kubelet_test

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/remotecommand"

	"github.com/belay-dev/belay/reconciler/node"
	"github.com/belay-dev/belay/state"
)

var errKilled = errors.New("the process was killed")

// mortal is a driver whose process is killed at one of its calls: before the call, or after what it did. No call of that
// process does anything from then on.
type mortal struct {
	node.Runtime
	after bool

	mu   sync.Mutex
	left int // calls until then
	dead bool
}

func (m *mortal) killed() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.dead
}

// enter counts a call and says whether it does anything, and whether it is the last.
func (m *mortal) enter() (does, last bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead {
		return false, false
	}
	m.left--
	m.dead = m.left == 0
	return !m.dead || m.after, m.dead
}

// call makes one call. A killed process learns nothing from it.
func call[T any](m *mortal, f func() (T, error)) (out T, err error) {
	does, last := m.enter()
	if does {
		out, err = f()
	}
	if !does || last {
		var none T
		return none, errKilled
	}
	return out, err
}

// found is an answer that there may be none of.
type found[T any] struct {
	it T
	ok bool
}

func (m *mortal) RunPod(ctx context.Context, pod node.Sandbox) (node.SandboxState, error) {
	return call(m, func() (node.SandboxState, error) { return m.Runtime.RunPod(ctx, pod) })
}

func (m *mortal) RemovePod(ctx context.Context, uid types.UID) error {
	_, err := call(m, func() (any, error) { return nil, m.Runtime.RemovePod(ctx, uid) })
	return err
}

func (m *mortal) Pod(ctx context.Context, uid types.UID) (node.PodState, bool, error) {
	a, err := call(m, func() (found[node.PodState], error) {
		s, ok, err := m.Runtime.Pod(ctx, uid)
		return found[node.PodState]{s, ok}, err
	})
	return a.it, a.ok, err
}

func (m *mortal) Start(ctx context.Context, c node.Container) (string, error) {
	return call(m, func() (string, error) { return m.Runtime.Start(ctx, c) })
}

func (m *mortal) Stop(ctx context.Context, id string, grace time.Duration) error {
	_, err := call(m, func() (any, error) { return nil, m.Runtime.Stop(ctx, id, grace) })
	return err
}

func (m *mortal) Remove(ctx context.Context, id string) error {
	_, err := call(m, func() (any, error) { return nil, m.Runtime.Remove(ctx, id) })
	return err
}

func (m *mortal) Image(ctx context.Context, ref string) (node.Image, bool, error) {
	a, err := call(m, func() (found[node.Image], error) {
		i, ok, err := m.Runtime.Image(ctx, ref)
		return found[node.Image]{i, ok}, err
	})
	return a.it, a.ok, err
}

func (m *mortal) Exec(ctx context.Context, id string, command []string, o remotecommand.StreamOptions) (int, error) {
	return call(m, func() (int, error) { return m.Runtime.Exec(ctx, id, command, o) })
}

func (m *mortal) Logs(ctx context.Context, id string, o node.LogOptions) (io.ReadCloser, error) {
	return call(m, func() (io.ReadCloser, error) { return m.Runtime.Logs(ctx, id, o) })
}

func (m *mortal) Dial(ctx context.Context, uid types.UID, port int32) (net.Conn, error) {
	return call(m, func() (net.Conn, error) { return m.Runtime.Dial(ctx, uid, port) })
}

// TestKilledAtEachCall has a pod with an init container start, lose its container, and end, and the process killed once in
// each run, at another call every time: nothing is started twice or forgotten, and nothing is left.
func TestKilledAtEachCall(t *testing.T) {
	for _, after := range []bool{false, true} {
		n := 0
		for more := true; more; {
			n++
			bench(t, func(d *desk) { more = d.killedAt(n, after) })
			if t.Failed() {
				t.Fatal(map[bool]string{false: "killed before call", true: "killed after call"}[after], n)
			}
		}
		if n < 20 {
			t.Errorf("only %d calls were made", n)
		}
	}
}

// killedAt reports whether it came to the n-th call.
func (d *desk) killedAt(n int, after bool) bool {
	var first *mortal
	d.stop()
	d.between = func(r node.Runtime) node.Runtime {
		first = &mortal{Runtime: r, left: n, after: after}
		return first
	}
	d.start()
	d.between = nil
	restarted := false
	pass := func(seconds int) {
		for range seconds {
			d.pass(time.Second)
			if first.killed() && !restarted {
				d.stop()
				d.start()
				restarted = true
			}
		}
	}
	expect := func(want ...string) {
		d.t.Helper()
		if got := d.engine.Started(); !slices.Equal(got, want) {
			d.t.Errorf("started %q, want %q", got, want)
		}
	}
	p := pod("a", "forever")
	p.Spec.InitContainers = []corev1.Container{container("one", "exit", "0")}
	hook := &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"/program", "exit", "0"}}}
	p.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PostStart: hook, PreStop: hook}
	uid := d.create(p)
	pass(30)
	expect("a/one/0", "a/c/0")
	d.expect("a", "Running ready\none Completed(0)\nc running")
	d.engine.Kill(uid, "c")
	pass(60)
	expect("a/c/1")
	d.expect("a", "Running ready\none Completed(0)\nc running, before Error(137), restarts 1")
	d.delete("a", state.DeleteOptions{})
	pass(60)
	expect()
	if _, ok := state.Get[*corev1.Pod](d.store, "default", "a"); ok {
		d.t.Error("the pod is there still")
	}
	synctest.Wait()
	if all, err := d.engine.Runtime().List(d.t.Context()); len(all) != 0 || err != nil {
		d.t.Errorf("the engine has %d pods, %v", len(all), err)
	}
	return first.killed()
}
