package image

import (
	"fmt"

	"github.com/google/go-containerregistry/pkg/name"
)

// Reference is the name of an image, complete with registry and tag or digest.
type Reference struct{ ref name.Reference }

// Parse reads what a pod names: what it leaves out is docker.io, library and latest. The error is the kubelet's text
// for InvalidImageName.
func Parse(text string) (Reference, error) {
	ref, err := name.ParseReference(text, name.WeakValidation)
	if err != nil {
		return Reference{}, fmt.Errorf("failed to apply default image tag %q: couldn't parse image name %q: invalid reference format", text, text)
	}
	return Reference{ref}, nil
}

// Registry is the host, with its port, that serves the image.
func (r Reference) Registry() string { return r.ref.Context().RegistryStr() }

// Repository is the path on it.
func (r Reference) Repository() string { return r.ref.Context().RepositoryStr() }

// String is the complete name.
func (r Reference) String() string { return r.ref.Name() }

// Digest says which content is meant; empty for a tag.
func (r Reference) Digest() string {
	if d, ok := r.ref.(name.Digest); ok {
		return d.DigestStr()
	}
	return ""
}
