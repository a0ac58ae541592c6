package image

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// Single is an image of one executable.
type Single struct {
	Architecture string // as Go names it
	Name         string // absolute path of the executable in the image, which is its entrypoint
	Program      []byte
	Links        []string // absolute paths of links to it
	Env          []string // NAME=value
}

// Image builds it. The same input gives the same digest.
func (s Single) Image() (v1.Image, error) {
	var content bytes.Buffer
	w := tar.NewWriter(&content)
	if err := w.WriteHeader(&tar.Header{Name: s.Name[1:], Mode: 0o755, Size: int64(len(s.Program)), Typeflag: tar.TypeReg}); err != nil {
		return nil, err
	}
	if _, err := w.Write(s.Program); err != nil {
		return nil, err
	}
	for _, link := range s.Links {
		if err := w.WriteHeader(&tar.Header{Name: link[1:], Linkname: s.Name, Typeflag: tar.TypeSymlink}); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content.Bytes())), nil }
	layer, err := tarball.LayerFromOpener(open, tarball.WithCompressedCaching) // which is asked for again and again
	if err != nil {
		return nil, err
	}
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", s.Architecture
	config.Config.Entrypoint, config.Config.Env = []string{s.Name}, s.Env
	return mutate.ConfigFile(image, config)
}

// Archive writes the image as an engine loads it, tagged.
func (s Single) Archive(w io.Writer, tag string) error {
	image, err := s.Image()
	if err != nil {
		return fmt.Errorf("build image %s: %w", tag, err)
	}
	t, err := name.NewTag(tag)
	if err != nil {
		return err
	}
	return tarball.Write(t, image, w)
}
