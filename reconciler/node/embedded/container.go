//go:build linux

package embedded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"

	"github.com/belay-dev/belay/reconciler/node"
	"github.com/belay-dev/belay/reconciler/node/embedded/shim"
	"github.com/belay-dev/belay/reconciler/node/image"
)

// runID names a run: UID.SANDBOX.NAME.ATTEMPT, of which no part has a dot.
func runID(uid types.UID, sandbox, name string) string {
	return string(uid) + "." + sandbox + "." + name
}

// runName is how a shim knows a run.
func runName(container string, attempt int32) string {
	return container + "." + strconv.Itoa(int(attempt))
}

// find takes a run's ID apart.
func (r *Runtime) find(id string) (uid types.UID, at place, name string, err error) {
	parts := strings.SplitN(id, ".", 3)
	if len(parts) != 3 || strings.ContainsAny(id, "/\x00") || strings.Contains(id, "..") {
		return "", place{}, "", fs.ErrNotExist
	}
	dir, err := r.pod(types.UID(parts[0]))
	if err != nil {
		return "", place{}, "", fs.ErrNotExist
	}
	uid, at = types.UID(parts[0]), place{parts[1], filepath.Join(dir, parts[1])}
	if _, err := os.Lstat(at.dir); errors.Is(err, fs.ErrNotExist) {
		f, _ := r.foreign(uid)
		if i := slices.IndexFunc(f.lit, func(p place) bool { return p.id == at.id }); i >= 0 {
			at = f.lit[i]
		}
	}
	return uid, at, parts[2], nil
}

// Start implements node.Containers.
func (r *Runtime) Start(ctx context.Context, c node.Container) (string, error) {
	dir, err := r.pod(c.Pod)
	if err != nil {
		return "", err
	}
	defer r.alone(c.Pod)()
	all, err := sandboxes(dir)
	if err != nil {
		return "", err
	}
	if len(all) == 0 {
		return "", &node.StartError{Reason: node.ReasonCreateContainer, Err: errors.New("the pod has no sandbox")}
	}
	at, name := all[len(all)-1], runName(c.Name, c.Attempt)
	states, err := at.client().States(ctx)
	if err != nil {
		return "", err
	}
	r.making.RLock()
	defer r.making.RUnlock()
	id := runID(c.Pod, at.id, name)
	if slices.ContainsFunc(states, func(s shim.Status) bool { return s.Name == name && s.Phase != shim.Refused }) {
		return id, nil // it was started before, and nobody saw it
	}
	spec, known, err := r.spec(at, name, c)
	if err != nil {
		return "", err
	}
	if err := r.note(c.Pod, at, name, known); err != nil {
		return "", err
	}
	status, err := at.client().Start(ctx, spec)
	if err != nil {
		return "", err
	}
	if status.Phase == shim.Refused {
		err := &node.StartError{Reason: node.ReasonRunContainer, Err: errors.New(status.Message)}
		return "", errors.Join(err, r.drop(context.WithoutCancel(ctx), c.Pod, at, name))
	}
	return id, nil
}

// spec is a container as a shim starts it, with its directories and control groups made.
func (r *Runtime) spec(at place, name string, c node.Container) (shim.Container, run, error) {
	refuse := func(err error) (shim.Container, run, error) {
		return shim.Container{}, run{}, &node.StartError{Reason: node.ReasonCreateContainer, Err: err}
	}
	img, ok, err := r.images.ByID(c.Image)
	if err != nil || !ok {
		return refuse(errors.Join(fmt.Errorf("image %s is not there", c.Image), err))
	}
	user, err := findUser(img.Rootfs, c.Security.User, img.User)
	if err != nil {
		return refuse(err)
	}
	scratch := filepath.Join(at.dir, name)
	if err := os.MkdirAll(scratch, 0o700); err != nil {
		return shim.Container{}, run{}, err
	}
	groups, err := r.groups.make(at.id, name, c.Resources)
	if err != nil {
		return shim.Container{}, run{}, err
	}
	args := slices.Concat(c.Command, c.Args)
	if len(c.Command) == 0 {
		args = slices.Concat(img.Entrypoint, c.Args)
		if len(c.Args) == 0 {
			args = slices.Concat(img.Entrypoint, img.Cmd)
		}
	}
	if len(args) == 0 {
		return refuse(errors.New("no command specified"))
	}
	s := shim.Container{
		Name: name, Attempt: int(c.Attempt), Rootfs: img.Rootfs, Scratch: scratch, ReadOnly: c.Security.ReadOnlyRoot,
		Cgroups: groups, Log: filepath.Join(scratch, logFile), Args: args, Env: environment(img.Env, c.Env), Dir: c.WorkingDir,
		UID: user.uid, GID: user.gid, Capabilities: capabilities(c.Security), NoNewPrivileges: c.Security.NoNewPrivilege,
		Unmasked: c.Security.Privileged, NoSetuid: os.Geteuid() != 0, Processes: r.machine.Processes, Stdin: c.Stdin, StdinOnce: c.StdinOnce, TTY: c.TTY,
	}
	if s.Dir == "" {
		s.Dir = img.WorkingDir
	}
	for _, g := range c.Security.Groups {
		s.Groups = append(s.Groups, uint32(g)) //nolint:gosec // validated: a group is below 2^31
	}
	for _, file := range []string{"hosts", "hostname", "resolv.conf"} {
		s.Mounts = append(s.Mounts, shim.Mount{Source: filepath.Join(at.dir, file), Target: "/etc/" + file})
	}
	for _, m := range c.Mounts {
		source := m.Source
		if m.Memory != "" {
			source = filepath.Join(at.dir, shim.MemoryDir, m.Memory)
		}
		s.Mounts = append(s.Mounts, shim.Mount{Source: source, Target: m.Target, ReadOnly: m.ReadOnly})
	}
	known := run{Name: c.Name, Attempt: c.Attempt, Ref: c.Ref, Image: c.Image, Digest: r.digest(c, img), Signal: stopSignal(img), TTY: c.TTY}
	return s, known, nil
}

