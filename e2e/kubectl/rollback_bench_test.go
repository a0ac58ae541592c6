package kubectl

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/rs/zerolog"

	"github.com/belay-dev/belay/cmd/belay/app"
	"github.com/belay-dev/belay/cmd/belay/control"
	"github.com/belay-dev/belay/cmd/belay/kube"
	"github.com/belay-dev/belay/reconciler/node"
	"github.com/belay-dev/belay/reconciler/node/simulated"
)

// awaitedRunner tells when the first pod of a Deployment with an image is given to it.
type awaitedRunner struct {
	node.PodRunner
	mu    sync.Mutex
	waits map[string]chan struct{} // by Deployment and image
}

func (w *awaitedRunner) Sync(ctx context.Context, pod *corev1.Pod, now time.Time) (node.Report, error) {
	k := pod.Labels["app"] + " " + pod.Spec.Containers[0].Image
	w.mu.Lock()
	if c := w.waits[k]; c != nil && pod.DeletionTimestamp == nil {
		close(c)
		delete(w.waits, k)
	}
	w.mu.Unlock()
	return w.PodRunner.Sync(ctx, pod, now)
}

// next is closed at the next pod of a Deployment with an image.
func (w *awaitedRunner) next(deployment, image string) <-chan struct{} {
	c := make(chan struct{})
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waits[deployment+" "+image] = c
	return c
}

