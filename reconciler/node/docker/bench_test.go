package docker_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"k8s.io/apimachinery/pkg/types"

	"github.com/belay-dev/belay/reconciler/node"
)

// BenchmarkPods starts and removes a pod of one container beside what `docker run` and `docker rm -f` do with the same
// image, in turn.
func BenchmarkPods(b *testing.B) {
	r, c := open(b), engine(b)
	ref := present(b, r)
	img, _, err := r.Image(b.Context(), ref)
	if err != nil {
		b.Fatal(err)
	}
	var pods, plain time.Duration
	n := 0
	for b.Loop() {
		n++
		uid := types.UID(fmt.Sprint("bench-", n))
		begin := time.Now()
		if _, err := r.RunPod(b.Context(), node.Sandbox{UID: uid, Namespace: "bench", Name: fmt.Sprint("bench-", n)}); err != nil {
			b.Fatal(err)
		}
		if _, err := r.Start(b.Context(), node.Container{Pod: uid, Name: "c", Ref: ref, Image: img.ID, Args: []string{"forever"}}); err != nil {
			b.Fatal(err)
		}
		if err := r.RemovePod(b.Context(), uid); err != nil {
			b.Fatal(err)
		}
		pods += time.Since(begin)
		begin = time.Now()
		made, err := c.ContainerCreate(b.Context(), client.ContainerCreateOptions{Config: &container.Config{Image: ref, Cmd: []string{"forever"}}})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := c.ContainerStart(b.Context(), made.ID, client.ContainerStartOptions{}); err != nil {
			b.Fatal(err)
		}
		if _, err := c.ContainerRemove(b.Context(), made.ID, client.ContainerRemoveOptions{Force: true}); err != nil {
			b.Fatal(err)
		}
		plain += time.Since(begin)
	}
	b.ReportMetric(float64(pods)/float64(plain), "xdockerrun")
}

// BenchmarkList takes stock of 100 pods as a new process does, and again as it does every ten seconds.
func BenchmarkList(b *testing.B) {
	const many = 100
	r := open(b)
	ref := present(b, r)
	img, _, err := r.Image(b.Context(), ref)
	if err != nil {
		b.Fatal(err)
	}
	for i := range many {
		uid := types.UID(fmt.Sprint("list-", i))
		b.Cleanup(func() {
			if err := r.RemovePod(context.WithoutCancel(b.Context()), uid); err != nil {
				b.Error(err)
			}
		})
		if _, err := r.RunPod(b.Context(), node.Sandbox{UID: uid, Namespace: "bench", Name: fmt.Sprint("list-", i)}); err != nil {
			b.Fatal(err)
		}
		if _, err := r.Start(b.Context(), node.Container{Pod: uid, Name: "c", Ref: ref, Image: img.ID, Args: []string{"forever"}}); err != nil {
			b.Fatal(err)
		}
	}
	var first, again time.Duration
	n := 0
	for b.Loop() {
		n++
		fresh := open(b)
		begin := time.Now()
		all, err := fresh.List(b.Context())
		if err != nil || len(all) < many {
			b.Fatalf("%d pods, %v", len(all), err)
		}
		first += time.Since(begin)
		begin = time.Now()
		if _, err := fresh.List(b.Context()); err != nil {
			b.Fatal(err)
		}
		again += time.Since(begin)
	}
	b.ReportMetric(float64(first.Milliseconds())/float64(n), "ms/adoption")
	b.ReportMetric(float64(again.Milliseconds())/float64(n), "ms/relist")
}
