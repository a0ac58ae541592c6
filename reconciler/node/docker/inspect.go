package docker

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"k8s.io/apimachinery/pkg/types"

	"github.com/belay-dev/belay/reconciler/node"
)

// Pod implements node.Sandboxes.
func (r *Runtime) Pod(ctx context.Context, uid types.UID) (node.PodState, bool, error) {
	all, err := r.states(ctx, uid)
	if err != nil || len(all) == 0 {
		return node.PodState{}, false, err
	}
	return all[0], true, nil
}

// List implements node.Sandboxes.
func (r *Runtime) List(ctx context.Context) ([]node.PodState, error) {
	all, err := r.states(ctx, "")
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	there := map[string]bool{}
	for _, p := range all {
		there[p.Sandbox.ID] = true
		for _, c := range p.Containers {
			there[c.ID] = true
		}
	}
	gone := func(id string, _ node.ContainerState) bool { return !there[id] }
	maps.DeleteFunc(r.ended, gone)
	maps.DeleteFunc(r.started, gone)
	maps.DeleteFunc(r.addrs, func(id string, _ string) bool { return !there[id] })
	maps.DeleteFunc(r.died, func(id string, _ bool) bool { return !there[id] })
	return all, nil
}

// states puts together what there is of one pod, or of all.
func (r *Runtime) states(ctx context.Context, uid types.UID) ([]node.PodState, error) {
	all, err := r.summaries(ctx, uid)
	if err != nil {
		return nil, err
	}
	pods := map[types.UID]*node.PodState{}
	for _, s := range all {
		uid := types.UID(s.Labels[labelPod])
		p := pods[uid]
		if p == nil {
			p = &node.PodState{Pod: node.Sandbox{UID: uid, Origin: node.Origin{Instance: s.Labels[labelInstance]}}}
			pods[uid] = p
		}
		if err := r.add(ctx, p, s); err != nil {
			return nil, err
		}
	}
	out := make([]node.PodState, 0, len(pods))
	for _, uid := range slices.Sorted(maps.Keys(pods)) {
		p := pods[uid]
		slices.SortFunc(p.Containers, func(a, b node.ContainerState) int {
			return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Attempt, b.Attempt))
		})
		out = append(out, *p)
	}
	return out, nil
}

// add puts one container of the engine into its pod. One that goes at this moment is none.
func (r *Runtime) add(ctx context.Context, p *node.PodState, s container.Summary) error {
	if s.State == container.StateRemoving || s.State == container.StateDead {
		return nil
	}
	if record := s.Labels[labelRecord]; record != "" {
		pod, ok := sandboxOf(record)
		if !ok {
			return nil // somebody else wrote the label: the pod stays one of no name
		}
		p.Pod = pod
		state, err := r.sandbox(ctx, s)
		if cerrdefs.IsNotFound(err) {
			return nil
		}
		if err == nil && (state.Running || p.Sandbox.ID == "" || !p.Sandbox.Running && state.Created.After(p.Sandbox.Created)) {
			p.Sandbox = state // a former one may be there still
		}
		return err
	}
	c, err := r.container(ctx, s)
	if cerrdefs.IsNotFound(err) {
		return nil
	}
	if err == nil {
		p.Containers = append(p.Containers, c)
	}
	return err
}

// sandboxOf reads what a pause container's label tells.
func sandboxOf(record string) (s node.Sandbox, ok bool) {
	err := json.Unmarshal([]byte(record), &s)
	return s, err == nil
}

// sandbox is how a pause container is.
func (r *Runtime) sandbox(ctx context.Context, s container.Summary) (node.SandboxState, error) {
	state := node.SandboxState{ID: s.ID, Running: s.State == container.StateRunning, Created: time.Unix(s.Created, 0).UTC()}
	r.mu.Lock()
	died := r.died[s.ID]
	r.mu.Unlock()
	if state.Running && died {
		found, err := r.c.ContainerInspect(ctx, s.ID, client.ContainerInspectOptions{})
		if err != nil {
			return state, err
		}
		state.Running = found.Container.State.Running
	}
	if !state.Running {
		return state, nil
	}
	ip, err := r.address(ctx, s.ID)
	state.IP = ip
	return state, err
}

// address is that of a sandbox that runs; empty on the machine's network. It has it as long as it lives.
func (r *Runtime) address(ctx context.Context, id string) (string, error) {
	r.mu.Lock()
	ip, ok := r.addrs[id]
	r.mu.Unlock()
	if ok {
		return ip, nil
	}
	found, err := r.c.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
	if err != nil {
		return "", err
	}
	if n := found.Container.NetworkSettings; n != nil && n.Networks[networkName] != nil && n.Networks[networkName].IPAddress.IsValid() {
		ip = n.Networks[networkName].IPAddress.String()
	}
	if ip == "" && found.Container.HostConfig.NetworkMode != "host" {
		return "", nil // it ended at this moment
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.addrs[id] = ip
	return ip, nil
}

// container is how one run is. The engine is asked about it once when it has begun, and once when it is over.
func (r *Runtime) container(ctx context.Context, s container.Summary) (node.ContainerState, error) {
	r.mu.Lock()
	ended, over := r.ended[s.ID]
	started, begun := r.started[s.ID]
	died := r.died[s.ID]
	r.mu.Unlock()
	switch {
	case over:
		return ended, nil
	case begun && !died && s.State == container.StateRunning:
		return started, nil
	}
	found, err := r.c.ContainerInspect(ctx, s.ID, client.ContainerInspectOptions{})
	if err != nil {
		return node.ContainerState{}, err
	}
	c := stateOf(found.Container)
	r.mu.Lock()
	defer r.mu.Unlock()
	switch c.Phase {
	case node.PhaseExited:
		r.ended[s.ID] = c
		delete(r.started, s.ID)
	case node.PhaseRunning:
		r.started[s.ID] = c
	case node.PhaseCreated:
	}
	return c, nil
}

// stateOf reads one run from what the engine says of it.
func stateOf(i container.InspectResponse) node.ContainerState {
	labels := i.Config.Labels
	attempt, err := strconv.ParseInt(labels[labelAttempt], 10, 32)
	if err != nil {
		attempt = 0 // not one of ours, for all that is known
	}
	c := node.ContainerState{
		ID: i.ID, Sandbox: labels[labelSandbox], Name: labels[labelContainer], Attempt: int32(attempt),
		Ref: labels[labelRef], Image: i.Image, Digest: labels[labelDigest], Phase: node.PhaseExited,
	}
	s := i.State
	c.Started, c.Finished = timeOf(s.StartedAt), timeOf(s.FinishedAt)
	switch {
	case s.Running:
		c.Phase, c.Finished = node.PhaseRunning, time.Time{}
	case c.Started.IsZero():
		c.Phase, c.Finished = node.PhaseCreated, time.Time{}
	default:
		c.Exit, c.OOM, c.Message = int32(s.ExitCode), s.OOMKilled, s.Error
		// The engine notes a start when it comes to it, and an end as it was: of a short run that is before.
		if c.Finished.Before(c.Started) {
			c.Started = c.Finished
		}
	}
	return c
}

// timeOf reads a time of the engine, which writes the year 1 for none.
func timeOf(text string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil || t.Year() <= 1 {
		return time.Time{}
	}
	return t.UTC()
}
