package image_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/belay-dev/belay/reconciler/node/image"
)

// TestBombs: an image that becomes much more than what it was sent as is refused in the end, with an error that names it and
// the layer, and leaves nothing.
func TestBombs(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	small := image.Limits{Size: 5000, Entries: 100}
	deep := func(levels int) string { return strings.Repeat("d/", levels) }
	long := strings.Repeat("n", 200)
	for i, c := range []struct {
		name   string
		layer  []byte
		limits image.Limits
		want   string
	}{
		{"zeros in a file", archive(t, file("a", strings.Repeat("\x00", 8<<20))), small, "the image is larger than 5000 bytes"},
		{"zeros after the end", append(archive(t, file("a", "1")), make([]byte, 8<<20)...), small, "the image is larger than 5000 bytes"},
		{"headers of no file", slices.Repeat(extended(t), 500), small, "the image is larger than 5000 bytes"},
		{"files", archive(t, slices.Repeat([]tar.Header{file("a", "")}, 101)...), small, "the image has more than 100 files"},
		{"directories of one file", archive(t, file(deep(150)+"a", "")), small, "the image has more than 100 files"},
		{
			"names", archive(t, slices.Repeat([]tar.Header{file(long+"/"+long+"/"+long, "")}, 90)...), small,
			"the names of the image's files are longer than 25600 bytes",
		},
		{
			"a path without end", archive(t, file(deep(1400)+"a", ""), link(tar.TypeSymlink, "s", deep(1400)), file("s/"+deep(1400)+"a", "")),
			image.Limits{}, "file name too long",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			ref := s.hang(fmt.Sprintf("bomb:%d", i), v1.Config{}, c.layer)
			dir := t.TempDir()
			store := openStore(t, dir, c.limits)
			_, err := store.Pull(t.Context(), ref, nil)
			var pull *image.PullError
			if !errors.As(err, &pull) || pull.Class != image.Corrupt || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if err != nil && (!strings.Contains(err.Error(), fmt.Sprintf("%q: layer 2 of 2 (sha256:", ref)) || len(err.Error()) > 2000) {
				t.Errorf("the error does not name image and layer, or is too long: %v", err)
			}
			if left, _ := filepath.Glob(filepath.Join(dir, "*", "*")); len(left) > 0 {
				t.Errorf("left %v", left)
			}
			if left, _ := filepath.Glob(filepath.Join(dir, "unpack-*")); len(left) > 0 {
				t.Errorf("left %v", left)
			}
		})
	}

	for name, c := range map[string]struct{ ref, want string }{
		"configuration": {s.hang("config:1", v1.Config{Env: []string{strings.Repeat("x", 9<<20)}}), "its configuration is larger than 8388608 bytes"},
		"layers":        {s.hang("layers:1", v1.Config{}, slices.Repeat([][]byte{archive(t, file("a", ""))}, 10)...), "it has more than 10 layers"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := openStore(t, t.TempDir(), image.Limits{Layers: 10}).Pull(t.Context(), c.ref, nil)
			var pull *image.PullError
			if !errors.As(err, &pull) || pull.Class != image.Corrupt || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// archive is a tar archive of files.
func archive(t *testing.T, files ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range files {
		content := h.PAXRecords["BELAY.content"]
		h.PAXRecords, h.Size = nil, int64(len(content))
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// extended is what an archive has before a file to say more about it, without the file.
func extended(t *testing.T) []byte {
	t.Helper()
	const block = 512
	whole := archive(t, tar.Header{Name: "a", Typeflag: tar.TypeReg, Format: tar.FormatPAX, PAXRecords: map[string]string{"BELAY.content": ""}})
	if whole[156] == tar.TypeReg {
		whole = archive(t, tar.Header{Name: strings.Repeat("a", 300), Typeflag: tar.TypeReg, Format: tar.FormatPAX})
	}
	if whole[156] != tar.TypeXHeader {
		t.Fatalf("the archive begins with %q", whole[156])
	}
	return whole[:2*block]
}

// hang puts an image of a harmless layer and others on the shelf.
func (s *shelf) hang(tag string, config v1.Config, archives ...[]byte) string {
	s.t.Helper()
	var layers []v1.Layer
	for _, content := range append([][]byte{archive(s.t, file("first", "1"))}, archives...) {
		layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil })
		if err != nil {
			s.t.Fatal(err)
		}
		layers = append(layers, layer)
	}
	img, err := mutate.AppendLayers(empty.Image, layers...)
	if err != nil {
		s.t.Fatal(err)
	}
	file, err := img.ConfigFile()
	if err != nil {
		s.t.Fatal(err)
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Config = "linux", "amd64", config
	if img, err = mutate.ConfigFile(img, file); err != nil {
		s.t.Fatal(err)
	}
	ref, err := name.ParseReference(s.host + "/" + tag)
	if err == nil {
		err = remote.Write(ref, img)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return ref.String()
}
