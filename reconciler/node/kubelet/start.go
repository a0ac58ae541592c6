package kubelet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/belay-dev/belay/reconciler/node"
	"github.com/belay-dev/belay/reconciler/node/image"
)

// refusal is a start that failed, in the kubelet's words.
type refusal struct {
	reason  string
	err     error
	failure string // the message of the Event that comes before "Error: REASON"; empty: the error's
}

func (r *refusal) Error() string { return r.err.Error() }

// Unwrap is the cause.
func (r *refusal) Unwrap() error { return r.err }

func refuse(reason string, err error) error { return &refusal{reason: reason, err: err} }

// start starts one run of a container: its image, its configuration, the container, its postStart hook.
func (k *Kubelet) start(ctx context.Context, w *worker, pod *corev1.Pod, a action) error {
	c := find(pod, a.container)
	img, err := k.image(ctx, w, pod, c, a.init)
	if err != nil {
		return err
	}
	spec, err := k.container(pod, c, a.attempt, img)
	if err != nil {
		return refuse(configError, err)
	}
	id, err := k.Runtime.Start(ctx, spec)
	if failed, ok := errors.AsType[*node.StartError](err); ok {
		return &refusal{reason: failed.Reason, err: failed.Err, failure: failed.Err.Error()}
	}
	if err != nil {
		return err
	}
	w.say(c, a.init, corev1.EventTypeNormal, "Created", "Container created")
	w.say(c, a.init, corev1.EventTypeNormal, "Started", "Container started")
	k.tidy(ctx, w, a)
	if c.Lifecycle != nil && c.Lifecycle.PostStart != nil {
		err := k.hook(ctx, pod, c, id, c.Lifecycle.PostStart)
		switch {
		case ctx.Err() != nil:
			return ctx.Err() // the pod is to end, which stops it
		case err != nil:
			w.say(c, a.init, corev1.EventTypeWarning, "FailedPostStartHook", "PostStartHook failed")
			w.say(c, a.init, corev1.EventTypeNormal, "Killing", "FailedPostStartHook")
			return k.stop(ctx, w, pod, c, a.init, id, seconds(pod.Spec.TerminationGracePeriodSeconds))
		}
	}
	return nil
}

// tidy removes all runs of a container but the last and the one before. What is not removed now is the next time.
func (k *Kubelet) tidy(ctx context.Context, w *worker, a action) {
	w.mu.Lock()
	var old []string
	for _, r := range w.m.box(a.container).runs {
		if r.Attempt < a.attempt-1 && r.ID != "" {
			old = append(old, r.ID)
		}
	}
	w.mu.Unlock()
	for _, id := range old {
		if err := k.Runtime.Remove(ctx, id); err != nil {
			k.Log.Debug().Str("container", id).Err(err).Msg("old run not removed")
			return
		}
	}
}

// image sees to it that the image of a container is present: what its revision ran before, or else as its pull policy
// asks for.
func (k *Kubelet) image(ctx context.Context, w *worker, pod *corev1.Pod, c *corev1.Container, init bool) (node.Image, error) {
	ref, err := image.Parse(c.Image)
	if err != nil {
		w.say(c, init, corev1.EventTypeWarning, "InspectFailed", err.Error())
		return node.Image{}, refuse(invalidImageName, err)
	}
	if img, name, ok := k.again(ctx, pod, c); ok {
		w.say(c, init, corev1.EventTypeNormal, "Pulled", present(name))
		return img, nil
	}
	had, ok, err := k.Runtime.Image(ctx, ref.String())
	switch {
	case err != nil:
		return node.Image{}, err
	case ok && c.ImagePullPolicy != corev1.PullAlways:
		w.say(c, init, corev1.EventTypeNormal, "Pulled", present(c.Image))
		return had, nil
	case c.ImagePullPolicy == corev1.PullNever:
		text := fmt.Sprintf("Container image %q is not present with pull policy of Never", c.Image)
		w.say(c, init, corev1.EventTypeWarning, errImageNeverPull, text)
		return node.Image{}, refuse(errImageNeverPull, errors.New(text))
	}
	begin := k.Now()
	w.say(c, init, corev1.EventTypeNormal, "Pulling", fmt.Sprintf("Pulling image %q", c.Image))
	k.changed(w)
	img, err := k.Runtime.Pull(ctx, ref.String(), k.credentials(pod, ref))
	switch {
	case err == nil:
		took := k.Now().Sub(begin).Round(time.Millisecond)
		w.say(c, init, corev1.EventTypeNormal, "Pulled", fmt.Sprintf(
			"Successfully pulled image %q in %v (%v including waiting). Image size: %d bytes.", c.Image, took, took, img.Size))
		if err := k.stock.note(ref.String(), img, had, k.Now()); err != nil {
			k.Log.Warn().Str("image", c.Image).Err(err).Msg("image will not be collected")
		}
		return img, nil
	case ctx.Err() != nil:
		return node.Image{}, ctx.Err()
	}
	failure := fmt.Sprintf("Failed to pull image %q: %v", c.Image, err)
	if ok && unreachable(err) { // a rollback must not fail because of that
		w.say(c, init, corev1.EventTypeWarning, "Failed", failure)
		w.say(c, init, corev1.EventTypeNormal, "Pulled", present(c.Image))
		return had, nil
	}
	return node.Image{}, &refusal{reason: errImagePull, err: err, failure: failure}
}