// BenchmarkRollbackDoors goes back with one after the other of 1,000 Deployments, by belay rollback over the socket, by what
// kubectl rollout undo sends over the network, and by a pushed revert: from the wish to its answer, and to the first pod of
// the old revision in the hands of the runner, as multiples of what the machine takes for an fsync. The answer of a
// push is git's own.
func BenchmarkRollbackDoors(b *testing.B) {
	if _, err := exec.LookPath("git"); err != nil {
		b.Skip("git is not installed")
	}
	const deployed, rolled = 1000, 100
	dir := filepath.Join(b.TempDir(), "shop.git")
	work := filepath.Join(b.TempDir(), "work.git")
	for _, d := range []string{dir, work} {
		git(b, "", "init", "--quiet", "--bare", "--initial-branch=main", d)
	}
	images := slices.Repeat([]string{"web:1"}, deployed)
	push := func(parent string) {
		commitImages(b, work, parent, images)
		git(b, "", "-C", work, "push", "--quiet", dir, "main")
	}
	push("")
	s := app.DefaultSource()
	s.Name, s.URL, s.Interval, s.Import, s.Apps = "shop", dir, time.Hour, 0, []app.AppConfig{{Name: "shop", Namespace: "default", Prune: true}}
	c := app.DefaultConfig()
	c.Listen, c.MaxRollouts, c.Sources = "127.0.0.1:0", 0, []app.SourceConfig{s}
	runner := &awaitedRunner{PodRunner: simulated.New(simulated.Options{Delay: time.Millisecond}), waits: map[string]chan struct{}{}}
	data := b.TempDir()
	a := app.New(c, data, zerolog.Nop())
	a.API, a.Seams.Runner = kube.New, runner
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
	service, err := app.ReadService(data)
	if err != nil {
		b.Fatal(err)
	}
	socket := control.NewClient(service.Socket)
	defer socket.Close()
	config, err := clientcmd.BuildConfigFromFlags("", service.Kubeconfig)
	if err != nil {
		b.Fatal(err)
	}
	config.QPS = -1
	api, err := kubernetes.NewForConfig(config)
	if err != nil {
		b.Fatal(err)
	}
	sync := func() {
		if res, err := socket.Sync(b.Context(), control.SyncRequest{Wait: true}, func(control.Row) {}); err != nil || !res.OK {
			b.Fatalf("%+v, %v", res, err)
		}
	}
	sync()
	for i := range images {
		images[i] = "web:2"
	}
	push("refs/heads/main^0")
	sync()
	undo := undoes(b, api)
	unit := fsyncTime(b)
	doors := []struct {
		name string
		back func(i int)
	}{
		{"socket", func(i int) {
			if _, err := socket.Rollback(b.Context(), control.RollbackRequest{Namespace: "default", Name: fmt.Sprint("web", i), ToRevision: 1, Mode: "hold"}); err != nil {
				b.Fatal(err)
			}
		}},
		{"undo", func(i int) {
			name := fmt.Sprint("web", i)
			if _, err := api.AppsV1().Deployments("default").Patch(b.Context(), name, types.JSONPatchType, undo[name], metav1.PatchOptions{}); err != nil {
				b.Fatal(err)
			}
		}},
		{"revert", func(i int) { git(b, "", "-C", work, "push", "--quiet", dir, "main") }},
	}
	used := 0 // what went back stays there
	for _, door := range doors {
		b.Run(door.name, func(b *testing.B) {
			var answered, pod []time.Duration
			for range min(b.N, rolled, deployed-used) {
				i := used
				used++
				if door.name == "revert" {
					images[i] = "web:1"
					commitImages(b, work, "refs/heads/main^0", images)
				}
				first := runner.next(fmt.Sprint("web", i), "web:1")
				begun := time.Now()
				door.back(i)
				answered = append(answered, time.Since(begun))
				<-first
				pod = append(pod, time.Since(begun))
			}
			for _, p := range []int{50, 95, 99} {
				b.ReportMetric(percentile(answered, p)/unit, fmt.Sprintf("answer-p%d/fsync", p))
				b.ReportMetric(percentile(pod, p)/unit, fmt.Sprintf("pod-p%d/fsync", p))
			}
			b.ReportMetric(unit, "fsync-ms")
		})
	}
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

// commitImages commits a Deployment for each image on top of a parent.
func commitImages(b *testing.B, dir, parent string, images []string) {
	b.Helper()
	var s strings.Builder
	fmt.Fprintf(&s, "commit refs/heads/main\ncommitter Ann <ann@example.com> %d +0000\ndata 6\ncommit\n", time.Now().Unix())
	if parent != "" {
		fmt.Fprintf(&s, "from %s\n", parent)
	}
	for i, image := range images {
		text := fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata: {name: web%[1]d}
spec:
  replicas: 3
  selector: {matchLabels: {app: web%[1]d}}
  template:
    metadata: {labels: {app: web%[1]d}}
    spec: {containers: [{name: web, image: "%[2]s"}]}
`, i, image)
		fmt.Fprintf(&s, "M 644 inline team%d/web%d.yaml\ndata %d\n%s\n", i/100, i, len(text), text)
	}
	git(b, s.String(), "-C", dir, "fast-import", "--quiet", "--force")
}

// percentile is in milliseconds.
func percentile(all []time.Duration, p int) float64 {
	sorted := slices.Sorted(slices.Values(all))
	return float64(sorted[(len(sorted)-1)*p/100].Microseconds()) / 1000
}

// undoes is what kubectl rollout undo sends for each Deployment: the template of the ReplicaSet of revision 1.
func undoes(b *testing.B, api kubernetes.Interface) map[string][]byte {
	b.Helper()
	sets, err := api.AppsV1().ReplicaSets("default").List(b.Context(), metav1.ListOptions{})
	if err != nil {
		b.Fatal(err)
	}
	out := map[string][]byte{}
	for _, rs := range sets.Items {
		if rs.Annotations["deployment.kubernetes.io/revision"] != "1" {
			continue
		}
		out[metav1.GetControllerOf(&rs).Name] = undoPatch(b, rs)
	}
	return out
}

func undoPatch(b *testing.B, rs appsv1.ReplicaSet) []byte {
	b.Helper()
	delete(rs.Spec.Template.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
	patch, err := json.Marshal([]any{map[string]any{"op": "replace", "path": "/spec/template", "value": rs.Spec.Template}})
	if err != nil {
		b.Fatal(err)
	}
	return patch
}

// fsyncTime is how long the machine takes to make a page durable, in the middle, in milliseconds.
func fsyncTime(b *testing.B) float64 {
	b.Helper()
	f, err := os.Create(filepath.Join(b.TempDir(), "probe"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	var took []time.Duration
	for range 100 {
		begun := time.Now()
		if _, err := f.WriteAt([]byte(strings.Repeat("x", 4096)), 0); err != nil {
			b.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(begun))
	}
	return percentile(took, 50)
}
