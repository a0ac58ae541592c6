package app

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	corev1 "k8s.io/api/core/v1"

	"github.com/belay-dev/belay/reconciler/node"
	"github.com/belay-dev/belay/reconciler/node/simulated"
)

// watchedRunner tells of each pod that it is given, with the image and the time.
type watchedRunner struct {
	node.PodRunner
	given chan givenPod
}

type givenPod struct {
	image, pod string
	at         time.Time
}

func (w *watchedRunner) Sync(ctx context.Context, pod *corev1.Pod, now time.Time) (node.Report, error) {
	at := time.Now()
	report, err := w.PodRunner.Sync(ctx, pod, now)
	select {
	case w.given <- givenPod{pod.Spec.Containers[0].Image, pod.Name, at}:
	case <-ctx.Done():
	}
	return report, err
}

// first waits until three pods have an image, and returns when the first of them was given.
func (w *watchedRunner) first(b *testing.B, image string) time.Time {
	b.Helper()
	var at time.Time
	pods := map[string]bool{}
	for len(pods) < 3 {
		select {
		case g := <-w.given:
			if g.image == image {
				if len(pods) == 0 {
					at = g.at
				}
				pods[g.pod] = true
			}
		case <-b.Context().Done():
			b.Fatal("stopped")
		}
	}
	return at
}

// serveWatched runs a service until the benchmark ends.
func serveWatched(b *testing.B, c Config) (*App, *watchedRunner) {
	b.Helper()
	options, err := simulated.Parse([]string{"delay=1ms"})
	if err != nil {
		b.Fatal(err)
	}
	w := &watchedRunner{simulated.New(options), make(chan givenPod, 100)}
	a := New(c, b.TempDir(), zerolog.Nop())
	a.Seams.Runner = w
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	b.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	})
	select {
	case <-a.Ready():
	case err := <-ended:
		ended <- nil
		b.Fatal(err)
	}
	return a, w
}

// BenchmarkPushToPod measures from the start of a git push to the first new pod that the runner is given, by the watch of a
// local repository and by a signed webhook for one that is followed over HTTP; beside it, how long the push itself takes.
func BenchmarkPushToPod(b *testing.B) {
	if _, err := exec.LookPath("git"); err != nil {
		b.Skip("git is not installed")
	}
	for _, way := range []string{"watch", "webhook"} {
		b.Run(way, func(b *testing.B) { benchmarkPushToPod(b, way == "webhook") })
	}
}

func benchmarkPushToPod(b *testing.B, webhook bool) {
	served, work := filepath.Join(b.TempDir(), "shop.git"), filepath.Join(b.TempDir(), "work.git")
	for _, dir := range []string{served, work} {
		git(b, "", "init", "--quiet", "--bare", "--initial-branch=main", dir)
	}
	push := func() { git(b, "", "-C", work, "push", "--quiet", served, "main") }
	fastImport(b, work, "", 1, func(int) string { return "web:1" })
	push()
	s := DefaultSource()
	s.Name, s.URL, s.Interval, s.Apps = "shop", served, time.Hour, []AppConfig{{Name: "shop", Namespace: "default", Prune: true}}
	c := DefaultConfig()
	c.Listen = ""
	const secret = "s3cret"
	if webhook {
		file := filepath.Join(b.TempDir(), "secret")
		if err := os.WriteFile(file, []byte(secret), 0o600); err != nil {
			b.Fatal(err)
		}
		s.URL = serveGit(b, served).URL + "/shop.git"
		c.Webhook = WebhookConfig{Listen: "127.0.0.1:0", SecretFile: file}
	}
	c.Sources = []SourceConfig{s}
	a, runner := serveWatched(b, c)
	runner.first(b, "web:1")
	service, err := ReadService(a.dir)
	if err != nil {
		b.Fatal(err)
	}
	var whole, transfers []time.Duration
	for i := 0; b.Loop(); i++ {
		image := fmt.Sprintf("web:%d", i+2)
		fastImport(b, work, "refs/heads/main^0", 1, func(int) string { return image })
		start := time.Now()
		push()
		transfers = append(transfers, time.Since(start))
		if webhook {
			announce(b, service.Webhook, secret, i)
		}
		whole = append(whole, runner.first(b, image).Sub(start))
	}
	for _, p := range []int{50, 95, 99} {
		b.ReportMetric(percentile(whole, p), fmt.Sprintf("pod-p%d-ms", p))
		b.ReportMetric(percentile(transfers, p), fmt.Sprintf("push-p%d-ms", p))
	}
}

// announce sends a signed push.
func announce(b *testing.B, address, secret string, n int) {
	b.Helper()
	body := fmt.Sprintf(`{"ref":"refs/heads/main","n":%d}`, n)
	m := hmac.New(sha256.New, []byte(secret))
	m.Write([]byte(body))
	req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, "http://"+address+"/hooks/shop", strings.NewReader(body))
	if err != nil {
		b.Fatal(err)
	}
	req.Header.Set("X-Signature", "sha256="+hex.EncodeToString(m.Sum(nil)))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	if err := res.Body.Close(); err != nil || res.StatusCode != http.StatusAccepted {
		b.Fatal(res.Status, err)
	}
}

// percentile is in milliseconds.
func percentile(all []time.Duration, p int) float64 {
	sorted := slices.Sorted(slices.Values(all))
	return float64(sorted[(len(sorted)-1)*p/100].Microseconds()) / 1000
}

// BenchmarkIdle measures what a service with 100 apps costs while nothing is pushed.
func BenchmarkIdle(b *testing.B) {
	if _, err := exec.LookPath("git"); err != nil {
		b.Skip("git is not installed")
	}
	const apps = 100
	dir := filepath.Join(b.TempDir(), "shop.git")
	git(b, "", "init", "--quiet", "--bare", "--initial-branch=main", dir)
	fastImport(b, dir, "", apps, func(i int) string { return fmt.Sprintf("web%d:1", i) })
	s := DefaultSource()
	s.Name, s.URL = "shop", dir
	for i := range apps {
		s.Apps = append(s.Apps, AppConfig{Name: fmt.Sprint("web", i), Path: fmt.Sprintf("apps/team0/web%d", i), Namespace: "default", Prune: true})
	}
	c := DefaultConfig()
	c.Listen, c.MaxRollouts, c.Sources = "", 0, []SourceConfig{s}
	_, runner := serveWatched(b, c)
	pods := map[string]bool{}
	for len(pods) < 3*apps {
		pods[(<-runner.given).pod] = true
	}
	settled(runner)
	var cpu time.Duration
	for b.Loop() {
		before := processCPU(b)
		minute := time.After(time.Minute)
		for over := false; !over; {
			select {
			case <-runner.given:
			case <-minute:
				over = true
			}
		}
		cpu += processCPU(b) - before
	}
	b.ReportMetric(float64(cpu.Milliseconds())/float64(b.N), "cpu-ms/minute")
}

// settled waits until a runner is given nothing for a second.
func settled(w *watchedRunner) {
	for {
		select {
		case <-w.given:
		case <-time.After(time.Second):
			return
		}
	}
}
