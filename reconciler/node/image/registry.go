package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log" //nolint:depguard // the registry takes no other logger
	"net"
	"net/http"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Registry is a registry inside of this process: it keeps in memory what is pushed to it, and serves it to everybody who
// reaches its address.
type Registry struct {
	server *http.Server
	addr   string
	served chan error
}

// NewRegistry listens on an address of this machine. Close ends it.
func NewRegistry(listen string) (*Registry, error) {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return nil, fmt.Errorf("serve images: %w", err)
	}
	r := &Registry{
		server: &http.Server{Handler: registry.New(registry.Logger(log.New(io.Discard, "", 0))), ReadHeaderTimeout: time.Minute},
		addr:   l.Addr().String(), served: make(chan error, 1),
	}
	go func() { r.served <- r.server.Serve(l) }() // Close waits for it
	return r, nil
}

// Push makes an image be served under a repository and a tag, for Ref to name it.
func (r *Registry) Push(ctx context.Context, repository, tag string, s Single) error {
	ref := r.Ref(repository, tag)
	image, err := s.Image()
	if err != nil {
		return fmt.Errorf("build image %s: %w", ref, err)
	}
	t, err := name.NewTag(ref)
	if err != nil {
		return err
	}
	if err := remote.Write(t, image, remote.WithContext(ctx)); err != nil {
		return fmt.Errorf("push image %s: %w", ref, err)
	}
	return nil
}

// Ref is the name of an image of this registry, whether it is there or not.
func (r *Registry) Ref(repository, tag string) string { return r.addr + "/" + repository + ":" + tag }

// Close ends the registry and all that is said to it.
func (r *Registry) Close() error {
	err := r.server.Close()
	if served := <-r.served; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}
