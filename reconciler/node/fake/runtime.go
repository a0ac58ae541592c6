package fake

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/belay-dev/belay/reconciler/node"
	"github.com/belay-dev/belay/reconciler/node/conformance/program"
)

// ErrGone is what every method returns while the engine does not answer.
var ErrGone = errors.New("cannot connect to the engine")

// Program is the process of a container: it returns its exit status when ctx ends (SIGTERM) or before.
type Program func(ctx context.Context, p program.Process) int

// Engine is what outlives a Runtime, as an engine outlives the process that asked it. It is safe for concurrent use.
type Engine struct {
	now func() time.Time

	mu       sync.Mutex
	gone     error
	watchers map[chan types.UID]bool // buffered by one: a watcher that is behind is told everything
	pods     map[types.UID]*pod
	images   map[string]*stock
	moved    []*stock // present, and no name stands for them any more
	filled   float64
	started  []string // every Start that succeeded: POD/NAME/ATTEMPT
	next     int
	broken   chan struct{} // closed when the engine goes
	running  sync.WaitGroup
}

type stock struct {
	node.Image
	program Program
	present bool
	pulls   int
	refusal error
	guard   node.Credential // what it takes to pull it
	wait    <-chan struct{}
}

type pod struct {
	spec       node.Sandbox
	sandbox    node.SandboxState
	containers []*container
	listeners  map[string]*listener
}

type container struct {
	node.ContainerState
	spec  node.Container
	log   *log
	term  context.CancelFunc
	ended chan struct{}
	ports []string // that it listens on
}

// NewEngine is an engine without images and pods.
func NewEngine(now func() time.Time) *Engine {
	return &Engine{
		now: now, watchers: map[chan types.UID]bool{}, pods: map[types.UID]*pod{}, images: map[string]*stock{},
		broken: make(chan struct{}),
	}
}

// Serve has the registry serve an image; present puts it on the machine too.
func (e *Engine) Serve(ref string, p Program, present bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	id := ref
	if before := e.images[ref]; before != nil && before.ID != "" { // the name comes to stand for another image when it is pulled
		e.next++
		id = fmt.Sprintf("%s-%d", ref, e.next)
		if before.present {
			e.moved = append(e.moved, before)
		}
	}
	e.images[ref] = &stock{
		Image:   node.Image{ID: "sha256:" + id, Digest: ref + "@sha256:" + id, Size: 1000},
		program: p, present: present,
	}
}

// User has an image name a user.
func (e *Engine) User(ref, user string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.images[ref].User = user
}

// Refuse has pulls of an image fail; nil ends that. The image is served afterwards if it was before.
func (e *Engine) Refuse(ref string, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.images[ref] == nil {
		e.images[ref] = &stock{}
	}
	e.images[ref].refusal = err
}

// Guard has pulls of an image take a credential.
func (e *Engine) Guard(ref string, c node.Credential) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.images[ref].guard = c
}

// Delay has pulls of an image wait until a channel is closed.
func (e *Engine) Delay(ref string, until <-chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.images[ref].wait = until
}

// Pulls counts how often an image was asked of the registry.
func (e *Engine) Pulls(ref string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.images[ref].pulls
}

// Started lists every container that was started, as POD/NAME/ATTEMPT, and forgets them.
func (e *Engine) Started() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := e.started
	e.started = nil
	return out
}

// Gone has the engine answer nothing until Back. What runs goes on.
func (e *Engine) Gone() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.gone = ErrGone
	close(e.broken)
}

// Back has the engine answer again; with stopped, everything that ran has been killed meanwhile.
func (e *Engine) Back(stopped bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.gone = nil
	e.broken = make(chan struct{})
	if !stopped {
		return
	}
	for uid, p := range e.pods {
		e.stopAll(p)
		p.sandbox.Running = false
		e.tell(uid)
	}
}

// KillRun kills a run by its ID.
func (e *Engine) KillRun(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if uid, c := e.find(id); c != nil && c.Phase == node.PhaseRunning {
		e.end(uid, c, 137, false)
	}
}

// KillSandbox kills a sandbox with all that runs in it.
func (e *Engine) KillSandbox(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for uid, p := range e.pods {
		if p.sandbox.ID == id {
			e.stopAll(p)
			p.sandbox.Running = false
			e.tell(uid)
		}
	}
}

// Kill kills a running container, as somebody at the machine might.
func (e *Engine) Kill(uid types.UID, name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, c := range e.pods[uid].containers {
		if c.Name == name && c.Phase == node.PhaseRunning {
			e.end(uid, c, 137, false)
		}
	}
}

