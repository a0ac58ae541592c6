package api

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/belay-dev/belay/state"
)

// listed is how many Deployments the benchmarks' server has.
const listed = 1000

// serveBench runs a server with Deployments until the benchmark ends, and returns a client that is not slowed down.
func serveBench(b *testing.B) (*kubernetes.Clientset, *state.Store) {
	b.Helper()
	store, err := state.OpenMemory(state.Options{Now: time.Now})
	if err != nil {
		b.Fatal(err)
	}
	for n := range listed {
		if _, err := store.Commit(state.Create(deployment(fmt.Sprintf("web-%d", n)))); err != nil {
			b.Fatal(err)
		}
	}
	server, stop := startBench(b, store, b.TempDir())
	b.Cleanup(func() {
		if err := errors.Join(stop(), store.Close()); err != nil {
			b.Error(err)
		}
	})
	config, err := clientcmd.BuildConfigFromFlags("", server.Kubeconfig())
	if err != nil {
		b.Fatal(err)
	}
	config.QPS = -1
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		b.Fatal(err)
	}
	return client, store
}

// startBench starts a server and waits until it answers.
func startBench(b *testing.B, store *state.Store, dir string) (*Server, func() error) {
	b.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	server, err := New(Options{Store: store, Listener: listener, Dir: dir, Now: time.Now, Log: zerolog.Nop()})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(b.Context()))
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	<-server.Ready()
	return server, func() error {
		cancel()
		return <-ended
	}
}

func BenchmarkGet(b *testing.B) {
	client, _ := serveBench(b)
	for b.Loop() {
		if _, err := client.AppsV1().Deployments("default").Get(b.Context(), "web-7", metav1.GetOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkListTable is what kubectl get deployments asks for, with 1,000 of them.
func BenchmarkListTable(b *testing.B) {
	client, _ := serveBench(b)
	for b.Loop() {
		err := client.AppsV1().RESTClient().Get().Resource("deployments").Namespace("default").
			SetHeader("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io").Do(b.Context()).Error()
		if err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPatch(b *testing.B) {
	client, _ := serveBench(b)
	n := 0
	for b.Loop() {
		n++
		patch := []byte(`{"spec":{"replicas":` + strconv.Itoa(n%9) + `}}`)
		if _, err := client.AppsV1().Deployments("default").Patch(b.Context(), "web-7", types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFanOut is one change that 200 clients see over the network.
func BenchmarkFanOut(b *testing.B) {
	client, store := serveBench(b)
	const watchers = 200
	var seen sync.WaitGroup
	for range watchers {
		w, err := client.AppsV1().Deployments("default").Watch(b.Context(), metav1.ListOptions{ResourceVersion: strconv.FormatInt(store.Version(), 10)})
		if err != nil {
			b.Fatal(err)
		}
		defer w.Stop()
		go func() {
			for e := range w.ResultChan() {
				if e.Type == watch.Modified { // at its end a watch says so, too
					seen.Done()
				}
			}
		}()
	}
	n := int32(0)
	for b.Loop() {
		stored, _ := state.Get[*appsv1.Deployment](store, "default", "web-7")
		d := stored.DeepCopy()
		n++
		d.Spec.Replicas = &n
		seen.Add(watchers)
		if _, err := store.Commit(state.Update(d)); err != nil {
			b.Fatal(err)
		}
		seen.Wait()
	}
}

// BenchmarkStart is from nothing to a server that answers; the certificate is there already.
func BenchmarkStart(b *testing.B) {
	store, err := state.OpenMemory(state.Options{Now: time.Now})
	if err != nil {
		b.Fatal(err)
	}
	dir := b.TempDir()
	for b.Loop() {
		_, stop := startBench(b, store, dir)
		b.StopTimer()
		if err := stop(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	if err := store.Close(); err != nil {
		b.Fatal(err)
	}
}
