package docker

import (
	"context"
	"errors"
	"fmt"
	"strings"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/api/pkg/authconfig"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/client"

	"github.com/belay-dev/belay/reconciler/node"
	"github.com/belay-dev/belay/reconciler/node/image"
)

// Image implements node.Images.
func (r *Runtime) Image(ctx context.Context, ref string) (node.Image, bool, error) {
	found, err := r.c.ImageInspect(ctx, ref)
	if cerrdefs.IsNotFound(err) {
		return node.Image{}, false, nil
	}
	if err != nil {
		return node.Image{}, false, err
	}
	i := node.Image{ID: found.ID, Size: found.Size}
	if found.Config != nil {
		i.User = found.Config.User
	}
	if parsed, err := image.Parse(ref); err == nil {
		i.Digest = digestFor(parsed, found.RepoDigests)
		if parsed.Digest() != "" { // podman lists no digest of an image that no tag stands for any more, and finds it by that
			i.Digest = parsed.String()
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.digests[i.ID] = i.Digest
	return i, true, nil
}

// digestFor is the digest that the image has in the repository it was asked for in; else the first there is.
func digestFor(ref image.Reference, digests []string) string {
	for _, d := range digests {
		if parsed, err := image.Parse(d); err == nil && parsed.Registry() == ref.Registry() && parsed.Repository() == ref.Repository() {
			return d
		}
	}
	if len(digests) > 0 {
		return digests[0]
	}
	return ""
}

// Pull implements node.Images.
func (r *Runtime) Pull(ctx context.Context, ref string, credentials []node.Credential) (node.Image, error) {
	if len(credentials) == 0 {
		credentials = []node.Credential{{}}
	}
	var err error
	for _, c := range credentials {
		err = r.pull(ctx, ref, c)
		if pull, ok := errors.AsType[*image.PullError](err); !ok || pull.Class != image.Denied {
			break
		}
	}
	if err != nil {
		return node.Image{}, err
	}
	found, ok, err := r.Image(ctx, ref)
	if err == nil && !ok {
		err = &image.PullError{Class: image.Unknown, Err: fmt.Errorf("%s was pulled and is not there", ref)}
	}
	return found, err
}

func (r *Runtime) pull(ctx context.Context, ref string, c node.Credential) error {
	var options client.ImagePullOptions
	if c != (node.Credential{}) {
		auth, err := authconfig.Encode(registry.AuthConfig{
			Username: c.Username, Password: c.Password, IdentityToken: c.IdentityToken, RegistryToken: c.RegistryToken,
		})
		if err != nil {
			return err
		}
		options.RegistryAuth = auth
	}
	response, err := r.c.ImagePull(ctx, ref, options)
	if err != nil {
		return classify(err)
	}
	return classify(errors.Join(response.Wait(ctx), response.Close()))
}

// phrases tell by the engine's words what its codes do not. The first that fits counts.
var phrases = []struct {
	text  string
	class image.Class
}{
	{"no space left", image.Disk}, // whatever could not be written then
	{"no basic auth credentials", image.Denied}, {"unauthorized", image.Denied}, {"denied", image.Denied},
	{"authentication required", image.Denied},
	{"manifest unknown", image.NotFound}, {"not found", image.NotFound}, {"name unknown", image.NotFound},
	{"toomanyrequests", image.RateLimit}, {"too many requests", image.RateLimit},
	{"connection refused", image.Network}, {"no such host", image.Network}, {"timeout", image.Network},
	{"network is unreachable", image.Network}, {"server misbehaving", image.Network}, {"connection reset", image.Network},
	{"internal server error", image.Network}, {"bad gateway", image.Network}, {"service unavailable", image.Network},
	{"filesystem layer verification failed", image.Corrupt}, {"unexpected eof", image.Corrupt}, {"invalid tar header", image.Corrupt},
	{"failed to register layer", image.Corrupt}, {"digest", image.Corrupt}, {"no matching manifest", image.NotFound},
}

// classify says what kind of thing kept the engine from pulling an image.
func classify(err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || client.IsErrConnectionFailed(err) {
		return err
	}
	text := strings.ToLower(err.Error())
	for _, p := range phrases {
		if strings.Contains(text, p.text) {
			return &image.PullError{Class: p.class, Err: err}
		}
	}
	class := image.Unknown
	if cerrdefs.IsNotFound(err) {
		class = image.NotFound
	}
	return &image.PullError{Class: class, Err: err}
}