// Wait waits for the processes of all containers, after the last pod was removed.
func (e *Engine) Wait() { e.running.Wait() }

// Runtime is a driver over the engine, of which there may be several, one after the other.
func (e *Engine) Runtime() *Runtime { return &Runtime{e} }

// Runtime is the driver.
type Runtime struct{ e *Engine }

var _ node.Runtime = (*Runtime)(nil)

// enter locks the engine if it answers.
func (r *Runtime) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r.e.mu.Lock()
	if r.e.gone != nil {
		defer r.e.mu.Unlock()
		return r.e.gone
	}
	return nil
}

// tell has every watcher know; the lock is held.
func (e *Engine) tell(uid types.UID) {
	for w := range e.watchers {
		select {
		case w <- uid:
		default:
			select { // behind: everything, in one hint
			case <-w:
			default:
			}
			w <- ""
		}
	}
}

// RunPod implements node.Sandboxes.
func (r *Runtime) RunPod(ctx context.Context, spec node.Sandbox) (node.SandboxState, error) {
	if err := r.enter(ctx); err != nil {
		return node.SandboxState{}, err
	}
	e := r.e
	defer e.mu.Unlock()
	p := e.pods[spec.UID]
	if p == nil {
		p = &pod{spec: spec}
		e.pods[spec.UID] = p
	}
	if p.sandbox.Running {
		return p.sandbox, nil
	}
	e.stopAll(p)
	e.next++
	p.listeners = map[string]*listener{}
	p.sandbox = node.SandboxState{
		ID: fmt.Sprintf("sandbox-%d", e.next), IP: fmt.Sprintf("10.9.%d.%d", e.next/250, e.next%250+1), Running: true, Created: e.now(),
	}
	e.tell(spec.UID)
	return p.sandbox, nil
}

// stopAll kills what runs of a pod; the lock is held.
func (e *Engine) stopAll(p *pod) {
	for _, c := range p.containers {
		if c.Phase == node.PhaseRunning {
			e.end(p.spec.UID, c, 137, false)
		}
	}
}

// RemovePod implements node.Sandboxes.
func (r *Runtime) RemovePod(ctx context.Context, uid types.UID) error {
	if err := r.enter(ctx); err != nil {
		return err
	}
	e := r.e
	defer e.mu.Unlock()
	p := e.pods[uid]
	if p == nil {
		return nil
	}
	e.stopAll(p)
	delete(e.pods, uid)
	e.tell(uid)
	return nil
}

// Pod implements node.Sandboxes.
func (r *Runtime) Pod(ctx context.Context, uid types.UID) (node.PodState, bool, error) {
	if err := r.enter(ctx); err != nil {
		return node.PodState{}, false, err
	}
	defer r.e.mu.Unlock()
	p := r.e.pods[uid]
	if p == nil {
		return node.PodState{}, false, nil
	}
	return p.state(), true, nil
}

func (p *pod) state() node.PodState {
	s := node.PodState{Pod: p.spec, Sandbox: p.sandbox}
	for _, c := range p.containers {
		s.Containers = append(s.Containers, c.ContainerState)
	}
	slices.SortFunc(s.Containers, func(a, b node.ContainerState) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Attempt, b.Attempt))
	})
	return s
}

// List implements node.Sandboxes.
func (r *Runtime) List(ctx context.Context) ([]node.PodState, error) {
	if err := r.enter(ctx); err != nil {
		return nil, err
	}
	defer r.e.mu.Unlock()
	var all []node.PodState
	for _, uid := range slices.Sorted(maps.Keys(r.e.pods)) {
		all = append(all, r.e.pods[uid].state())
	}
	return all, nil
}

// Watch implements node.Sandboxes.
func (r *Runtime) Watch(ctx context.Context, changed func(types.UID)) error {
	if err := r.enter(ctx); err != nil {
		return err
	}
	hints := make(chan types.UID, 1)
	r.e.watchers[hints] = true
	broken := r.e.broken
	r.e.mu.Unlock()
	defer func() {
		r.e.mu.Lock()
		defer r.e.mu.Unlock()
		delete(r.e.watchers, hints)
	}()
	for {
		select {
		case uid := <-hints:
			for _, u := range r.meant(uid) {
				changed(u)
			}
		case <-broken:
			return ErrGone
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// meant are the pods of a hint: the one it names, or all.
func (r *Runtime) meant(uid types.UID) []types.UID {
	if uid != "" {
		return []types.UID{uid}
	}
	r.e.mu.Lock()
	defer r.e.mu.Unlock()
	return slices.Sorted(maps.Keys(r.e.pods))
}