func present(name string) string {
	return fmt.Sprintf("Container image %q already present on machine and can be accessed by the pod", name)
}

// again is the image that a container's revision ran when it ran before, where it is present still: its name may stand for
// another by now.
func (k *Kubelet) again(ctx context.Context, pod *corev1.Pod, c *corev1.Container) (img node.Image, name string, ok bool) {
	if k.Ran == nil {
		return node.Image{}, "", false
	}
	if name = k.Ran(pod)[c.Image]; name == "" {
		return node.Image{}, "", false
	}
	img, ok, err := k.Runtime.Image(ctx, name)
	return img, name, ok && err == nil
}

// complete is a name with all that it leaves out; what is none stays as it is.
func complete(name string) string {
	if ref, err := image.Parse(name); err == nil {
		return ref.String()
	}
	return name
}

// unreachable says whether a pull failed because the registry does not answer.
func unreachable(cause error) bool {
	pull, ok := errors.AsType[*image.PullError](cause)
	return ok && (pull.Class == image.Network || pull.Class == image.RateLimit)
}

// credentials are what the registry of an image is shown: the pod's pull secrets, then the machine's configuration.
func (k *Kubelet) credentials(pod *corev1.Pod, ref image.Reference) []node.Credential {
	var chain image.Keychain
	for _, r := range pod.Spec.ImagePullSecrets {
		s, ok := k.Objects.Secret(pod.Namespace, r.Name)
		if !ok {
			continue // as the kubelet does: the pull may do without
		}
		if err := chain.AddSecret(s); err != nil {
			k.Log.Warn().Str("pod", pod.Name).Err(err).Msg("pull secret not used")
		}
	}
	if k.DockerConfig != nil {
		data, err := k.DockerConfig()
		if err == nil && data != nil {
			err = chain.Add(data)
		}
		if err != nil {
			k.Log.Warn().Err(err).Msg("docker configuration not used")
		}
	}
	return chain.For(ref)
}

// container is one run of a container, with nothing left to be looked up.
func (k *Kubelet) container(pod *corev1.Pod, c *corev1.Container, attempt int32, img node.Image) (node.Container, error) {
	if u := k.Supports(&pod.Spec); len(u) > 0 {
		return node.Container{}, fmt.Errorf("spec.%s: %s", u[0].Field, u[0].Message)
	}
	security := securityOf(pod, c)
	if err := rootless(pod, c, img, security); err != nil {
		return node.Container{}, err
	}
	environment, err := env(pod, c, k.Objects)
	if err != nil {
		return node.Container{}, err
	}
	if err := k.volumes.make(pod); err != nil {
		return node.Container{}, err
	}
	mounts, err := k.volumes.mounts(pod, c, environment)
	if err != nil {
		return node.Container{}, err
	}
	message, err := k.messageFile(pod, c, attempt)
	if err != nil {
		return node.Container{}, err
	}
	if message.Target != "" {
		mounts = append(mounts, message)
	}
	return node.Container{
		Pod: pod.UID, Name: c.Name, Attempt: attempt, Ref: c.Image, Image: img.ID,
		Command: expandAll(c.Command, environment), Args: expandAll(c.Args, environment), Env: environment,
		WorkingDir: c.WorkingDir, Mounts: mounts, Stdin: c.Stdin, StdinOnce: c.StdinOnce, TTY: c.TTY,
		Resources: resourcesOf(c), Security: security,
	}, nil
}

// messageFile is where a container may say why it ended.
func (k *Kubelet) messageFile(pod *corev1.Pod, c *corev1.Container, attempt int32) (node.Mount, error) {
	if c.TerminationMessagePath == "" || k.volumes.dir == "" {
		return node.Mount{}, nil
	}
	name := k.messagePath(pod, c.Name, attempt)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return node.Mount{}, err
	}
	if err := os.WriteFile(name, nil, 0o666); err != nil {
		return node.Mount{}, err
	}
	return node.Mount{Source: name, Target: c.TerminationMessagePath}, os.Chmod(name, 0o666)
}

