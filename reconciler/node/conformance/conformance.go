package conformance

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/belay-dev/belay/reconciler/node"
)

// World is an engine with a registry. Tests may share one: Images alone pulls anything.
type World struct {
	// Open is a driver over the engine, which may have several, as processes have that follow each other.
	Open func(t *testing.T) node.Runtime
	// App is present, and runs package program. Its entrypoint is /program.
	App string
	// Served can be pulled, and is not present. Guarded can be pulled with Credential alone. Missing is not there, and
	// Down's registry does not answer.
	Served, Guarded, Missing, Down string
	Credential                     node.Credential
	// Unbounded says why a limit of memory does not hold on this machine; empty: it does.
	Unbounded string
	// NoTerminal says why containers have no terminal and no standard input; empty: they do.
	NoTerminal string
	// NoGroup says why a volume can belong to no group but root's; empty: it can.
	NoGroup string
	// Kill kills a run, KillSandbox a sandbox, by ID, as somebody at the machine might.
	Kill, KillSandbox func(t *testing.T, id string)
}

// Run runs the suite.
func Run(t *testing.T, world func(t *testing.T) World) {
	for name, test := range map[string]func(b *bench){
		"Sandbox": sandbox, "SandboxEnds": sandboxEnds, "Run": run, "Configuration": configuration, "Restarts": restarts,
		"Stop": stop, "KilledFromOutside": killed, "MissingEntrypoint": missingEntrypoint, "OutOfMemory": outOfMemory,
		"Logs": logs, "Exec": exec, "Attach": attach, "Terminal": terminal, "Dial": dial, "Images": images, "Memory": memory, "Adoption": adoption, "Watch": watch,
	} {
		t.Run(name, func(t *testing.T) {
			ctx, done := bounded(t)
			defer done()
			w := world(t)
			test(&bench{T: t, World: w, Runtime: w.Open(t), ctx: ctx})
		})
	}
}

// How long a test may take, on a slow machine under load, and what a driver that does not see the end of that is left for
// before the process ends and says where it stands.
const (
	limit  = 4 * time.Minute
	beyond = time.Minute
)

// bounded ends what a test does when it hangs.
func bounded(t *testing.T) (context.Context, func()) {
	ctx, cancel := context.WithTimeoutCause(t.Context(), limit, errors.New("the test hangs"))
	watchdog := time.AfterFunc(limit+beyond, func() {
		debug.SetTraceback("all")
		panic(t.Name() + " hangs, although its context has ended")
	})
	return ctx, func() {
		watchdog.Stop()
		cancel()
	}
}

// bench is one test over one driver.
type bench struct {
	*testing.T
	World
	node.Runtime
	ctx context.Context
}

// Context ends with the test, and when that hangs.
func (b *bench) Context() context.Context { return b.ctx }

// ended waits for what a call that goes on beside the test returns.
func (b *bench) ended(what string, result <-chan error) error {
	b.Helper()
	select {
	case err := <-result:
		return err
	case <-b.Context().Done():
		b.Fatalf("%s goes on: %v", what, context.Cause(b.Context()))
		return nil
	}
}

var pods atomic.Int64

// pod runs a pod, and removes it with the test.
func (b *bench) pod(with ...func(*node.Sandbox)) node.Sandbox {
	b.Helper()
	n := pods.Add(1)
	p := node.Sandbox{
		UID: types.UID(fmt.Sprintf("00000000-0000-4000-8000-%012x", n)), Namespace: "default", Name: fmt.Sprintf("conformance-%d", n),
		Hostname: fmt.Sprintf("host-%d", n), Ports: []int32{80},
		Origin: node.Origin{Instance: "conformance", Source: "https://git.example.com/shop.git", Deployment: "web", Images: []string{b.App}},
	}
	for _, f := range with {
		f(&p)
	}
	// What an earlier run left, when it was killed.
	if err := b.RemovePod(b.Context(), p.UID); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(b.Context()), limit)
		defer cancel()
		if err := b.RemovePod(ctx, p.UID); err != nil {
			b.Error(err)
		}
	})
	if _, err := b.RunPod(b.Context(), p); err != nil {
		b.Fatal(err)
	}
	return p
}

// container is the first run of one that does a verb.
func (b *bench) container(p node.Sandbox, args ...string) node.Container {
	b.Helper()
	img, ok, err := b.Image(b.Context(), b.App)
	if err != nil || !ok {
		b.Fatalf("image %s is present: %v, %v", b.App, ok, err)
	}
	return node.Container{Pod: p.UID, Name: "c", Ref: b.App, Image: img.ID, Args: args}
}

// start starts a container and returns its ID.
func (b *bench) start(c node.Container) string {
	b.Helper()
	id, err := b.Start(b.Context(), c)
	if err != nil {
		b.Fatal(err)
	}
	return id
}

// await waits until a pod is as wanted, and returns it.
func (b *bench) await(uid types.UID, wanted func(node.PodState) bool) node.PodState {
	b.Helper()
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	hints := make(chan types.UID, 1)
	ended := make(chan error, 1)
	go func() {
		ended <- b.Runtime.Watch(ctx, func(uid types.UID) {
			select {
			case hints <- uid:
			case <-ctx.Done():
			}
		})
	}()
	defer func() {
		cancel()
		<-ended // it ends with its context
	}()
	for {
		state, _, err := b.Pod(b.Context(), uid)
		if err != nil {
			b.Fatal(err)
		}
		if wanted(state) {
			return state
		}
		select {
		case <-hints:
		case <-tick(): // what happened before the watch began has no hint
		case err := <-ended:
			ended <- err
			b.Fatalf("watch: %v", err)
		case <-b.Context().Done():
			b.Fatalf("pod is still %+v: %v", state, context.Cause(b.Context()))
		}
	}
}

// over waits until a run has ended.
func (b *bench) over(uid types.UID, id string) node.ContainerState {
	b.Helper()
	var out node.ContainerState
	b.await(uid, func(s node.PodState) bool {
		for _, c := range s.Containers {
			if c.ID == id && c.Phase == node.PhaseExited {
				out = c
				return true
			}
		}
		return false
	})
	return out
}
