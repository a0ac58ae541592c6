package manifests

import (
	"fmt"
	"runtime"
	"syscall"
	"testing"
	"time"
)

func benchDeployment(name string, version int) string {
	return fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata:
  name: %[1]s
  labels: {app: %[1]s}
spec:
  replicas: 2
  selector:
    matchLabels: {app: %[1]s}
  template:
    metadata:
      labels: {app: %[1]s}
    spec:
      containers:
      - name: web
        image: registry.example.com/%[1]s:%[2]d
        ports: [{containerPort: 8080}]
        env: [{name: LEVEL, value: info}]
        resources: {requests: {cpu: 100m, memory: 64Mi}, limits: {memory: 128Mi}}
        readinessProbe: {httpGet: {path: /ready, port: 8080}}
`, name, version)
}

func appName(i int) string { return fmt.Sprintf("app%05d", i) }

// flatPath puts all directories beside each other, groupedPath a hundred each.
func flatPath(i int) string { return "apps/" + appName(i) + "/deployment.yaml" }
func groupedPath(i int) string {
	return fmt.Sprintf("apps/team%03d/%s/deployment.yaml", i/100, appName(i))
}

// BenchmarkOneImage measures a commit that changes one image among n plain
// directories, beside a full render of the same tree in the same run. CPU time
// is the process's.
func BenchmarkOneImage(b *testing.B) {
	for _, n := range []int{100, 1000, 5000, 10000} {
		for layout, path := range map[string]func(int) string{"grouped": groupedPath, "flat": flatPath} {
			b.Run(fmt.Sprintf("plain/%s/%d", layout, n), func(b *testing.B) {
				files := map[string]string{}
				for i := range n {
					files[path(i)] = benchDeployment(appName(i), 1)
				}
				benchOneImage(b, newMemTree(files), func(tree *memTree, i int) *memTree {
					return tree.with(map[string]string{path(i % n): benchDeployment(appName(i%n), i+2)})
				})
			})
		}
	}
	for _, n := range []int{100, 1000, 5000} {
		b.Run(fmt.Sprintf("overlays/%d", n), func(b *testing.B) {
			benchOneImage(b, newMemTree(overlayFiles(n)), func(tree *memTree, i int) *memTree {
				name := "kustomization.yaml"
				return tree.with(map[string]string{overlayPath(i%n) + "/" + name: overlay(appName(i%n), i+2)[name]})
			})
		})
	}
}

func benchOneImage(b *testing.B, tree *memTree, next func(*memTree, int) *memTree) {
	ctx := b.Context()
	app := []App{{Source: "s", Name: "a", Path: "apps", Namespace: "default"}}
	cache := NewCache(app, Options{})
	before := heap()
	start := cpu()
	full, err := cache.Sync(ctx, tree, "c0")
	if err != nil || len(full.Problems) > 0 {
		b.Fatal(err, full.Problems)
	}
	fullCPU := cpu() - start
	index := heap() - before
	trees := make([]*memTree, b.N)
	for i := range trees {
		tree = next(tree, i)
		trees[i] = tree
	}
	rendered := 0
	start = cpu()
	b.ReportAllocs()
	b.ResetTimer()
	for i, tree := range trees {
		u, err := cache.Sync(ctx, tree, fmt.Sprintf("c%d", i+1))
		if err != nil {
			b.Fatal(err)
		}
		if rendered = u.Rendered; rendered != 1 || len(u.Roots) != 1 {
			b.Fatalf("%d roots rendered, %d changed", rendered, len(u.Roots))
		}
	}
	b.StopTimer()
	each := (cpu() - start) / time.Duration(b.N)
	b.ReportMetric(float64(rendered), "roots/op")
	b.ReportMetric(float64(each.Microseconds())/1000, "cpu-ms/op")
	b.ReportMetric(float64(fullCPU.Microseconds())/1000, "full-cpu-ms")
	b.ReportMetric(float64(fullCPU)/float64(max(each, 1)), "full/op")
	b.ReportMetric(float64(index)/(1<<20), "index-MiB")
}

func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
