package kubelet_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/tools/remotecommand"

	"github.com/belay-dev/belay/reconciler/controller"
	"github.com/belay-dev/belay/reconciler/node"
	"github.com/belay-dev/belay/reconciler/node/conformance/program"
	"github.com/belay-dev/belay/reconciler/node/fake"
	"github.com/belay-dev/belay/reconciler/node/kubelet"
	"github.com/belay-dev/belay/state"
)

// probed counts the probes that reach a driver.
type probed struct {
	node.Runtime
	n atomic.Int64
}

func (p *probed) Dial(ctx context.Context, uid types.UID, port int32) (net.Conn, error) {
	p.n.Add(1)
	return p.Runtime.Dial(ctx, uid, port)
}

func (p *probed) Exec(ctx context.Context, id string, command []string, o remotecommand.StreamOptions) (int, error) {
	p.n.Add(1)
	return p.Runtime.Exec(ctx, id, command, o)
}

// processor is the time that this process has had of the processors.
func processor(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkProbes has 1,000 pods in memory probed every second for five seconds, and measures what that takes of the
// processors: in parts of one, and beside bare requests of HTTP to the same pods, whose answers are counted in both.
func BenchmarkProbes(b *testing.B) {
	const many, lasts = 1000, 5 * time.Second
	for name, handler := range map[string]corev1.ProbeHandler{
		"http": {HTTPGet: &corev1.HTTPGetAction{Path: "/ready", Port: intstr.FromInt32(80), Scheme: corev1.URISchemeHTTP}},
		"exec": {Exec: &corev1.ExecAction{Command: []string{"/program", "exit", "0"}}},
	} {
		b.Run(name, func(b *testing.B) {
			store, err := state.OpenMemory(state.Options{Now: time.Now})
			if err != nil {
				b.Fatal(err)
			}
			engine := fake.NewEngine(time.Now)
			engine.Serve("index.docker.io/library/app:1", program.Run, true)
			runtime := &probed{Runtime: engine.Runtime()}
			k := kubelet.New(kubelet.Options{
				Runtime: runtime, Objects: kubelet.Stored(store), Dir: filepath.Join(b.TempDir(), "pods"), Now: time.Now, Log: zerolog.Nop(),
			})
			ctx, cancel := context.WithCancel(b.Context())
			var running sync.WaitGroup
			running.Go(func() {
				if err := controller.Run(ctx, store, node.New(store, k, zerolog.Nop(), time.Now)); err != nil {
					b.Error(err)
				}
			})
			var pods []types.UID
			for i := range many {
				p := pod(fmt.Sprint("probed-", i), "serve", "80")
				p.Spec.Containers[0].ReadinessProbe = &corev1.Probe{
					ProbeHandler: handler, PeriodSeconds: 1, TimeoutSeconds: 10, SuccessThreshold: 1, FailureThreshold: 3,
				}
				receipt, err := store.Commit(state.Create(p))
				if err != nil {
					b.Fatal(err)
				}
				pods = append(pods, receipt.Objects[0].GetUID())
			}
			for ready := 0; ready < many; <-time.After(100 * time.Millisecond) {
				ready = 0
				for _, p := range state.List[*corev1.Pod](store, "") {
					if s := p.Status.ContainerStatuses; len(s) > 0 && s[0].Ready {
						ready++
					}
				}
			}
			var probes int64
			var probing, took, bare time.Duration
			for b.Loop() {
				begin, spent, n := time.Now(), processor(b), runtime.n.Load()
				<-time.After(lasts)
				probing, took, probes = probing+processor(b)-spent, took+time.Since(begin), probes+runtime.n.Load()-n
				b.StopTimer()
				bare += requests(b, engine.Runtime(), pods)
				b.StartTimer()
			}
			cancel()
			running.Wait()
			for _, uid := range pods {
				if err := engine.Runtime().RemovePod(b.Context(), uid); err != nil {
					b.Error(err)
				}
			}
			engine.Wait()
			each := float64(probing) / float64(probes)
			b.ReportMetric(float64(probing)/float64(took), "processors")
			b.ReportMetric(float64(probes)/took.Seconds(), "probes/s")
			b.ReportMetric(each/1e3, "µs/probe")
			b.ReportMetric(each/(float64(bare)/float64(b.N*len(pods))), "xrequest")
		})
	}
}

// requests is what a request to each pod takes of the processors, every one over a connection of its own.
func requests(b *testing.B, r node.Runtime, pods []types.UID) time.Duration {
	b.Helper()
	spent := processor(b)
	for _, uid := range pods {
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return r.Dial(ctx, uid, 80)
		}}}
		answer, err := client.Get("http://pod/ready")
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, answer.Body); err != nil {
			b.Fatal(err)
		}
		if err := answer.Body.Close(); err != nil {
			b.Fatal(err)
		}
	}
	return processor(b) - spent
}
