package api

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	core "k8s.io/kubernetes/pkg/apis/core"

	"github.com/belay-dev/belay/state"
)

// TestFanOut has 200 clients watch 1,000 objects that change: each change is converted once.
func TestFanOut(t *testing.T) {
	t.Parallel()
	const objectsThere, watchers = 1000, 200
	store, err := state.OpenMemory(state.Options{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	var conversions atomic.Int64
	var watches sync.WaitGroup
	s := &objects{store: store, watches: &watches, bookmark: time.Hour, resource: resource{
		kind: state.KindConfigMap, prefix: "/configmaps/", fresh: func() runtime.Object { return &core.ConfigMap{} },
		encode: encoder(schema.GroupVersion{Version: "v1"}),
		decode: func(from state.Object, into runtime.Object) error {
			conversions.Add(1)
			return decode(from, into)
		},
	}}
	ctx, cancel := context.WithCancel(t.Context())
	defer func() {
		cancel()
		watches.Wait()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	}()
	var all []watch.Interface
	for range watchers {
		w, err := s.Watch(ctx, "/configmaps/", storage.ListOptions{
			ResourceVersion: strconv.FormatInt(store.Version(), 10), Recursive: true, Predicate: storage.Everything})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, w)
	}
	for n := range objectsThere {
		name := fmt.Sprintf("m%d", n)
		if _, err := store.Commit(state.Create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}})); err != nil {
			t.Fatal(err)
		}
		for _, w := range all {
			e := <-w.ResultChan()
			if m, ok := e.Object.(*encodable).object.(*core.ConfigMap); !ok || e.Type != watch.Added || m.Name != name {
				t.Fatalf("%s %v, want %s", e.Type, e.Object, name)
			}
		}
	}
	if n := conversions.Load(); n != objectsThere {
		t.Errorf("%d conversions of %d changes for %d watchers", n, objectsThere, watchers)
	}
}

// TestInformerOverRestart: a client's cache goes on over a restart of the service, and misses nothing.
func TestInformerOverRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	start := func(address string) (file string, on string, stop func()) {
		t.Helper()
		store, err := state.Open(dir, state.Options{Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		listener, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		server, err := New(Options{Store: store, Listener: listener, Dir: dir, Now: time.Now, Log: zerolog.Nop()})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
		ended := make(chan error, 1)
		go func() { ended <- server.Run(ctx) }()
		select {
		case <-server.Ready():
		case err := <-ended:
			t.Fatal(err)
		}
		return server.Kubeconfig(), listener.Addr().String(), sync.OnceFunc(func() {
			cancel()
			if err := errors.Join(<-ended, store.Close()); err != nil {
				t.Error(err)
			}
		})
	}
	file, address, stop := start("127.0.0.1:0")
	config, err := clientcmd.BuildConfigFromFlags("", file)
	if err != nil {
		t.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	put := func(name string) {
		t.Helper()
		o := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}
		if _, err := client.CoreV1().ConfigMaps("default").Create(t.Context(), o, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	changes := make(chan string, 100)
	factory := informers.NewSharedInformerFactory(client, 0)
	informer := factory.Core().V1().ConfigMaps().Informer()
	name := func(o any) string {
		if d, ok := o.(cache.DeletedFinalStateUnknown); ok {
			o = d.Obj
		}
		return o.(*corev1.ConfigMap).Name
	}
	if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(o any) { changes <- "+" + name(o) }, DeleteFunc: func(o any) { changes <- "-" + name(o) },
	}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	factory.StartWithContext(ctx)
	defer func() {
		cancel()
		factory.Shutdown()
		stop()
	}()
	next := func(want string) {
		t.Helper()
		if got := <-changes; got != want {
			t.Fatalf("the informer says %s, want %s", got, want)
		}
	}
	put("before")
	next("+before")
	stop()
	_, _, stop = start(address)
	put("after")
	next("+after")
	if err := client.CoreV1().ConfigMaps("default").Delete(t.Context(), "before", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	next("-before")
}
