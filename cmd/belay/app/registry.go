package app

import (
	"context"
	"runtime"

	"github.com/belay-dev/belay/reconciler/node/image"
)

// Images is a registry inside of this process, for those who have none.
type Images struct{ registry *image.Registry }

// ServeImages listens on a free port of this machine alone. Close ends it.
func ServeImages() (*Images, error) {
	r, err := image.NewRegistry("127.0.0.1:0")
	return &Images{r}, err
}

// Push makes an image of one executable for this machine, with an environment, be served.
func (i *Images) Push(ctx context.Context, repository, tag string, program []byte, env ...string) error {
	return i.registry.Push(ctx, repository, tag, image.Single{Architecture: runtime.GOARCH, Name: "/program", Program: program, Env: env})
}

// Ref is the name of an image here, whether it is there or not.
func (i *Images) Ref(repository, tag string) string { return i.registry.Ref(repository, tag) }

// Close ends the registry.
func (i *Images) Close() error { return i.registry.Close() }
