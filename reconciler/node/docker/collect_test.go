package docker_test

import (
	"context"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/moby/moby/client"

	"github.com/belay-dev/belay/reconciler/node"
	"github.com/belay-dev/belay/reconciler/node/image"
)

// TestDiscard takes images away that nothing is made from: of a tag that moved the one that is meant, and of one that has
// another name only the name that was pulled.
func TestDiscard(t *testing.T) {
	r, c := open(t), engine(t)
	server := httptest.NewServer(registry.New())
	defer server.Close()
	ref := strings.TrimPrefix(server.URL, "http://") + "/belay/moves:1"
	tag, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	var pulled []node.PulledImage
	for _, content := range []string{"first", "second"} {
		img, err := image.Single{Architecture: runtime.GOARCH, Name: "/" + content, Program: []byte(content)}.Image()
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.Write(tag, img, remote.WithContext(t.Context())); err != nil {
			t.Fatal(err)
		}
		got, err := r.Pull(t.Context(), ref, nil)
		if err != nil {
			t.Fatal(err)
		}
		pulled = append(pulled, node.PulledImage{Ref: ref, ID: got.ID, Digest: got.Digest})
		forget(t, got.ID)
	}
	there := func(want ...bool) {
		t.Helper()
		for i, p := range pulled {
			if _, ok, err := r.Image(t.Context(), p.ID); ok != want[i] || err != nil {
				t.Errorf("image %d is there: %v, %v; want %v", i, ok, err, want[i])
			}
		}
	}
	if got, ok, err := r.Image(t.Context(), pulled[0].Digest); !ok || err != nil || got.ID != pulled[0].ID || got.Digest != pulled[0].Digest {
		t.Errorf("the image whose tag moved is %+v, %v, %v; want %+v", got, ok, err, pulled[0])
	}
	made, err := c.ContainerCreate(t.Context(), client.ContainerCreateOptions{Image: pulled[0].ID})
	if err != nil {
		t.Fatal(err)
	}
	remove := func(ctx context.Context) {
		if _, err := c.ContainerRemove(ctx, made.ID, client.ContainerRemoveOptions{Force: true}); err != nil {
			t.Error(err)
		}
	}
	if gone, err := r.Discard(t.Context(), pulled[0]); gone || err != nil {
		t.Errorf("an image that a container is made from is gone: %v, %v", gone, err)
	}
	there(true, true)
	remove(t.Context())
	for range 2 {
		if gone, err := r.Discard(t.Context(), pulled[0]); !gone || err != nil {
			t.Errorf("the image that the tag has left stays: %v, %v", gone, err)
		}
		there(false, true)
	}
	other := strings.TrimSuffix(ref, "moves:1") + "other:1"
	if _, err := c.ImageTag(t.Context(), client.ImageTagOptions{Source: pulled[1].ID, Target: other}); err != nil {
		t.Fatal(err)
	}
	if gone, err := r.Discard(t.Context(), pulled[1]); !gone || err != nil {
		t.Errorf("the name that was pulled stays: %v, %v", gone, err)
	}
	if _, ok, err := r.Image(t.Context(), ref); ok || err != nil {
		t.Errorf("the name that was pulled stays: %v", err)
	}
	there(false, true)
	if filled, err := r.Filled(t.Context()); filled <= 0 || filled > 1 || err != nil {
		t.Errorf("the disk is used to %v, %v", filled, err)
	}
}