func (k *Kubelet) messagePath(pod *corev1.Pod, container string, attempt int32) string {
	return filepath.Join(k.volumes.pod(pod.UID), "messages", container+"_"+strconv.Itoa(int(attempt)))
}

func resourcesOf(c *corev1.Container) node.Resources {
	limits, requests := c.Resources.Limits, c.Resources.Requests
	return node.Resources{MilliCPU: limits.Cpu().MilliValue(), MilliCPURequest: requests.Cpu().MilliValue(), Memory: limits.Memory().Value()}
}

// securityOf merges what the pod and the container say; the container counts.
func securityOf(pod *corev1.Pod, c *corev1.Container) node.Security {
	var s node.Security
	user, group := int64(-1), int64(-1)
	profile := (*corev1.SeccompProfile)(nil)
	if p := pod.Spec.SecurityContext; p != nil {
		user, group, profile = or(p.RunAsUser, user), or(p.RunAsGroup, group), p.SeccompProfile
		s.Groups = slices.Clone(p.SupplementalGroups)
		if p.FSGroup != nil {
			s.Groups = append(s.Groups, *p.FSGroup)
		}
	}
	if x := c.SecurityContext; x != nil {
		user, group = or(x.RunAsUser, user), or(x.RunAsGroup, group)
		if x.SeccompProfile != nil {
			profile = x.SeccompProfile
		}
		s.Privileged, s.ReadOnlyRoot = optional(x.Privileged), optional(x.ReadOnlyRootFilesystem)
		s.NoNewPrivilege = x.AllowPrivilegeEscalation != nil && !*x.AllowPrivilegeEscalation
		if x.Capabilities != nil {
			s.AddCaps, s.DropCaps = caps(x.Capabilities.Add), caps(x.Capabilities.Drop)
		}
	}
	s.NoAppArmor = unarmoured(pod, c)
	s.Unconfined = profile != nil && profile.Type == corev1.SeccompProfileTypeUnconfined
	switch {
	case user >= 0 && group >= 0:
		s.User = fmt.Sprintf("%d:%d", user, group)
	case user >= 0:
		s.User = strconv.FormatInt(user, 10)
	case group >= 0:
		s.User = fmt.Sprintf("0:%d", group)
	}
	return s
}

// unarmoured says whether a container asks for no AppArmor profile. The container counts, then the pod.
func unarmoured(pod *corev1.Pod, c *corev1.Container) bool {
	var p *corev1.AppArmorProfile
	if s := pod.Spec.SecurityContext; s != nil {
		p = s.AppArmorProfile
	}
	if s := c.SecurityContext; s != nil && s.AppArmorProfile != nil {
		p = s.AppArmorProfile
	}
	return p != nil && p.Type == corev1.AppArmorProfileTypeUnconfined
}

func or(p *int64, def int64) int64 {
	if p != nil {
		return *p
	}
	return def
}

func caps(list []corev1.Capability) []string {
	var out []string
	for _, c := range list {
		out = append(out, strings.TrimPrefix(strings.ToUpper(string(c)), "CAP_"))
	}
	return out
}

// rootless checks runAsNonRoot before anything runs.
func rootless(pod *corev1.Pod, c *corev1.Container, img node.Image, s node.Security) error {
	var must bool
	if p := pod.Spec.SecurityContext; p != nil {
		must = optional(p.RunAsNonRoot)
	}
	if x := c.SecurityContext; x != nil && x.RunAsNonRoot != nil {
		must = *x.RunAsNonRoot
	}
	if !must {
		return nil
	}
	user, _, _ := strings.Cut(orElse(s.User, img.User), ":")
	id, err := strconv.ParseInt(orElse(user, "0"), 10, 64)
	switch {
	case err != nil:
		return fmt.Errorf("container has runAsNonRoot and image has non-numeric user (%s), cannot verify user is non-root "+
			"(pod: %q, container: %s)", user, podName(pod), c.Name)
	case id == 0 && s.User != "":
		return fmt.Errorf("container's runAsUser breaks non-root policy (pod: %q, container: %s)", podName(pod), c.Name)
	case id == 0:
		return fmt.Errorf("container has runAsNonRoot and image will run as root (pod: %q, container: %s)", podName(pod), c.Name)
	}
	return nil
}

// podName is a pod as the kubelet's messages name it.
func podName(pod *corev1.Pod) string {
	return fmt.Sprintf("%s_%s(%s)", pod.Name, pod.Namespace, pod.UID)
}
