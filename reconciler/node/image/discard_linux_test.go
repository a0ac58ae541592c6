package image_test

import (
	"archive/tar"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/belay-dev/belay/reconciler/node"
	"github.com/belay-dev/belay/reconciler/node/image"
)

// TestDiscard takes names away, and an image with the last of them.
func TestDiscard(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	at := t.TempDir()
	store := openStore(t, at, image.Limits{})
	ref := s.push("shop/web:1", []tar.Header{dir("etc", 0o500), file("etc/x", "1")})
	pull := func(ref string) node.PulledImage {
		t.Helper()
		got, err := store.Pull(t.Context(), ref, nil)
		if err != nil {
			t.Fatal(err)
		}
		return node.PulledImage{Ref: ref, ID: got.ID, Digest: got.Digest}
	}
	there := func(name string, want bool) {
		t.Helper()
		if _, ok, err := store.Find(name); ok != want || err != nil {
			t.Errorf("%s is there: %v, %v", name, ok, err)
		}
	}
	first := pull(ref)
	s.push("shop/web:1", []tar.Header{file("x", "2")})
	second := pull(ref)
	there(first.Digest, true) // a name that moved leaves the image that it stood for
	for range 2 {
		if err := store.Discard(first); err != nil {
			t.Fatal(err)
		}
	}
	there(first.Digest, false)
	there(ref, true)
	if _, ok, err := store.ByID(first.ID); ok || err != nil {
		t.Errorf("the image is there: %v, %v", ok, err)
	}

	other := s.push("other/web:1", []tar.Header{file("x", "2")})
	third := pull(other)
	if err := store.Discard(second); err != nil {
		t.Fatal(err)
	}
	there(ref, false)
	there(other, true)
	there(third.Digest, true)

	// An image that was unpacked, and not named before the process was killed.
	store = openStore(t, at, image.Limits{})
	orphan := filepath.Join(at, "sha256", "0000000000000000000000000000000000000000000000000000000000000000")
	if err := os.Mkdir(orphan, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, keep := range []bool{true, false} {
		if err := store.Sweep(func(id string) bool { return keep && id == "sha256:"+filepath.Base(orphan) }); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(orphan); (err == nil) != keep {
			t.Errorf("kept %v: %v", keep, err)
		}
	}
	if err := store.Discard(third); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(filepath.Join(at, "sha256")); len(left) > 0 || err != nil {
		t.Errorf("%d images are left, %v", len(left), err)
	}
	if filled, err := store.Filled(); filled <= 0 || filled > 1 || err != nil {
		t.Errorf("the disk is used to %v, %v", filled, err)
	}
}

// TestPullsAtOnce: an image is pulled by several names at the same time, while it is discarded under one.
func TestPullsAtOnce(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	store := openStore(t, t.TempDir(), image.Limits{})
	var pulls sync.WaitGroup
	for _, name := range []string{"web:1", "web:2", "web:3", "web:4"} {
		ref := s.push(name, []tar.Header{file("x", "1")})
		pulls.Go(func() {
			for i := range 5 {
				got, err := store.Pull(t.Context(), ref, nil)
				if err == nil && i < 4 {
					err = store.Discard(node.PulledImage{Ref: ref, ID: got.ID, Digest: got.Digest})
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	pulls.Wait()
	for _, name := range []string{"web:1", "web:4"} {
		if found, ok, err := store.Find(s.host + "/" + name); !ok || err != nil || tree(t, found.Rootfs) != "x 1" {
			t.Errorf("%s: %+v, %v, %v", name, found, ok, err)
		}
	}
}
