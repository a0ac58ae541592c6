package kubectl

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// BenchmarkBinary measures the program as people have it: how long a verb takes to start, as a multiple of `git version`
// in the same run, how large the file is, and what a service with 1,000 Deployments of three simulated pods keeps in memory.
func BenchmarkBinary(b *testing.B) {
	for _, tool := range []string{"go", "git"} {
		if _, err := exec.LookPath(tool); err != nil {
			b.Skip(tool + " is not installed")
		}
	}
	belay := filepath.Join(b.TempDir(), "belay")
	build := exec.CommandContext(b.Context(), "go", "build", "-buildvcs=false", "-trimpath", "-ldflags=-s -w", "-o", belay, "../../cmd/belay")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	info, err := os.Stat(belay)
	if err != nil {
		b.Fatal(err)
	}
	for _, verb := range [][]string{{"version"}, {"get", "--help"}} {
		b.Run("start/"+verb[0], func(b *testing.B) {
			var ours, gits time.Duration
			for b.Loop() {
				ours += elapsed(b, belay, verb...)
				gits += elapsed(b, "git", "version")
			}
			b.ReportMetric(float64(ours.Milliseconds())/float64(b.N), "ms/start")
			b.ReportMetric(float64(ours)/float64(gits), "gits")
			b.ReportMetric(float64(info.Size())/1e6, "MB-file")
		})
	}
	b.Run("memory", func(b *testing.B) {
		for b.Loop() {
			resident, anonymous := idle(b, belay)
			b.ReportMetric(resident, "MB-resident")
			b.ReportMetric(anonymous, "MB-anonymous")
		}
	})
}

func elapsed(b *testing.B, program string, args ...string) time.Duration {
	b.Helper()
	began := time.Now()
	if out, err := exec.CommandContext(b.Context(), program, args...).CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	return time.Since(began)
}

// idle is the memory, in MB, of a service that has rolled everything out.
func idle(b *testing.B, belay string) (resident, anonymous float64) {
	b.Helper()
	dir := b.TempDir()
	shop, data := filepath.Join(dir, "shop.git"), filepath.Join(dir, "data")
	git(b, "", "init", "--quiet", "--bare", "--initial-branch=main", shop)
	commitImages(b, shop, "", slices.Repeat([]string{"web:1"}, 1000))
	serve := exec.CommandContext(b.Context(), belay, "serve", "--data-dir", data, "--repo", shop, "--runtime", "simulated", "--listen", "127.0.0.1:0")
	serve.Cancel = func() error { return serve.Process.Signal(syscall.SIGTERM) }
	if err := serve.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() {
		_ = serve.Process.Signal(syscall.SIGTERM) // it may have ended, which Wait says
		if err := serve.Wait(); err != nil {
			b.Error(err)
		}
	}()
	for { // until it answers, and then until everything runs
		if exec.CommandContext(b.Context(), belay, "--data-dir", data, "sync", "--wait").Run() == nil {
			break
		}
		if b.Context().Err() != nil {
			b.Fatal(b.Context().Err())
		}
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", serve.Process.Pid))
	if err != nil {
		b.Skip(err)
	}
	field := func(name string) float64 {
		found := regexp.MustCompile(name + `:\s+(\d+) kB`).FindSubmatch(text)
		if found == nil {
			b.Fatalf("no %s in\n%s", name, text)
		}
		kilobytes, err := strconv.ParseFloat(string(found[1]), 64)
		if err != nil {
			b.Fatal(err)
		}
		return kilobytes / 1e3
	}
	return field("VmRSS"), field("RssAnon")
}
