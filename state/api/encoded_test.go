package api

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	core "k8s.io/kubernetes/pkg/apis/core"

	"github.com/belay-dev/belay/state"
)

// configMap is one with a value of a size.
func configMap(size int) *core.ConfigMap {
	return &core.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "m", Namespace: "default"}, Data: map[string]string{"v": strings.Repeat("x", size)}}
}

// TestEncodedOnce: whatever many watches send at once is encoded once for each form, if it is not large.
func TestEncodedOnce(t *testing.T) {
	t.Parallel()
	for size, once := range map[int]bool{10: true, maxEncoded + 1: false} {
		e := &encodable{object: configMap(size)}
		var calls atomic.Int64
		encode := func(o runtime.Object, w io.Writer) error {
			calls.Add(1)
			m := o.(*core.ConfigMap)
			_, err := io.WriteString(w, m.Name+m.Data["v"])
			m.Data["v"] = "spoiled" // it is the encoder's
			return err
		}
		const watchers = 200
		want := "m" + strings.Repeat("x", size)
		var all sync.WaitGroup
		for n := range watchers {
			all.Go(func() {
				var b bytes.Buffer
				id := runtime.Identifier(fmt.Sprint("form ", n%2))
				if err := e.CacheEncode(id, encode, &b); err != nil || b.String() != want {
					t.Errorf("%d bytes, %v", b.Len(), err)
				}
			})
		}
		all.Wait()
		if n := calls.Load(); once && n != 2 || !once && n != watchers {
			t.Errorf("%d watches had %d bytes encoded %d times", watchers, size, n)
		}
	}
}

func TestEncodedFails(t *testing.T) {
	t.Parallel()
	e, broken := &encodable{object: configMap(1)}, errors.New("broken")
	for range 2 {
		if err := e.CacheEncode("", func(runtime.Object, io.Writer) error { return broken }, io.Discard); !errors.Is(err, broken) {
			t.Errorf("got %v", err)
		}
	}
	m, err := meta.Accessor(e)
	if err != nil || m.GetName() != "m" {
		t.Errorf("%v, %v", m, err)
	}
}

// BenchmarkEncodeFanOut is one change that 200 watches send, encoded once for all and once for each: the ratio is how much
// the second costs more.
func BenchmarkEncodeFanOut(b *testing.B) {
	const watchers = 200
	codec := legacyscheme.Codecs.LegacyCodec(schema.GroupVersion{Version: "v1"})
	send := func(id func(n int) runtime.Identifier) time.Duration {
		e := &encodable{object: configMap(2000)}
		start := time.Now()
		for n := range watchers {
			if err := e.CacheEncode(id(n), codec.Encode, io.Discard); err != nil {
				b.Fatal(err)
			}
		}
		return time.Since(start)
	}
	var shared, alone time.Duration
	for b.Loop() {
		shared += send(func(int) runtime.Identifier { return "one" })
		alone += send(func(n int) runtime.Identifier { return runtime.Identifier(fmt.Sprint(n)) })
	}
	b.ReportMetric(float64(alone)/float64(shared), "ratio")
}

// TestSlowWatcher: a client that does not read costs no more than what was on its way to it, and is told that it missed
// the rest.
func TestSlowWatcher(t *testing.T) {
	t.Parallel()
	const changes, kept = 1000, 200
	store, err := state.OpenMemory(state.Options{Now: time.Now, HistorySize: kept})
	if err != nil {
		t.Fatal(err)
	}
	var watches sync.WaitGroup
	s := &objects{store: store, watches: &watches, bookmark: time.Hour, resource: resource{
		kind: state.KindConfigMap, prefix: "/configmaps/", fresh: func() runtime.Object { return &core.ConfigMap{} },
		encode: encoder(schema.GroupVersion{Version: "v1"}), decode: decode,
	}}
	w, err := s.Watch(t.Context(), "/configmaps/", storage.ListOptions{
		ResourceVersion: strconv.FormatInt(store.Version(), 10), Recursive: true, Predicate: storage.Everything})
	if err != nil {
		t.Fatal(err)
	}
	for n := range changes {
		o := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprint("m", n)}}
		if _, err := store.Commit(state.Create(o)); err != nil {
			t.Fatal(err)
		}
	}
	sent := 0
	var last watch.Event
	for e := range w.ResultChan() {
		sent++
		last = e
	}
	if sent > watchBuffer+kept+2 {
		t.Errorf("%d events waited for a client that read none", sent)
	}
	if status, ok := last.Object.(*metav1.Status); !ok || status.Code != http.StatusGone {
		t.Errorf("at last it was sent %v", last)
	}
	watches.Wait()
	if err := store.Close(); err != nil {
		t.Error(err)
	}
}