// digest is that of a container's image, as the repository has it that the pod names, where it is still known.
func (r *Runtime) digest(c node.Container, img image.Stored) string {
	if named, ok, err := r.images.Find(c.Ref); err == nil && ok && named.ID == c.Image {
		return named.Digest
	}
	return img.Digest
}

// environment is the image's with the container's over it, and a PATH.
func environment(img, own []string) []string {
	out := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	at := map[string]int{"PATH": 0}
	for _, e := range slices.Concat(img, own) {
		name, _, _ := strings.Cut(e, "=")
		if i, ok := at[name]; ok {
			out[i] = e
			continue
		}
		at[name] = len(out)
		out = append(out, e)
	}
	return out
}

// capabilities are those that a container keeps: Docker's defaults, less and more what it asks for.
func capabilities(s node.Security) []string {
	if s.Privileged {
		return shim.AllCapabilities()
	}
	out := shim.DefaultCapabilities()
	if slices.Contains(s.DropCaps, "ALL") {
		out = nil
	}
	out = slices.DeleteFunc(out, func(c string) bool { return slices.Contains(s.DropCaps, c) })
	if slices.Contains(s.AddCaps, "ALL") {
		return shim.AllCapabilities()
	}
	return append(out, s.AddCaps...)
}

// stopSignal is the one that asks a container of an image to end.
func stopSignal(img image.Stored) int {
	name := img.StopSignal
	if n, err := strconv.Atoi(name); err == nil && n > 0 {
		return n
	}
	if n := unix.SignalNum("SIG" + strings.TrimPrefix(strings.ToUpper(name), "SIG")); n != 0 {
		return int(n)
	}
	return int(unix.SIGTERM)
}

// Stop implements node.Containers.
func (r *Runtime) Stop(ctx context.Context, id string, grace time.Duration) error {
	_, at, name, err := r.find(id)
	if err != nil {
		return nil //nolint:nilerr // what cannot be is not there
	}
	known, err := readRun(filepath.Join(at.dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	wait, cancel := context.WithCancel(ctx)
	defer cancel()
	if grace > 0 {
		if err := r.signal(ctx, at, name, syscall.Signal(known.Signal)); err != nil {
			return err
		}
		kill := time.AfterFunc(grace, func() { _ = r.signal(wait, at, name, syscall.SIGKILL) }) // the wait goes on if it fails
		defer kill.Stop()
	} else if err := r.signal(ctx, at, name, syscall.SIGKILL); err != nil {
		return err
	}
	err = at.client().Watch(wait, func(states []shim.Status) {
		if !slices.ContainsFunc(states, func(s shim.Status) bool { return s.Name == name && s.Phase == shim.Running }) {
			cancel()
		}
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, shim.ErrDead) {
		return nil
	}
	return err
}

// signal sends a signal; a pod that is dead needs none.
func (r *Runtime) signal(ctx context.Context, at place, name string, sig syscall.Signal) error {
	err := at.client().Signal(ctx, name, sig)
	if errors.Is(err, shim.ErrDead) {
		return nil
	}
	return err
}

// Remove implements node.Containers.
func (r *Runtime) Remove(ctx context.Context, id string) error {
	uid, at, name, err := r.find(id)
	if err != nil {
		return nil //nolint:nilerr // what cannot be is not there
	}
	defer r.alone(uid)()
	return r.drop(ctx, uid, at, name)
}

// drop removes a run that has ended, with everything it had.
func (r *Runtime) drop(ctx context.Context, uid types.UID, at place, name string) error {
	if err := at.client().Remove(ctx, name); err != nil && !errors.Is(err, shim.ErrDead) {
		return err
	}
	if err := r.groups.remove(ctx, at.id, name); err != nil {
		return err
	}
	if err := errors.Join(image.RemoveTree(filepath.Join(at.dir, name)), r.dark(uid, at.id, name)); err != nil {
		return fmt.Errorf("remove container: %w", err)
	}
	return nil
}

// Image implements node.Images.
func (r *Runtime) Image(_ context.Context, ref string) (node.Image, bool, error) {
	found, ok, err := r.images.Find(ref)
	return found.Image, ok, err
}

// Pull implements node.Images.
func (r *Runtime) Pull(ctx context.Context, ref string, credentials []node.Credential) (node.Image, error) {
	found, err := r.images.Pull(ctx, ref, credentials)
	return found.Image, err
}
