package docker_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/client"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/belay-dev/belay/reconciler/node"
	"github.com/belay-dev/belay/state"
)

// BenchmarkPods has the agent start pods of one container, all at once, until each runs and is ready, beside as many
// `docker run -d` of the same image at once, and measures what the processes that hold either take of memory.
func BenchmarkPods(b *testing.B) {
	const many = 16
	r, c, ctx := open(b), engine(b), context.WithoutCancel(b.Context())
	ref := present(b, r)
	a := agentOf(ctx, b, r, "bench")
	var pods, plain time.Duration
	var podMemory, plainMemory int
	n := 0
	for b.Loop() {
		n++
		var names []string
		for i := range many {
			names = append(names, fmt.Sprintf("bench-%d-%d", n, i))
		}
		begin := time.Now()
		for _, name := range names {
			a.create(podOf(name, ref, "forever"))
		}
		for _, name := range names {
			a.until(name, "running", runs(0))
		}
		pods += time.Since(begin)
		podMemory += memory(b, c, "label=belay.dev/instance=bench", "label=belay.dev/container")
		a.end(names...)

		begin = time.Now()
		run(b, many, "run", "-d", "--network=belay", "--label=belay.example.com/plain", ref, "forever")
		plain += time.Since(begin)
		plainMemory += memory(b, c, "label=belay.example.com/plain")
		ids := containers(b, c, "label=belay.example.com/plain")
		run(b, 1, append([]string{"rm", "-f"}, ids...)...)
	}
	b.ReportMetric(float64(many*n)/pods.Seconds(), "pods/s")
	b.ReportMetric(float64(pods)/float64(plain), "xdockerrun")
	b.ReportMetric(float64(podMemory)/float64(many*n), "kB/pod")
	b.ReportMetric(float64(podMemory)/float64(plainMemory), "xmemory")
}

// run runs a command of the docker client as often at once.
func run(b *testing.B, times int, args ...string) {
	b.Helper()
	errs := make([]error, times)
	var running sync.WaitGroup
	for i := range times {
		running.Go(func() {
			if out, err := exec.CommandContext(b.Context(), "docker", args...).CombinedOutput(); err != nil {
				errs[i] = fmt.Errorf("docker %q: %w: %s", args, err, out)
			}
		})
	}
	running.Wait()
	if err := errors.Join(errs...); err != nil {
		b.Fatal(err)
	}
}

// containers are the IDs of those with any of the labels.
func containers(b *testing.B, c *client.Client, filters ...string) (ids []string) {
	b.Helper()
	for _, f := range filters {
		key, value, _ := strings.Cut(f, "=")
		list, err := c.ContainerList(b.Context(), client.ContainerListOptions{Filters: make(client.Filters).Add(key, value)})
		if err != nil {
			b.Fatal(err)
		}
		for _, i := range list.Items {
			ids = append(ids, i.ID)
		}
	}
	return ids
}

// memory is what the processes of containers and those that hold them take, in kB, pages that several have counted once.
func memory(b *testing.B, c *client.Client, filters ...string) (sum int) {
	b.Helper()
	ids := containers(b, c, filters...)
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		b.Fatal(err)
	}
	mine := map[string]bool{}
	for _, id := range ids {
		found, err := c.ContainerInspect(b.Context(), id, client.ContainerInspectOptions{})
		if err != nil {
			b.Fatal(err)
		}
		mine[fmt.Sprint("/proc/", found.Container.State.Pid)] = true
		for _, p := range processes {
			line, err := os.ReadFile(p + "/cmdline")
			if err == nil && bytes.Contains(line, []byte(id)) { // a shim; a process that has gone has none
				mine[p] = true
			}
		}
	}
	for p := range mine {
		sum += share(b, p)
	}
	return sum
}

// share is the proportional size of a process, in kB.
func share(b *testing.B, process string) int {
	b.Helper()
	f, err := os.Open(process + "/smaps_rollup")
	if err != nil {
		b.Skip("memory of other processes takes root: ", err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) == 3 && fields[0] == "Pss:" {
			n, err := strconv.Atoi(fields[1])
			if err != nil {
				b.Fatal(err)
			}
			return n
		}
	}
	b.Fatal("there is no size of ", process)
	return 0
}

// asked is an engine that tells when it was asked about each of some pods by name.
type asked struct {
	node.Runtime

	mu   sync.Mutex
	left map[types.UID]bool
	all  chan struct{}
}

func (a *asked) Pod(ctx context.Context, uid types.UID) (node.PodState, bool, error) {
	state, ok, err := a.Runtime.Pod(ctx, uid)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.left[uid] {
		delete(a.left, uid)
		if len(a.left) == 0 {
			close(a.all)
		}
	}
	return state, ok, err
}

// BenchmarkAdoption has a new process take 100 pods over that run, beside `docker inspect` of their containers, and take
// stock of them again as it does every ten seconds.
func BenchmarkAdoption(b *testing.B) {
	const many = 100
	r, c, ctx := open(b), engine(b), context.WithoutCancel(b.Context())
	ref := present(b, r)
	a := agentOf(ctx, b, r, "adoption")
	var names []string
	for i := range many {
		names = append(names, fmt.Sprint("adopted-", i))
		a.create(podOf(names[i], ref, "forever"))
	}
	for _, name := range names {
		a.until(name, "running", runs(0))
	}
	before := containers(b, c, "label=belay.dev/pod-uid")
	var adoption, again, inspect time.Duration
	n := 0
	for b.Loop() {
		n++
		a.stop()
		fresh := open(b)
		between := &asked{Runtime: fresh, left: map[types.UID]bool{}, all: make(chan struct{})}
		for _, p := range state.List[*corev1.Pod](a.store, "") {
			between.left[p.UID] = true
		}
		begin := time.Now()
		a.startOver(fresh, between)
		<-between.all
		adoption += time.Since(begin)
		begin = time.Now()
		if all, err := fresh.List(ctx); err != nil || len(all) < many {
			b.Fatalf("%d pods, %v", len(all), err)
		}
		again += time.Since(begin)
		begin = time.Now()
		run(b, 1, append([]string{"inspect"}, before...)...)
		inspect += time.Since(begin)
	}
	if after := containers(b, c, "label=belay.dev/pod-uid"); strings.Join(after, " ") != strings.Join(before, " ") {
		b.Errorf("there were %d containers, and now there are %d, or others", len(before), len(after))
	}
	b.ReportMetric(float64(adoption.Milliseconds())/float64(n), "ms/adoption")
	b.ReportMetric(float64(adoption)/float64(inspect), "xdockerinspect")
	b.ReportMetric(float64(again.Milliseconds())/float64(n), "ms/relist")
	a.end(names...)
}
