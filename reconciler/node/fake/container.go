package fake

import (
	"context"
	"fmt"
	"net"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/belay-dev/belay/reconciler/node"
	"github.com/belay-dev/belay/reconciler/node/conformance/program"
)

// Start implements node.Containers.
func (r *Runtime) Start(ctx context.Context, spec node.Container) (string, error) {
	if err := r.enter(ctx); err != nil {
		return "", err
	}
	e := r.e
	defer e.mu.Unlock()
	p := e.pods[spec.Pod]
	if p == nil || !p.sandbox.Running {
		return "", &node.StartError{Reason: node.ReasonCreateContainer, Err: fmt.Errorf("sandbox of pod %s does not run", spec.Pod)}
	}
	image := e.imageByID(spec.Image)
	if image == nil {
		return "", &node.StartError{Reason: node.ReasonCreateContainer, Err: fmt.Errorf("no such image: %s", spec.Image)}
	}
	if len(spec.Command) > 0 && spec.Command[0] != "/program" {
		return "", &node.StartError{Reason: node.ReasonRunContainer,
			Err: fmt.Errorf("exec: %q: stat %s: no such file or directory", spec.Command[0], spec.Command[0])}
	}
	for _, c := range p.containers {
		if c.Name == spec.Name && c.Attempt == spec.Attempt {
			return "", &node.StartError{Reason: node.ReasonCreateContainer, Err: fmt.Errorf("%s/%d is there already", spec.Name, spec.Attempt)}
		}
	}
	e.next++
	run, term := context.WithCancel(context.WithoutCancel(ctx))
	c := &container{
		spec: spec, log: newLog(), term: term, ended: make(chan struct{}),
		ContainerState: node.ContainerState{
			ID: fmt.Sprintf("container-%d", e.next), Sandbox: p.sandbox.ID, Name: spec.Name, Attempt: spec.Attempt,
			Ref: spec.Ref, Image: image.ID, Digest: image.Digest, Phase: node.PhaseRunning, Started: e.now(),
		},
	}
	p.containers = append(p.containers, c)
	e.started = append(e.started, fmt.Sprintf("%s/%s/%d", p.spec.Name, spec.Name, spec.Attempt))
	e.tell(spec.Pod)
	args := slices.Clone(spec.Args)
	if len(spec.Command) > 0 {
		args = append(slices.Clone(spec.Command[1:]), args...)
	}
	process := r.process(p, c, args)
	e.running.Go(func() {
		code := image.program(run, process)
		e.mu.Lock()
		defer e.mu.Unlock()
		if c.Phase == node.PhaseRunning {
			e.end(spec.Pod, c, int32(code), code == program.OOM)
		}
	})
	return c.ID, nil
}

func (e *Engine) imageByID(id string) *stock {
	for _, i := range e.all() {
		if i.ID == id && i.present {
			return i
		}
	}
	return nil
}

// process is what the program of a container sees. The lock is held.
func (r *Runtime) process(p *pod, c *container, args []string) program.Process {
	sandbox := p.sandbox.ID
	return program.Process{
		Args: args, Env: c.spec.Env, Dir: c.spec.WorkingDir, Stdin: eof{}, Stdout: c.log.stream(r.e.now), Stderr: c.log.stream(r.e.now),
		Root: rootOf(c.spec.Mounts), Killed: c.ended,
		Listen: func(port string) (net.Listener, error) {
			r.e.mu.Lock()
			defer r.e.mu.Unlock()
			if p.sandbox.ID != sandbox || c.Phase != node.PhaseRunning {
				return nil, net.ErrClosed
			}
			if p.listeners[port] != nil {
				return nil, fmt.Errorf("listen tcp :%s: bind: address already in use", port)
			}
			l := newListener(port)
			p.listeners[port] = l
			c.ports = append(c.ports, port)
			return l, nil
		},
	}
}

// rootOf lets a program in memory read the one volume that tests mount at /state, and nothing else by its own name.
func rootOf(mounts []node.Mount) string {
	for _, m := range mounts {
		if m.Target == "/state" {
			return m.Source[:max(0, len(m.Source)-len("/state"))]
		}
	}
	return "/nonexistent"
}

// end notes that a container's process is gone; the lock is held.
func (e *Engine) end(uid types.UID, c *container, code int32, oom bool) {
	c.Phase, c.Exit, c.OOM, c.Finished = node.PhaseExited, code, oom, e.now()
	c.term()
	c.log.close()
	close(c.ended)
	for _, port := range c.ports { // free, before anybody can know of the end
		e.pods[uid].listeners[port].close()
		delete(e.pods[uid].listeners, port)
	}
	e.tell(uid)
}

// Stop implements node.Containers.
func (r *Runtime) Stop(ctx context.Context, id string, grace time.Duration) error {
	if err := r.enter(ctx); err != nil {
		return err
	}
	uid, c := r.e.find(id)
	if c == nil || c.Phase != node.PhaseRunning {
		r.e.mu.Unlock()
		return nil
	}
	if grace > 0 {
		c.term()
	}
	r.e.mu.Unlock()
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-c.ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
	}
	r.e.mu.Lock()
	defer r.e.mu.Unlock()
	if c.Phase == node.PhaseRunning {
		r.e.end(uid, c, 137, false)
	}
	return nil
}

// find is the container of an ID; the lock is held.
func (e *Engine) find(id string) (types.UID, *container) {
	for uid, p := range e.pods {
		for _, c := range p.containers {
			if c.ID == id {
				return uid, c
			}
		}
	}
	return "", nil
}

// Remove implements node.Containers.
func (r *Runtime) Remove(ctx context.Context, id string) error {
	if err := r.enter(ctx); err != nil {
		return err
	}
	defer r.e.mu.Unlock()
	uid, c := r.e.find(id)
	if c == nil {
		return nil
	}
	if c.Phase == node.PhaseRunning {
		return fmt.Errorf("container %s runs", id)
	}
	p := r.e.pods[uid]
	p.containers = slices.DeleteFunc(p.containers, func(o *container) bool { return o == c })
	return nil
}
