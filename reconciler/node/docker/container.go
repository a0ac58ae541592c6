package docker

import (
	"context"
	"errors"
	"math"
	"strconv"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"

	"github.com/belay-dev/belay/reconciler/node"
)

// The kubelet's bounds of a container's log.
const (
	logFileSize = "10m"
	logFiles    = "5"
)

// Start implements node.Containers.
func (r *Runtime) Start(ctx context.Context, c node.Container) (string, error) {
	all, err := r.summaries(ctx, c.Pod)
	if err != nil {
		return "", err
	}
	options := r.options(c)
	for _, s := range all {
		switch {
		case s.Labels[labelRecord] != "" && s.State == container.StateRunning:
			options.HostConfig.NetworkMode = container.NetworkMode("container:" + s.ID)
			options.HostConfig.IpcMode = container.IpcMode("container:" + s.ID)
			options.Config.Labels[labelSandbox] = s.ID
			if r.podman { // a container that joins a network does not get the host name of that
				if record, ok := sandboxOf(s.Labels[labelRecord]); ok && !record.HostNetwork {
					options.Config.Hostname = record.Hostname
				}
			}
			options.Name = name(c.Name, s.Labels["io.kubernetes.pod.name"], s.Labels["io.kubernetes.pod.namespace"], string(c.Pod),
				strconv.Itoa(int(c.Attempt)))
		case s.Labels[labelContainer] != c.Name || s.Labels[labelAttempt] != options.Config.Labels[labelAttempt]:
		case s.State == container.StateCreated: // its start was interrupted
			if _, err := r.c.ContainerRemove(ctx, s.ID, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true}); absent(err) != nil {
				return "", err
			}
		default: // it was started before, and nobody saw it
			return s.ID, nil
		}
	}
	if options.Name == "" {
		return "", &node.StartError{Reason: node.ReasonCreateContainer, Err: errors.New("the pod has no running sandbox")}
	}
	made, err := r.c.ContainerCreate(ctx, options)
	if err != nil {
		return "", refused(node.ReasonCreateContainer, err)
	}
	if _, err := r.c.ContainerStart(ctx, made.ID, client.ContainerStartOptions{}); err != nil {
		_, failed := r.c.ContainerRemove(context.WithoutCancel(ctx), made.ID, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
		return "", errors.Join(refused(node.ReasonRunContainer, err), absent(failed))
	}
	return made.ID, nil
}

// refused is a start that the engine refused; no answer, or the end of a context, stays what it is.
func refused(reason string, err error) error {
	if client.IsErrConnectionFailed(err) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return &node.StartError{Reason: reason, Err: err}
}

func (r *Runtime) options(c node.Container) client.ContainerCreateOptions {
	r.mu.Lock()
	digest := r.digests[c.Image]
	r.mu.Unlock()
	config := &container.Config{
		Image: c.Image, Env: c.Env, Entrypoint: c.Command, Cmd: c.Args, WorkingDir: c.WorkingDir, User: c.Security.User,
		OpenStdin: c.Stdin, StdinOnce: c.StdinOnce, Tty: c.TTY, Healthcheck: &container.HealthConfig{Test: []string{"NONE"}},
		Labels: map[string]string{
			labelPod: string(c.Pod), labelContainer: c.Name, labelAttempt: strconv.Itoa(int(c.Attempt)),
			labelRef: c.Ref, labelDigest: digest,
		},
	}
	host := &container.HostConfig{
		LogConfig:     container.LogConfig{Type: "json-file", Config: map[string]string{"max-size": logFileSize, "max-file": logFiles}},
		RestartPolicy: container.RestartPolicy{Name: container.RestartPolicyDisabled},
		Privileged:    c.Security.Privileged, ReadonlyRootfs: c.Security.ReadOnlyRoot,
		CapAdd: c.Security.AddCaps, CapDrop: c.Security.DropCaps,
		Resources: container.Resources{
			NanoCPUs: c.Resources.MilliCPU * 1_000_000, Memory: c.Resources.Memory, MemorySwap: c.Resources.Memory,
		},
	}
	if c.Resources.MilliCPURequest > 0 {
		const perCore, least = 1024, 2
		host.CPUShares = max(least, c.Resources.MilliCPURequest*perCore/1000)
	}
	if c.Security.NoNewPrivilege {
		host.SecurityOpt = append(host.SecurityOpt, "no-new-privileges")
	}
	if c.Security.Unconfined {
		host.SecurityOpt = append(host.SecurityOpt, "seccomp=unconfined")
	}
	if c.Security.NoAppArmor {
		host.SecurityOpt = append(host.SecurityOpt, "apparmor=unconfined")
	}
	for _, g := range c.Security.Groups {
		host.GroupAdd = append(host.GroupAdd, strconv.FormatInt(g, 10))
	}
	for _, m := range c.Mounts {
		if m.Memory != "" {
			host.Mounts = append(host.Mounts, mount.Mount{
				Type: mount.TypeVolume, Source: volumeName(c.Pod, m.Memory), Target: m.Target, ReadOnly: m.ReadOnly,
				VolumeOptions: &mount.VolumeOptions{NoCopy: true},
			})
			continue
		}
		host.Mounts = append(host.Mounts, mount.Mount{Type: mount.TypeBind, Source: m.Source, Target: m.Target, ReadOnly: m.ReadOnly})
	}
	return client.ContainerCreateOptions{Config: config, HostConfig: host}
}

// Stop implements node.Containers.
func (r *Runtime) Stop(ctx context.Context, id string, grace time.Duration) error {
	seconds := int(math.Ceil(grace.Seconds()))
	var err error
	if seconds <= 0 {
		err = r.kill(ctx, id)
	} else {
		_, err = r.c.ContainerStop(ctx, id, client.ContainerStopOptions{Timeout: &seconds})
	}
	if absent(err) != nil {
		return err
	}
	return r.wait(ctx, id)
}

// kill kills a container, unless it does not run. Engines differ in what they call that.
func (r *Runtime) kill(ctx context.Context, id string) error {
	_, err := r.c.ContainerKill(ctx, id, client.ContainerKillOptions{Signal: "KILL"})
	if absent(err) == nil {
		return nil
	}
	found, asked := r.c.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
	if cerrdefs.IsNotFound(asked) || asked == nil && !found.Container.State.Running {
		return nil
	}
	return err
}

// wait waits until a container has ended.
func (r *Runtime) wait(ctx context.Context, id string) error {
	w := r.c.ContainerWait(ctx, id, client.ContainerWaitOptions{Condition: container.WaitConditionNotRunning})
	select {
	case <-w.Result:
		return nil
	case err := <-w.Error:
		return absent(err)
	}
}

// Remove implements node.Containers.
func (r *Runtime) Remove(ctx context.Context, id string) error {
	_, err := r.c.ContainerRemove(ctx, id, client.ContainerRemoveOptions{RemoveVolumes: true})
	return absent(err)
}
