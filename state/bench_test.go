package state

import (
	"fmt"
	"runtime"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func BenchmarkCommit(b *testing.B) {
	stores := map[string]func(b *testing.B) *Store{
		"memory": func(b *testing.B) *Store { return open(b) },
		"disk":   func(b *testing.B) *Store { return openDir(b, b.TempDir()) },
	}
	for _, name := range []string{"memory", "disk"} {
		b.Run(name+"/status", func(b *testing.B) {
			s := stores[name](b)
			p := running(stored[*corev1.Pod](b, s, Create(pod("web", nil))))
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				p.ResourceVersion = ""
				p.Status.PodIP = fmt.Sprint(i)
				commit(b, s, UpdateStatus(p))
			}
			b.StopTimer()
			mustDurable(b, s)
		})
		b.Run(name+"/unchanged", func(b *testing.B) {
			s := stores[name](b)
			p := stored[*corev1.Pod](b, s, Create(pod("web", nil)))
			b.ReportAllocs()
			for b.Loop() {
				commit(b, s, UpdateStatus(p))
			}
		})
		b.Run(name+"/parallel", func(b *testing.B) {
			s := stores[name](b)
			var mu sync.Mutex
			n := 0
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				mu.Lock()
				n++
				p := pod(fmt.Sprintf("web-%d", n), nil)
				mu.Unlock()
				p = running(stored[*corev1.Pod](b, s, Create(p)))
				for i := 0; pb.Next(); i++ {
					p.ResourceVersion = ""
					p.Status.PodIP = fmt.Sprint(i)
					commit(b, s, UpdateStatus(p))
				}
			})
			b.StopTimer()
			mustDurable(b, s)
		})
	}
	b.Run("disk/durable", func(b *testing.B) {
		s := openDir(b, b.TempDir())
		p := running(stored[*corev1.Pod](b, s, Create(pod("web", nil))))
		for i := 0; b.Loop(); i++ {
			p.ResourceVersion = ""
			p.Status.PodIP = fmt.Sprint(i)
			commit(b, s, UpdateStatus(p))
			mustDurable(b, s)
		}
	})
}

func mustDurable(t testing.TB, s *Store) {
	t.Helper()
	if err := s.WaitDurable(t.Context(), s.Version()); err != nil {
		t.Fatal(err)
	}
}

func BenchmarkList1000(b *testing.B) {
	s := open(b)
	for i := range 1000 {
		commit(b, s, Create(pod(fmt.Sprintf("web-%d", i), nil)))
	}
	b.ReportAllocs()
	for b.Loop() {
		if got := List[*corev1.Pod](s, ""); len(got) != 1000 {
			b.Fatal(len(got))
		}
	}
}

func BenchmarkGet(b *testing.B) {
	s := open(b)
	for i := range 1000 {
		commit(b, s, Create(pod(fmt.Sprintf("web-%d", i), nil)))
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := Get[*corev1.Pod](s, "default", "web-500"); !ok {
			b.Fatal("not found")
		}
	}
}

// BenchmarkWatch is the time from a commit until 20 watches have it.
func BenchmarkWatch(b *testing.B) {
	const watches = 20
	s := open(b)
	p := running(stored[*corev1.Pod](b, s, Create(pod("web", nil))))
	var got sync.WaitGroup
	var ended sync.WaitGroup
	for range watches {
		w, err := s.Watch(s.Version(), KindPod)
		if err != nil {
			b.Fatal(err)
		}
		ended.Go(func() {
			for {
				events, err := w.Next(b.Context())
				if err != nil {
					return
				}
				for range events {
					got.Done()
				}
			}
		})
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		p.ResourceVersion = ""
		p.Status.PodIP = fmt.Sprint(i)
		got.Add(watches)
		commit(b, s, UpdateStatus(p))
		got.Wait()
	}
	b.StopTimer()
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	ended.Wait()
}

// BenchmarkOpen reads 1,000 Deployments with 3 pods each and 100,000 rows.
func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	fillDisk(b, dir, 1000, 100)
	for b.Loop() {
		s, err := Open(dir, testOptions())
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if n := len(List[*corev1.Pod](s, "")); n != 3000 {
			b.Fatalf("%d pods", n)
		}
		if n := len(s.Rows("default", "web-77")); n != 100 {
			b.Fatalf("%d rows", n)
		}
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		b.ReportMetric(float64(m.HeapAlloc)/(1<<20), "heap-MB")
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

func fillDisk(b *testing.B, dir string, deployments, rows int) {
	b.Helper()
	s, err := Open(dir, testOptions())
	if err != nil {
		b.Fatal(err)
	}
	n := 0
	for i := range deployments {
		name := fmt.Sprintf("web-%d", i)
		d := commit(b, s, Create(deployment(name))).Objects[0]
		rs := commit(b, s, Create(replicaSet(name+"-5c79fcf79b", d))).Objects[0]
		for j := range 3 {
			p := stored[*corev1.Pod](b, s, Create(pod(fmt.Sprintf("%s-5c79fcf79b-%d", name, j), rs)))
			commit(b, s, UpdateStatus(running(p)))
		}
		var writes []Write
		for range rows {
			n++
			writes = append(writes, PutRow(row(n, name)))
		}
		for k := range rows / 10 {
			writes = append(writes, PutTemplate(Template{Hash: fmt.Sprintf("%d-%d", i, k), Template: template(name)}))
		}
		commit(b, s, writes...)
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
}
