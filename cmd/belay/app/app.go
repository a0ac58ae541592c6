package app

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/rs/zerolog"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/belay-dev/belay/manifests"
	"github.com/belay-dev/belay/reconciler"
	"github.com/belay-dev/belay/reconciler/controller"
	"github.com/belay-dev/belay/reconciler/embedded"
	"github.com/belay-dev/belay/reconciler/event"
	"github.com/belay-dev/belay/reconciler/garbage"
	"github.com/belay-dev/belay/reconciler/node"
	"github.com/belay-dev/belay/reconciler/node/simulated"
	"github.com/belay-dev/belay/reconciler/replicaset"
	"github.com/belay-dev/belay/reconciler/rollout"
	"github.com/belay-dev/belay/source"
	"github.com/belay-dev/belay/source/trigger"
	"github.com/belay-dev/belay/state"
)

// App is the whole service in one process.
type App struct {
	config Config
	dir    string
	log    zerolog.Logger
	now    func() time.Time
	ready  chan struct{}
}

// New makes a service over a data directory; Run starts it. The configuration is valid.
func New(c Config, dataDir string, log zerolog.Logger) *App {
	return &App{config: c, dir: dataDir, log: log, now: time.Now, ready: make(chan struct{})}
}

// Ready is closed once the service answers on its socket.
func (a *App) Ready() <-chan struct{} { return a.ready }

// Run serves until ctx ends, then stops in the reverse order of the start: first nothing new is taken, then the
// loop and the controllers end, then the store is flushed and closed. One call only.
func (a *App) Run(ctx context.Context) (err error) {
	lock, err := LockDataDir(a.dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Release()) }()
	store, err := state.Open(a.dir, state.Options{Now: a.now})
	if err != nil {
		return withHint(err)
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if err := a.namespaces(store); err != nil {
		return err
	}
	pods, err := simulated.Parse(a.config.Simulate)
	if err != nil {
		return fmt.Errorf("simulate: %w", err)
	}
	runtime, reason := a.config.Runtime.Resolve()
	a.log.Info().Str("runtime", string(runtime)).Str("reason", reason).Str("data", a.dir).Msg("starting")

	parts := a.wire(store)
	defer func() { err = errors.Join(err, parts.close()) }()
	listeners, err := a.listen()
	if err != nil {
		return err
	}

	run, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel(nil)
	start := func(name string, f func(context.Context) error) {
		wg.Go(func() {
			if err := f(run); err != nil && run.Err() == nil {
				cancel(fmt.Errorf("%s: %w", name, err))
			}
		})
	}
	for _, c := range a.controllers(store, pods) {
		start(c.Name, func(ctx context.Context) error { return controller.Run(ctx, store, c) })
	}
	for _, t := range parts.triggers {
		start("trigger", func(ctx context.Context) error { t.Run(ctx); return nil })
	}
	start("sync loop", parts.loop.Run)
	start("control", func(ctx context.Context) error { return a.serve(ctx, listeners, parts, store) })

	<-run.Done()
	a.log.Info().Msg("stopping")
	if cause := context.Cause(run); ctx.Err() == nil {
		return cause
	}
	return nil
}

// namespaces makes the namespaces that apps put their objects into.
func (a *App) namespaces(store *state.Store) error {
	for _, s := range a.config.Sources {
		for _, app := range s.Apps {
			_, err := store.Commit(state.Create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: app.Namespace}}))
			if err != nil && !apierrors.IsAlreadyExists(err) {
				return fmt.Errorf("make namespace %s: %w", app.Namespace, err)
			}
		}
	}
	return nil
}

// controllers are the ones that run what the engine applied.
func (a *App) controllers(store *state.Store, pods simulated.Options) []controller.Config {
	recorder := func(component string) *event.Recorder { return event.NewRecorder(store, component, a.now) }
	return []controller.Config{
		rollout.New(store, recorder("deployment-controller"), a.log, a.now),
		replicaset.New(store, recorder("replicaset-controller"), a.log, a.now),
		garbage.New(store, a.log, a.now),
		node.New(store, simulated.New(pods), a.log, a.now),
	}
}

// parts is what wire makes.
type parts struct {
	loop         *reconciler.Loop
	engine       reconciler.Engine
	repositories []*repository
	triggers     []*trigger.Trigger
	sources      []string
}

func (p parts) close() error {
	var err error
	for _, r := range p.repositories {
		err = errors.Join(err, r.close())
	}
	return err
}

// wire makes the sync loop and what it works with.
func (a *App) wire(store *state.Store) parts {
	p := parts{engine: embedded.New(store)}
	o := reconciler.Options{Store: store, Engine: p.engine, MaxRollouts: a.config.MaxRollouts, Now: a.now, Log: a.log}
	for _, s := range a.config.Sources {
		r := &repository{log: a.log, config: source.Config{
			Name: s.Name, URL: s.URL, Branch: s.Branch, Dir: filepath.Join(a.dir, "mirror", s.Name), Now: a.now,
		}}
		t := trigger.New(trigger.Config{Interval: s.Interval, Now: a.now})
		src := reconciler.Source{Name: s.Name, URL: s.URL, Branch: s.Branch, Repository: r, Trigger: ticker{t}}
		var apps []manifests.App
		for _, app := range s.Apps {
			apps = append(apps, manifests.App{Source: s.Name, Name: app.Name, Path: app.Path, Namespace: app.Namespace})
			src.Apps = append(src.Apps, reconciler.App{Name: app.Name, Path: app.Path, Prune: app.Prune})
		}
		src.Cache = manifests.NewCache(apps, manifests.Options{})
		o.Sources = append(o.Sources, src)
		p.repositories, p.triggers, p.sources = append(p.repositories, r), append(p.triggers, t), append(p.sources, s.Name)
	}
	p.loop = reconciler.New(o)
	return p
}

// ticker is a trigger as the sync loop wants it.
type ticker struct{ *trigger.Trigger }

// Done sets when the next look is due.
func (t ticker) Done(error) { t.Trigger.Done() }
