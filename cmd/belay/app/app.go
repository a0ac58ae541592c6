package app

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/belay-dev/belay/reconciler/autoscale"
	"github.com/belay-dev/belay/reconciler/controller"
	"github.com/belay-dev/belay/reconciler/embedded"
	"github.com/belay-dev/belay/reconciler/event"
	"github.com/belay-dev/belay/reconciler/garbage"
	"github.com/belay-dev/belay/reconciler/node"
	"github.com/belay-dev/belay/reconciler/quota"
	"github.com/belay-dev/belay/reconciler/replicaset"
	"github.com/belay-dev/belay/reconciler/rollout"
	"github.com/belay-dev/belay/reconciler/service"
	"github.com/belay-dev/belay/source"
	"github.com/belay-dev/belay/state"
)

// App is the whole service in one process.
type App struct {
	config Config
	dir    string
	log    zerolog.Logger
	now    func() time.Time
	ready  chan struct{}

	// API, when set before Run, serves the Kubernetes API where the configuration says to listen; else only health
	// checks answer there.
	API NewAPI
	// Progress, when set before Run, is told how a fetch over the network goes on: the source and a few words. It is
	// called often and must not block.
	Progress func(source, text string)

	// Reload, when set before Run, says where the configuration comes from when it changes.
	Reload Reload

	// Network, when set before Run, is the command that runs RunNetwork: its last two arguments are added. The connections of
	// Services to pods that outlive this process do so too then.
	Network []string

	// Seams may be set before Run, by tests.
	Seams Seams
}

// New makes a service over a data directory; Run starts it. The configuration is valid.
func New(c Config, dataDir string, log zerolog.Logger) *App {
	return &App{config: c, dir: dataDir, log: log, now: time.Now, ready: make(chan struct{})}
}

// cache keeps what was rendered.
func (a *App) cache() blobs { return newBlobs(filepath.Join(a.dir, "cache"), a.Seams.Files) }

// Ready is closed once the service answers on its socket.
func (a *App) Ready() <-chan struct{} { return a.ready }

// reserved is how much of the disk is kept for going back when it is full: room for hundreds of transactions.
const reserved = 4 << 20

// Run serves until ctx ends, then stops in the reverse order of the start: first nothing new is taken, then the
// loop and the controllers end, then the store is flushed and closed. One call only.
func (a *App) Run(ctx context.Context) (err error) {
	lock, err := lockDataDir(a.dir, a.Seams.Files)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Release()) }()
	if err := a.cache().clear(); err != nil {
		a.log.Warn().Err(err).Msg("cache not cleared") // that it cannot be used either is told where it matters
	}
	if a.Seams.Now != nil {
		a.now = a.Seams.Now
	}
	store, err := state.Open(a.dir, state.Options{
		Now: a.now, Reserve: reserved, Disk: a.Seams.Disk, ServiceRange: a.config.Services.prefix(),
	})
	if err != nil {
		return withHint(err)
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if err := namespaces(store, a.config); err != nil {
		return err
	}
	pods, err := a.podRuntime(ctx, store)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, pods.close()) }()
	starting := a.log.Info().Str("runtime", string(pods.name)).Str("reason", pods.reason).Str("data", a.dir)
	if pods.about != "" {
		starting = starting.Str("pods", pods.about)
	}
	starting.Msg("starting")

	found, err := a.find(ctx, store, pods.runner)
	if err != nil {
		return err
	}
	parts := a.wire(store, pods)
	parts.found, parts.streams, parts.runtime = found, pods.streams, pods.name
	if parts.door, parts.reach, err = a.door(ctx, store, pods); err != nil {
		return errors.Join(err, parts.close())
	}
	pods.origins.following = parts.following
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
	a.start(start, parts, listeners, store, pods.runner)

	<-run.Done()
	a.log.Info().Msg("stopping")
	if cause := context.Cause(run); ctx.Err() == nil {
		return cause
	}
	return nil
}

// start starts every part with the function given.
func (a *App) start(start func(string, func(context.Context) error), parts parts, ls listeners, store *state.Store, pods node.PodRunner) {
	start("controllers", func(ctx context.Context) error {
		if err := parts.found.decided(ctx, store, pods); err != nil {
			return err
		}
		for _, c := range a.controllers(store, pods, parts, ls) {
			start(c.Name, func(ctx context.Context) error { return controller.Run(ctx, store, c) })
		}
		return nil
	})
	if parts.door != nil {
		start("services", parts.door.Run)
	}
	start("comparison", func(ctx context.Context) error { return parts.found.compare(ctx, store, parts.loop) })
	start("sources", parts.run)
	if parts.hooks != nil {
		start("webhooks", func(ctx context.Context) error { parts.hooks.Run(ctx); return nil })
	}
	start("sync loop", parts.loop.Run)
	start("copy", func(ctx context.Context) error { return a.keepCopy(ctx, store) })
	start("control", func(ctx context.Context) error { return a.serve(ctx, ls, parts, store) })
}

// controllers are the ones that run what the engine applied. Without a door Services answer nowhere.
func (a *App) controllers(store *state.Store, pods node.PodRunner, p parts, ls listeners) []controller.Config {
	recorder := func(component string) *event.Recorder { return event.NewRecorder(store, component, a.now) }
	var services []controller.Config
	if p.door != nil {
		pods = newDraining(pods, p.door)
		services = append(services, service.New(store, p.door, p.reach, a.log, a.now))
		if p.reach.Host != "" {
			services = append(services, service.NewHostPorts(store, p.door, p.reach.Host, a.log, a.now))
		}
	}
	if at, ok := a.apiAt(ls.health); ok {
		services = append(services, service.NewKubernetes(store, at, a.log, a.now))
	}
	return append(services,
		service.NewPublisher(store, a.log, a.now),
		autoscale.New(store, recorder("horizontal-pod-autoscaler"), a.log, a.now),
		rollout.New(store, recorder("deployment-controller"), a.log, a.now),
		replicaset.New(store, recorder("replicaset-controller"), a.log, a.now),
		garbage.New(store, a.log, a.now), garbage.NewNamespaces(store, a.log, a.now), quota.New(store, a.log, a.now),
		node.New(store, pods, a.log, a.now),
	)
}

// parts is what a service works with.
type parts struct {
	*following
	engine  *embedded.Engine
	found   *found
	runtime Runtime
	streams node.Streamer // nil: nothing reaches into pods
	fields  embedded.Pods // says what of pods is not honoured; nil: all is
	door    door          // nil: Services answer nowhere
	reach   service.Reach
	metrics *metrics
	pause   *controller.Pause // of the controllers, for who asks
}

// wire makes the sync loop and what it works with.
func (a *App) wire(store *state.Store, pods podRuntime) parts {
	engine, metrics := embedded.New(store, pods.fields), newMetrics(store)
	survey := surveyBy(engine, pods.name, a.config.HostPaths)
	return parts{following: a.newFollowing(store, engine, metrics, survey), engine: engine, fields: pods.fields, metrics: metrics, pause: &controller.Pause{}}
}

// HostKeys asks an ssh host for its keys, for review by a person.
func HostKeys(ctx context.Context, host string, timeout time.Duration) ([]source.HostKey, error) {
	keys, err := source.ScanHostKeys(ctx, host, timeout)
	return keys, withHint(err)
}
