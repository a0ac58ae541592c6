package app

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/belay-dev/belay/manifests"
	"github.com/belay-dev/belay/reconciler"
	"github.com/belay-dev/belay/state"
)

// BenchmarkCommit measures a one-image commit in a repository of many Deployments, one directory each and a hundred
// of these below one, from the end of
// the fetch to the change applied, in CPU time of the process; beside it, in the same run, a full render of the same
// commit. Roots rendered per commit must be 1: it fails otherwise.
func BenchmarkCommit(b *testing.B) {
	if _, err := exec.LookPath("git"); err != nil {
		b.Skip("git is not installed")
	}
	for _, n := range []int{100, 1000, 5000} {
		b.Run(fmt.Sprintf("deployments=%d", n), func(b *testing.B) { benchmarkCommit(b, n) })
	}
}

func benchmarkCommit(b *testing.B, n int) {
	dir := filepath.Join(b.TempDir(), "shop.git")
	git(b, "", "init", "--quiet", "--bare", "--initial-branch=main", dir)
	fastImport(b, dir, "", n, func(i int) string { return "web:1" })
	store, err := state.OpenMemory(state.Options{Now: time.Now})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	source := DefaultSource()
	source.Name, source.URL, source.Apps = "shop", dir, []AppConfig{{Name: "shop", Namespace: "default", Prune: true}}
	c := DefaultConfig()
	c.Sources, c.MaxRollouts = []SourceConfig{source}, 0
	a := New(c, b.TempDir(), zerolog.Nop())
	p := a.wire(store, podRuntime{})
	defer func() { _ = p.close() }()
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.loop.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	}()
	syncNow(b, p.loop)

	var took, cpu time.Duration
	for i := range b.N {
		fastImport(b, dir, "refs/heads/main^0", 1, func(int) string { return fmt.Sprintf("web:%d", i+2) })
		if _, err := p.current()[0].repository.Poll(b.Context()); err != nil {
			b.Fatal(err)
		}
		start, before := time.Now(), processCPU(b)
		syncNow(b, p.loop)
		took, cpu = took+time.Since(start), cpu+processCPU(b)-before
	}
	b.ReportMetric(float64(took.Microseconds())/float64(b.N)/1000, "wall-ms/commit")
	b.ReportMetric(float64(cpu.Microseconds())/float64(b.N)/1000, "cpu-ms/commit")
	full, rendered := fullRender(b, p.current()[0].repository, n)
	b.ReportMetric(full.Seconds()*1000, "cpu-ms/full-render")
	b.ReportMetric(full.Seconds()*float64(b.N)/cpu.Seconds(), "full/commit")
	b.ReportMetric(float64(rendered), "roots/commit")
	if rendered != 1 {
		b.Errorf("%d roots rendered for a one-image commit", rendered)
	}
}

// fullRender renders everything anew and, counting roots, the newest commit after its parent.
func fullRender(b *testing.B, r *repository, n int) (time.Duration, int) {
	head, err := r.Poll(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	tree, err := r.Tree(head)
	if err != nil {
		b.Fatal(err)
	}
	apps := []manifests.App{{Source: "shop", Name: "shop", Namespace: "default"}}
	before := processCPU(b)
	cache := manifests.NewCache(apps, manifests.Options{})
	up, err := cache.Sync(b.Context(), tree, head)
	if err != nil || up.Rendered != n || len(up.Problems) > 0 {
		b.Fatalf("full render: %d roots, %v, %v", up.Rendered, up.Problems, err)
	}
	full := processCPU(b) - before
	fastImport(b, r.poller.id.url, "refs/heads/main^0", 1, func(int) string { return "web:last" })
	if head, err = r.Poll(b.Context()); err != nil {
		b.Fatal(err)
	}
	if tree, err = r.Tree(head); err != nil {
		b.Fatal(err)
	}
	if up, err = cache.Sync(b.Context(), tree, head); err != nil {
		b.Fatal(err)
	}
	return full, up.Rendered
}

func syncNow(b *testing.B, l *reconciler.Loop) {
	b.Helper()
	if err := l.Sync(b.Context(), "shop", reconciler.SyncOptions{}); err != nil {
		b.Fatal(err)
	}
}

// processCPU is the CPU time that the process has used.
func processCPU(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func git(b *testing.B, stdin string, args ...string) {
	b.Helper()
	cmd := exec.Command("git", args...)
	cmd.Stdin = strings.NewReader(stdin)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL="+os.DevNull)
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("git %v: %v\n%s", args, err, out)
	}
}

// fastImport commits the manifests of n Deployments on top of a parent.
func fastImport(b *testing.B, dir, parent string, n int, image func(int) string) {
	b.Helper()
	var s bytes.Buffer
	fmt.Fprintf(&s, "commit refs/heads/main\ncommitter Ann <ann@example.com> %d +0000\ndata 6\ncommit\n", time.Now().Unix())
	if parent != "" {
		fmt.Fprintf(&s, "from %s\n", parent)
	}
	for i := range n {
		text := fmt.Sprintf(benchManifest, i, i, i, image(i))
		fmt.Fprintf(&s, "M 644 inline apps/team%d/web%d/web.yaml\ndata %d\n%s\n", i/100, i, len(text), text)
	}
	git(b, s.String(), "-C", dir, "fast-import", "--quiet", "--force")
}

const benchManifest = `apiVersion: apps/v1
kind: Deployment
metadata:
  name: web%d
spec:
  replicas: 3
  selector: {matchLabels: {app: web%d}}
  template:
    metadata: {labels: {app: web%d}}
    spec:
      containers:
      - name: web
        image: %s
        ports:
        - containerPort: 8080
        resources: {requests: {cpu: 100m, memory: 64Mi}}
`
