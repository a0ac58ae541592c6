package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/mount"
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
	former, err := r.clear(ctx, all)
	if err != nil {
		return node.SandboxState{}, fmt.Errorf("clear a sandbox that ended: %w", err)
	}
	options, err := r.pauseOptions(ctx, pod)
	if err != nil {
		return node.SandboxState{}, err
	}
	if err := r.makeVolumes(ctx, pod); err != nil {
		return node.SandboxState{}, err
	}
	if former != "" {
		options.Name += "_after_" + former[:min(len(former), 12)]
	}
	made, err := r.c.ContainerCreate(ctx, options)
	if cerrdefs.IsNotFound(err) { // the image or the network was removed by somebody
		r.forget()
		called := options.Name
		if options, err = r.pauseOptions(ctx, pod); err == nil {
			options.Name = called
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

// clear ends what is left of a pod whose sandbox ended, and removes the sandbox; the runs stay to be told of. Podman keeps a
// sandbox as long as the runs that were in it: the ID of one that stays is returned.
func (r *Runtime) clear(ctx context.Context, all []container.Summary) (former string, err error) {
	for _, s := range all {
		if s.Labels[labelRecord] == "" && s.State == container.StateRunning {
			if err := r.kill(ctx, s.ID); err != nil {
				return "", err
			}
		}
	}
	for _, s := range all {
		if s.Labels[labelRecord] == "" {
			continue
		}
		_, err := r.c.ContainerRemove(ctx, s.ID, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
		switch {
		case r.podman && err != nil && strings.Contains(err.Error(), "dependent containers"):
			former = s.ID
		case absent(err) != nil:
			return "", err
		}
	}
	return former, nil
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
	for _, v := range pod.Memory {
		host.Mounts = append(host.Mounts, mount.Mount{Type: mount.TypeVolume, Source: volumeName(pod.UID, v.Name), Target: "/volumes/" + v.Name})
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
	return r.removeVolumes(ctx, uid)
}

// summaries are the containers of a pod, its sandbox among them; of all pods without a UID.
func (r *Runtime) summaries(ctx context.Context, uid types.UID) ([]container.Summary, error) {
	label := labelPod
	if uid != "" {
		label += "=" + string(uid)
	}
	options := client.ContainerListOptions{All: true, Filters: make(client.Filters).Add("label", label)}
	var list client.ContainerListResult
	var err error
	insist(ctx, func() error {
		if list, err = r.c.ContainerList(ctx, options); vanished(err) {
			return err
		}
		return nil
	})
	return list.Items, err
}

// vanished says whether a list failed because one in it went meanwhile, which podman does not take.
func vanished(err error) bool {
	return err != nil && (cerrdefs.IsNotFound(err) || strings.Contains(err.Error(), "no such container"))
}

// hints are the events of containers that something can be told from.
var hints = []string{
	string(events.ActionCreate), string(events.ActionStart), string(events.ActionDie), string(events.ActionOOM), string(events.ActionDestroy),
}

// Watch implements node.Sandboxes. Podman is asked for all events of containers: it finds no label without its value, and
// calls the end and the removal of a container otherwise when it looks for them than when it tells of them.
func (r *Runtime) Watch(ctx context.Context, changed func(types.UID)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	wanted := make(client.Filters).Add("type", string(events.ContainerEventType))
	if !r.podman {
		wanted.Add("label", labelPod).Add("event", hints...)
	}
	stream := r.c.Events(ctx, client.EventsListOptions{Filters: wanted})
	for {
		select {
		case m := <-stream.Messages:
			uid := m.Actor.Attributes[labelPod]
			if uid == "" || !slices.Contains(hints, string(m.Action)) && m.Action != events.ActionRemove {
				continue
			}
			if m.Action == events.ActionDie {
				r.mu.Lock()
				r.died[m.Actor.ID] = true
				r.mu.Unlock()
			}
			changed(types.UID(uid))
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
