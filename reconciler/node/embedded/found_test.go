//go:build linux

package embedded_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"

	"github.com/belay-dev/belay/reconciler/node"
	"github.com/belay-dev/belay/reconciler/node/embedded"
	"github.com/belay-dev/belay/reconciler/node/image"
)

// TestLostDirectory: a pod goes on when the directory of its driver is lost, or moved, and is found, and ended with grace,
// by another driver, be it in the same place or elsewhere.
func TestLostDirectory(t *testing.T) {
	for name, c := range map[string]struct {
		lose func(dir string) error
		next string
	}{
		"removed, and made again": {image.RemoveTree, "data"},
		"removed":                 {image.RemoveTree, "other"},
		"moved":                   {func(dir string) error { return os.Rename(dir, dir+".old") }, "data"},
		"there still":             {func(string) error { return nil }, "other"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			beacons := filepath.Join(dir, "run")
			at := func(data string) *embedded.Runtime {
				return open(t, embedded.Options{
					Pods: filepath.Join(dir, data, "pods"), Images: filepath.Join(dir, data, "images"), Beacons: []string{filepath.Join(dir, "no", "such"), beacons},
				})
			}
			first := at("data")
			if !first.Machine().Findable {
				t.Fatal("pods are not to be found")
			}
			pod := node.Sandbox{
				UID: types.UID("00000000-0000-4000-8000-0000000000f1"), Namespace: "default", Name: "p", Hostname: "p",
				Origin: node.Origin{Instance: "first", Directory: filepath.Join(dir, "data"), Source: "https://git.example.com/shop.git"},
			}
			id := forever(t, first, pod)
			t.Cleanup(func() {
				if err := first.RemovePod(context.WithoutCancel(t.Context()), pod.UID); err != nil {
					t.Error(err)
				}
				first.Wait()
			})
			if err := c.lose(filepath.Join(dir, "data")); err != nil {
				t.Fatal(err)
			}

			second := at(c.next)
			all, err := second.List(t.Context())
			if err != nil || len(all) != 1 {
				t.Fatalf("%d pods are found, %v", len(all), err)
			}
			if diff := cmp.Diff(pod, all[0].Pod); diff != "" {
				t.Errorf("the pod that is found (-want +got):\n%s", diff)
			}
			runs := all[0].Containers
			if !all[0].Sandbox.Running || len(runs) != 1 || runs[0].ID != id || runs[0].Name != "c" || runs[0].Phase != node.PhaseRunning || runs[0].Image == "" {
				t.Errorf("found %+v", all[0])
			}
			if err := second.Stop(t.Context(), id, time.Hour); err != nil {
				t.Fatal(err)
			}
			state, ok, err := second.Pod(t.Context(), pod.UID)
			if err != nil || !ok || len(state.Containers) != 1 || state.Containers[0].Phase != node.PhaseExited || state.Containers[0].Exit != 0 {
				t.Errorf("after its end: %+v, %v, %v", state, ok, err)
			}
			for range 2 {
				if err := second.RemovePod(t.Context(), pod.UID); err != nil {
					t.Fatal(err)
				}
			}
			first.Wait() // its shim has ended
			if all, err := second.List(t.Context()); len(all) != 0 || err != nil {
				t.Errorf("after its removal: %+v, %v", all, err)
			}
			if left, err := os.ReadDir(beacons); len(left) > 0 || err != nil {
				t.Errorf("left of it: %v, %v", left, err)
			}
			if name == "there still" {
				if left, err := os.ReadDir(filepath.Join(dir, "data", "pods")); len(left) > 0 || err != nil {
					t.Errorf("left of it in its directory: %v, %v", left, err)
				}
			}
		})
	}
}

// TestBeacons: they lie where nobody else writes, go with their pods, and are no other's pods to the driver that made them.
func TestBeacons(t *testing.T) {
	dir := t.TempDir()
	open1, own := filepath.Join(dir, "open"), filepath.Join(dir, "own")
	link := filepath.Join(dir, "link")
	for _, err := range []error{os.Mkdir(open1, 0o700), os.Chmod(open1, 0o777), os.Mkdir(own, 0o700), os.Symlink(own, link)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	r := open(t, embedded.Options{Pods: filepath.Join(dir, "pods"), Images: filepath.Join(dir, "images"), Beacons: []string{open1, link, own}})
	pod := node.Sandbox{UID: types.UID("00000000-0000-4000-8000-0000000000f2"), Namespace: "default", Name: "p", Hostname: "p"}
	forever(t, r, pod)
	names := func(dir string) (out []string) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			out = append(out, e.Name())
		}
		return out
	}
	if got := names(own); !slices.Equal(got, []string{string(pod.UID)}) || len(names(open1)) > 0 {
		t.Errorf("beacons are %q and %q", got, names(open1))
	}
	if all, err := r.List(t.Context()); err != nil || len(all) != 1 || len(all[0].Containers) != 1 {
		t.Errorf("%+v, %v", all, err)
	}
	if err := r.RemovePod(t.Context(), pod.UID); err != nil {
		t.Fatal(err)
	}
	r.Wait()
	if left := names(own); len(left) > 0 {
		t.Errorf("left: %q", left)
	}

	// What is left of a pod that died with its directory goes when it is seen.
	second := open(t, embedded.Options{Pods: filepath.Join(dir, "lost", "pods"), Images: filepath.Join(dir, "lost", "images"), Beacons: []string{own}})
	forever(t, second, pod)
	state, _, err := second.Pod(t.Context(), pod.UID)
	if err != nil {
		t.Fatal(err)
	}
	killShim(t, state.Sandbox.ID)
	second.Wait()
	if err := image.RemoveTree(filepath.Join(dir, "lost")); err != nil {
		t.Fatal(err)
	}
	if all, err := r.List(t.Context()); len(all) != 0 || err != nil {
		t.Errorf("a dead pod: %+v, %v", all, err)
	}
	if left := names(own); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// forever runs a pod with a container that goes on until it is told to end, and listens for that already.
func forever(t *testing.T, r *embedded.Runtime, pod node.Sandbox) (id string) {
	t.Helper()
	hosts, err := registries()
	if err != nil {
		t.Fatal(err)
	}
	ref := hosts[0] + "/belay/app:1"
	img, err := r.Pull(t.Context(), ref, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.RunPod(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	if id, err = r.Start(t.Context(), node.Container{Pod: pod.UID, Name: "c", Ref: ref, Image: img.ID, Args: []string{"forever"}}); err != nil {
		t.Fatal(err)
	}
	logs, err := r.Logs(t.Context(), id, node.LogOptions{Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	defer logs.Close()
	if _, err := logs.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return id
}
