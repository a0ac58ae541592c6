//go:build linux

package embedded_test

import (
	"context"
	"path/filepath"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"github.com/belay-dev/belay/reconciler/node"
	"github.com/belay-dev/belay/reconciler/node/embedded"
)

// TestDiscard: an image stays while a container was made from it, for whatever process asks.
func TestDiscard(t *testing.T) {
	dir := t.TempDir()
	again := func() *embedded.Runtime {
		return open(t, embedded.Options{Pods: filepath.Join(dir, "p[*]ds"), Images: filepath.Join(dir, "images")})
	}
	r := again()
	hosts, err := registries()
	if err != nil {
		t.Fatal(err)
	}
	ref := hosts[0] + "/belay/app:1"
	img, err := r.Pull(t.Context(), ref, nil)
	if err != nil {
		t.Fatal(err)
	}
	const uid types.UID = "00000000-0000-4000-8000-0000000000d1"
	t.Cleanup(func() {
		if err := r.RemovePod(context.WithoutCancel(t.Context()), uid); err != nil {
			t.Error(err)
		}
		r.Wait()
	})
	id := forever(t, r, node.Sandbox{UID: uid, Namespace: "default", Name: "p", Hostname: "p"})
	pulled := node.PulledImage{Ref: ref, ID: img.ID, Digest: img.Digest}
	for _, driver := range []*embedded.Runtime{r, again()} {
		if gone, err := driver.Discard(t.Context(), pulled); gone || err != nil {
			t.Errorf("an image that a container is made from is gone: %v, %v", gone, err)
		}
	}
	if err := r.Stop(t.Context(), id, 0); err != nil {
		t.Fatal(err)
	}
	if gone, err := r.Discard(t.Context(), pulled); gone || err != nil {
		t.Errorf("an image that a container was made from is gone: %v, %v", gone, err)
	}
	if err := r.Remove(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if gone, err := r.Discard(t.Context(), pulled); !gone || err != nil {
		t.Errorf("the image stays: %v, %v", gone, err)
	}
	if _, ok, err := again().Image(t.Context(), ref); ok || err != nil {
		t.Errorf("the image is there: %v, %v", ok, err)
	}
	if filled, err := r.Filled(t.Context()); filled <= 0 || filled > 1 || err != nil {
		t.Errorf("the disk is used to %v, %v", filled, err)
	}
}
