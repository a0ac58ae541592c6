package crash

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/belay-dev/belay/cmd/belay/app"
	"github.com/belay-dev/belay/reconciler/node"
	"github.com/belay-dev/belay/reconciler/node/simulated"
	"github.com/belay-dev/belay/reconciler/rollback"
	"github.com/belay-dev/belay/source"
	"github.com/belay-dev/belay/state"
)

// What the test says to the process that it starts from its own binary.
const (
	envDir    = "BELAY_CRASH_DIR"
	envRepo   = "BELAY_CRASH_REPO"
	envBranch = "BELAY_CRASH_BRANCH"
	envAt     = "BELAY_CRASH_AT"     // the point at which the process kills itself, its number or its name; 0: it does not
	envRefuse = "BELAY_CRASH_REFUSE" // the point at which the disk begins to refuse a few writes; 0: none
	envPush   = "BELAY_CRASH_PUSH"   // whether rollbacks are pushed
	// envOnFailure: whether Deployments go back by themselves, with a branch for review.
	envOnFailure = "BELAY_CRASH_ON_FAILURE"
)

func TestMain(m *testing.M) {
	if os.Getenv(envDir) == "" {
		os.Exit(m.Run())
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := serve(ctx, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// serve is `belay serve` with the points of a crash counted, one line each on out, and the process killed at one.
func serve(ctx context.Context, out io.Writer) error {
	src, a := app.DefaultSource(), app.DefaultApp()
	a.Name = "shop"
	if os.Getenv(envOnFailure) == "true" {
		a.OnFailure = rollback.FailureRollback
	}
	src.Name, src.URL, src.Branch, src.Interval = "shop", os.Getenv(envRepo), os.Getenv(envBranch), time.Hour
	src.Apps = []app.AppConfig{a}
	if os.Getenv(envPush) == "true" {
		src.Push = &app.PushConfig{}
	}
	c := app.DefaultConfig()
	c.Sources = []app.SourceConfig{src}
	refuse, err := strconv.Atoi(os.Getenv(envRefuse))
	if err != nil {
		return err
	}
	points := &points{kill: os.Getenv(envAt), refuse: refuse, out: out}
	service := app.New(c, os.Getenv(envDir), zerolog.New(os.Stderr))
	runner := simulated.New(simulated.Options{
		Delay: 5 * time.Millisecond, Stop: 5 * time.Millisecond, Images: map[string]simulated.Behaviour{"web:missing": simulated.Missing},
	})
	service.Seams = app.Seams{
		Disk:   points.disk,
		Files:  func(p state.FilePoint, done bool) { points.pass(passing(string(p), done)) },
		Mirror: func(p source.Point, done bool) { points.pass(passing(string(p), done)) },
		Runner: &watched{PodRunner: runner, points: points, known: map[string]bool{}},
	}
	var telling sync.WaitGroup
	defer telling.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // a service that does not start is never ready
	telling.Go(func() {
		select {
		case <-service.Ready():
			points.say("ready")
		case <-ctx.Done():
		}
	})
	return service.Run(ctx)
}

// points counts the moments at which something becomes durable or leaves the process.
type points struct {
	mu     sync.Mutex
	passed int
	kill   string // number or name
	refuse int
	out    io.Writer
}

func (p *points) say(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintln(p.out, text)
}

// pass is such a moment. From the one to be killed at it does not return.
func (p *points) pass(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.passed++
	fmt.Fprintln(p.out, "point", p.passed, name)
	if p.kill == strconv.Itoa(p.passed) || p.kill == name {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL) // it cannot fail
		select {}
	}
}

// passing is the point before a step, or after it.
func passing(step string, done bool) string {
	if done {
		return "after " + step
	}
	return "before " + step
}

// disk is the point of a write. A few in a row are refused, where the test says so.
func (p *points) disk(at state.DiskPoint) error {
	p.pass(string(at))
	p.mu.Lock()
	defer p.mu.Unlock()
	if at == state.BeforeWrite && p.refuse > 0 && p.passed >= p.refuse && p.passed < p.refuse+3 {
		return syscall.ENOSPC
	}
	return nil
}

// watched is a runner whose pods begin and end at points.
type watched struct {
	node.PodRunner
	points *points

	mu    sync.Mutex
	known map[string]bool
}

func (w *watched) once(what string, uid types.UID) {
	key := what + string(uid)
	w.mu.Lock()
	seen := w.known[key]
	w.known[key] = true
	w.mu.Unlock()
	if !seen {
		w.points.pass(what)
	}
}

// Adopt knows the pods that ran before: they begin no second time.
func (w *watched) Adopt(pods []*corev1.Pod) {
	for _, p := range pods {
		w.known["start pod"+string(p.UID)] = true
	}
	w.PodRunner.Adopt(pods)
}

func (w *watched) Sync(ctx context.Context, pod *corev1.Pod, now time.Time) (node.Report, error) {
	what := "start pod"
	if pod.DeletionTimestamp != nil {
		what = "stop pod"
	}
	w.once(what, pod.UID)
	return w.PodRunner.Sync(ctx, pod, now)
}

func (w *watched) Remove(ctx context.Context, uid types.UID) error {
	w.once("remove pod", uid)
	return w.PodRunner.Remove(ctx, uid)
}
