//go:build linux

package embedded_test

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"github.com/belay-dev/belay/reconciler/node"
	"github.com/belay-dev/belay/reconciler/node/embedded"
)

// BenchmarkStart starts pods of one container, four at a time, and removes them.
func BenchmarkStart(b *testing.B) {
	dir := b.TempDir()
	r := open(b, embedded.Options{Pods: filepath.Join(dir, "pods"), Images: filepath.Join(dir, "images")})
	hosts, err := registries()
	if err != nil {
		b.Fatal(err)
	}
	img, err := r.Pull(b.Context(), hosts[0]+"/belay/app:1", nil)
	if err != nil {
		b.Fatal(err)
	}
	var next atomic.Int64
	var uids sync.Map
	b.Cleanup(func() {
		uids.Range(func(uid, _ any) bool {
			if err := r.RemovePod(context.WithoutCancel(b.Context()), uid.(types.UID)); err != nil {
				b.Error(err)
			}
			return true
		})
		r.Wait()
	})
	b.SetParallelism(2)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			n := next.Add(1)
			uid := types.UID(fmt.Sprintf("00000000-0000-4000-8000-%012x", n))
			uids.Store(uid, true)
			if _, err := r.RunPod(b.Context(), node.Sandbox{UID: uid, Namespace: "default", Name: "bench", Hostname: "bench"}); err != nil {
				b.Error(err)
				return
			}
			if _, err := r.Start(b.Context(), node.Container{Pod: uid, Name: "c", Ref: "app", Image: img.ID, Args: []string{"forever"}}); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "pods/s")
}

// BenchmarkPull fetches and unpacks an image from a registry on this machine.
func BenchmarkPull(b *testing.B) {
	another := func() *embedded.Runtime {
		dir := b.TempDir()
		return open(b, embedded.Options{Pods: filepath.Join(dir, "pods"), Images: filepath.Join(dir, "images")})
	}
	r := another()
	hosts, err := registries()
	if err != nil {
		b.Fatal(err)
	}
	for ; b.Loop(); r = another() {
		if _, err := r.Pull(b.Context(), hosts[0]+"/belay/app:1", nil); err != nil {
			b.Fatal(err)
		}
	}
}
