package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/client"
	"k8s.io/apimachinery/pkg/types"

	"github.com/belay-dev/belay/reconciler/node"
)

// RunPod implements node.Sandboxes.
func (r *Runtime) RunPod(ctx context.Context, pod node.Sandbox) (node.SandboxState, error) {
	all, err := r.summaries(ctx, pod.UID)
	if err != nil {
		return node.SandboxState{}, err
	}
	for _, s := range all {
		if s.Labels[labelRecord] != "" && s.State == container.StateRunning {
			return r.sandbox(ctx, s)
		}
	}
	if err := r.clear(ctx, all); err != nil {
		return node.SandboxState{}, fmt.Errorf("clear a sandbox that ended: %w", err)
	}
	options, err := r.pauseOptions(ctx, pod)
	if err != nil {
		return node.SandboxState{}, err
	}
	made, err := r.c.ContainerCreate(ctx, options)
	if cerrdefs.IsNotFound(err) { // the image or the network was removed by somebody
		r.forget()
		if options, err = r.pauseOptions(ctx, pod); err == nil {
			made, err = r.c.ContainerCreate(ctx, options)
		}
	}
	if err != nil {
		return node.SandboxState{}, err
	}
	if _, err := r.c.ContainerStart(ctx, made.ID, client.ContainerStartOptions{}); err != nil {
		r.forget()
		_, failed := r.c.ContainerRemove(context.WithoutCancel(ctx), made.ID, client.ContainerRemoveOptions{Force: true})
		return node.SandboxState{}, errors.Join(err, absent(failed))
	}
	return r.sandbox(ctx, container.Summary{ID: made.ID, State: container.StateRunning})
}

// clear ends what is left of a pod whose sandbox ended, and removes the sandbox; the runs stay to be told of.
func (r *Runtime) clear(ctx context.Context, all []container.Summary) error {
	for _, s := range all {
		var err error
		switch {
		case s.Labels[labelRecord] != "":
			_, err = r.c.ContainerRemove(ctx, s.ID, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
		case s.State == container.StateRunning:
			_, err = r.c.ContainerKill(ctx, s.ID, client.ContainerKillOptions{Signal: "KILL"})
		}
		if absent(err) != nil {
			return err
		}
	}
	return nil
}

// forget has what all pods need looked for again.
func (r *Runtime) forget() {
	r.prepare.Lock()
	defer r.prepare.Unlock()
	r.network, r.pause = false, ""
}

func (r *Runtime) pauseOptions(ctx context.Context, pod node.Sandbox) (client.ContainerCreateOptions, error) {
	r.prepare.Lock()
	defer r.prepare.Unlock()
	image, err := r.pauseImage(ctx)
	if err != nil {
		return client.ContainerCreateOptions{}, err
	}
	record, err := json.Marshal(pod)
	if err != nil {
		return client.ContainerCreateOptions{}, err
	}
	host := &container.HostConfig{
		NetworkMode: networkName, IpcMode: container.IPCModeShareable, ReadonlyRootfs: true, CapDrop: []string{"ALL"},
		RestartPolicy: container.RestartPolicy{Name: container.RestartPolicyDisabled}, LogConfig: container.LogConfig{Type: "none"},
		Sysctls: pod.Sysctls, DNSOptions: pod.DNS.Options, DNSSearch: pod.DNS.Searches,
	}
	config := &container.Config{
		Image: image, Hostname: pod.Hostname, Healthcheck: &container.HealthConfig{Test: []string{"NONE"}},
		Labels: map[string]string{
			labelPod: string(pod.UID), labelRecord: string(record), labelInstance: pod.Origin.Instance,
			"io.kubernetes.pod.name": pod.Name, "io.kubernetes.pod.namespace": pod.Namespace,
		},
	}
	for _, server := range pod.DNS.Servers {
		address, err := netip.ParseAddr(server)
		if err != nil {
			return client.ContainerCreateOptions{}, fmt.Errorf("DNS server %q: %w", server, err)
		}
		host.DNS = append(host.DNS, address)
	}
	for _, alias := range pod.Hosts {
		for _, name := range alias.Names {
			host.ExtraHosts = append(host.ExtraHosts, name+":"+alias.IP)
		}
	}
	if pod.HostNetwork {
		host.NetworkMode, config.Hostname, host.Sysctls = "host", "", nil
	} else if err := r.makeNetwork(ctx); err != nil {
		return client.ContainerCreateOptions{}, fmt.Errorf("make network %s: %w", networkName, err)
	}
	return client.ContainerCreateOptions{Config: config, HostConfig: host, Name: name("POD", pod.Name, pod.Namespace, string(pod.UID))}, nil
}

// name is that of a container: who sees it in the engine knows whose it is.
func name(parts ...string) string { return "belay_" + strings.Join(parts, "_") }

// RemovePod implements node.Sandboxes: the containers first, and then the sandbox that they are in.
func (r *Runtime) RemovePod(ctx context.Context, uid types.UID) error {
	all, err := r.summaries(ctx, uid)
	if err != nil {
		return err
	}
	for _, sandboxes := range []bool{false, true} {
		errs := make([]error, len(all))
		var removing sync.WaitGroup
		for i, s := range all {
			if (s.Labels[labelRecord] != "") == sandboxes {
				removing.Go(func() {
					_, err := r.c.ContainerRemove(ctx, s.ID, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
					errs[i] = absent(err)
				})
			}
		}
		removing.Wait()
		if err := errors.Join(errs...); err != nil {
			return err
		}
	}
	return nil
}

// summaries are the containers of a pod, its sandbox among them; of all pods without a UID.
func (r *Runtime) summaries(ctx context.Context, uid types.UID) ([]container.Summary, error) {
	label := labelPod
	if uid != "" {
		label += "=" + string(uid)
	}
	list, err := r.c.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: make(client.Filters).Add("label", label)})
	return list.Items, err
}

// Watch implements node.Sandboxes.
func (r *Runtime) Watch(ctx context.Context, changed func(types.UID)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream := r.c.Events(ctx, client.EventsListOptions{Filters: make(client.Filters).
		Add("type", string(events.ContainerEventType)).Add("label", labelPod).
		Add("event", "create", "start", "die", "oom", "destroy")})
	for {
		select {
		case m := <-stream.Messages:
			if m.Action == events.ActionDie {
				r.mu.Lock()
				r.died[m.Actor.ID] = true
				r.mu.Unlock()
			}
			changed(types.UID(m.Actor.Attributes[labelPod]))
		case err := <-stream.Err:
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err == nil {
				err = errors.New("the engine ended the stream of events")
			}
			return err
		}
	}
}
