//go:build linux

package embedded_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"

	"github.com/belay-dev/belay/reconciler/node"
	"github.com/belay-dev/belay/reconciler/node/embedded"
)

// BenchmarkMany is a life of a hundred pods at once, each held by belay-shim or, where that does not lie beside it, by belay
// itself: how many start and are ready in a second, how long it takes another process to take them over, and how much memory
// one costs beside its own processes.
func BenchmarkMany(b *testing.B) {
	const many = 100
	for _, shim := range []string{"belay-shim", "belay"} {
		b.Run(shim, func(b *testing.B) {
			if err := build(); err != nil {
				b.Fatal(err)
			}
			file := filepath.Join(binaries, shim)
			if !exists(file) {
				make := exec.Command("go", "build", "-trimpath", "-o", file, "github.com/belay-dev/belay/cmd/"+shim)
				make.Env = append(os.Environ(), "CGO_ENABLED=0")
				if out, err := make.CombinedOutput(); err != nil {
					b.Fatalf("%v: %s", err, out)
				}
			}
			parts := map[string]time.Duration{}
			var rss, pss int
			n := 0
			for b.Loop() {
				n++
				dir := b.TempDir()
				o := options(dir)
				o.Shim = file
				atOnce(b, many, o, dir, func(part string, took time.Duration) {
					if parts[part] += took; part == "adoption" {
						for _, pid := range shims(b, dir) {
							r, p := memoryOf(b, pid)
							rss, pss = rss+r, pss+p
						}
					}
				})
			}
			pods := float64(n * many)
			b.ReportMetric(pods/(parts["start"]+parts["ready"]).Seconds(), "ready/s")
			b.ReportMetric(pods/parts["removal"].Seconds(), "removed/s")
			b.ReportMetric(float64(parts["adoption"].Microseconds())/1000/float64(n), "ms/adoption")
			b.ReportMetric(float64(rss)/pods, "RSS-KiB/pod")
			b.ReportMetric(float64(pss)/pods, "PSS-KiB/pod")
		})
	}
}

// memoryOf is how much memory a process has, in KiB, and how much of that when what it shares is divided among all who have it.
func memoryOf(b testing.TB, pid string) (rss, pss int) {
	b.Helper()
	text, err := os.ReadFile("/proc/" + pid + "/smaps_rollup")
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return 0, 0 // it has ended
	}
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		for name, into := range map[string]*int{"Rss:": &rss, "Pss:": &pss} {
			if rest, ok := strings.CutPrefix(line, name); ok {
				if _, err := fmt.Sscan(rest, into); err != nil {
					b.Fatal(err)
				}
			}
		}
	}
	return rss, pss
}

// BenchmarkBesideDocker does with each pod what the docker command does with a container of the same image, in turn: start and
// removal, pull and unpacking, and the memory of what holds it.
func BenchmarkBesideDocker(b *testing.B) {
	docker := func(args ...string) (string, error) {
		out, err := exec.CommandContext(b.Context(), "docker", args...).CombinedOutput()
		if err != nil {
			err = fmt.Errorf("docker %s: %w: %s", args[0], err, out)
		}
		return strings.TrimSpace(string(out)), err
	}
	if _, err := docker("version"); err != nil {
		b.Skip(err)
	}
	dir := b.TempDir()
	r := open(b, options(dir))
	hosts, err := registries()
	if err != nil {
		b.Fatal(err)
	}
	ref := hosts[0] + "/belay/app:1"
	img, err := r.Pull(b.Context(), ref, nil)
	if err != nil {
		b.Fatal(err)
	}
	uid := func(n int) types.UID { return types.UID(fmt.Sprintf("00000000-0000-4000-8000-%012x", 0xbe0000+n)) }
	start := func(n int) {
		if _, err := r.RunPod(b.Context(), node.Sandbox{UID: uid(n), Namespace: "default", Name: "bench", Hostname: "bench"}); err != nil {
			b.Fatal(err)
		}
		if _, err := r.Start(b.Context(), node.Container{Pod: uid(n), Name: "c", Ref: ref, Image: img.ID, Args: []string{"forever"}}); err != nil {
			b.Fatal(err)
		}
	}
	remove := func(n int) {
		if err := r.RemovePod(context.WithoutCancel(b.Context()), uid(n)); err != nil {
			b.Fatal(err)
		}
	}
	run := func() string {
		id, err := docker("run", "-d", "--network", "none", "--stop-signal", "KILL", ref, "forever")
		if err != nil {
			b.Fatal(err)
		}
		lines := strings.Split(id, "\n")
		return lines[len(lines)-1]
	}
	forget := func(args ...string) {
		if _, err := docker(args...); err != nil {
			b.Fatal(err)
		}
	}
	forget("rm", "-f", run()) // it has the image
	b.Run("Start", func(b *testing.B) {
		var own, other time.Duration
		for n := 0; b.Loop(); n++ {
			begin := time.Now()
			start(n)
			remove(n)
			own += time.Since(begin)
			begin = time.Now()
			forget("rm", "-f", run())
			other += time.Since(begin)
		}
		b.ReportMetric(float64(other)/float64(own), "x-of-docker-run")
	})
	b.Run("Pull", func(b *testing.B) {
		var own, other time.Duration
		for b.Loop() {
			if gone, err := r.Discard(b.Context(), node.PulledImage{Ref: ref, ID: img.ID, Digest: img.Digest}); !gone || err != nil {
				b.Fatalf("the image stays: %v", err)
			}
			forget("rmi", "-f", ref)
			begin := time.Now()
			if _, err := r.Pull(b.Context(), ref, nil); err != nil {
				b.Fatal(err)
			}
			own += time.Since(begin)
			begin = time.Now()
			forget("pull", "-q", ref)
			other += time.Since(begin)
		}
		b.ReportMetric(float64(other)/float64(own), "x-of-docker-pull")
	})
	b.Run("Memory", func(b *testing.B) {
		const many = 10
		before := held(b)
		var ids []string
		for n := range many {
			start(1000 + n)
			b.Cleanup(func() { remove(1000 + n) })
			ids = append(ids, run())
		}
		var own, other int
		for b.Loop() {
			own, other = 0, held(b)-before
			for _, pid := range shims(b, dir) {
				_, pss := memoryOf(b, pid)
				own += pss
			}
		}
		b.ReportMetric(float64(own)/many, "PSS-KiB/pod")
		b.ReportMetric(float64(other)/many, "PSS-KiB/container")
		forget(append([]string{"rm", "-f"}, ids...)...)
	})
	r.Wait()
}

// held is the memory of what holds an engine's containers, one process each.
func held(b *testing.B) (pss int) {
	all, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		b.Fatal(err)
	}
	for _, file := range all {
		if name, err := os.ReadFile(file); err == nil && strings.HasPrefix(string(name), "containerd-shim") {
			_, p := memoryOf(b, filepath.Base(filepath.Dir(file)))
			pss += p
		}
	}
	return pss
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
