package app

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
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

	// API, when set before Run, serves the Kubernetes API where the configuration says to listen; else only health
	// checks answer there.
	API NewAPI
	// Progress, when set before Run, is told how a fetch over the network goes on: the source and a few words. It is
	// called often and must not block.
	Progress func(source, text string)

	// Seams may be set before Run, by tests.
	Seams Seams
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
	if a.Seams.Now != nil {
		a.now = a.Seams.Now
	}
	store, err := state.Open(a.dir, state.Options{Now: a.now, Disk: a.Seams.Disk})
	if err != nil {
		return withHint(err)
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if err := a.namespaces(store); err != nil {
		return err
	}
	pods, streams, err := a.runner(store)
	if err != nil {
		return err
	}
	runtime, reason := a.config.Runtime.Resolve()
	a.log.Info().Str("runtime", string(runtime)).Str("reason", reason).Str("data", a.dir).Msg("starting")

	found, err := a.find(ctx, store, pods)
	if err != nil {
		return err
	}
	parts := a.wire(store)
	parts.found, parts.streams = found, streams
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
	a.start(start, parts, listeners, store, pods)

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
		for _, c := range a.controllers(store, pods) {
			start(c.Name, func(ctx context.Context) error { return controller.Run(ctx, store, c) })
		}
		return nil
	})
	start("comparison", func(ctx context.Context) error { return parts.found.compare(ctx, store, parts.loop) })
	for _, t := range parts.triggers {
		start("trigger", func(ctx context.Context) error { t.Run(ctx); return nil })
	}
	for _, w := range parts.watches {
		start("watch", func(ctx context.Context) error { trigger.Watch(ctx, w); return nil })
	}
	if parts.hooks = a.hooks(parts); parts.hooks != nil {
		start("webhooks", func(ctx context.Context) error { parts.hooks.Run(ctx); return nil })
	}
	start("sync loop", parts.loop.Run)
	start("copy", func(ctx context.Context) error { return a.keepCopy(ctx, store) })
	start("control", func(ctx context.Context) error { return a.serve(ctx, ls, parts, store) })
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
func (a *App) controllers(store *state.Store, pods node.PodRunner) []controller.Config {
	recorder := func(component string) *event.Recorder { return event.NewRecorder(store, component, a.now) }
	return []controller.Config{
		rollout.New(store, recorder("deployment-controller"), a.log, a.now),
		replicaset.New(store, recorder("replicaset-controller"), a.log, a.now),
		garbage.New(store, a.log, a.now),
		node.New(store, pods, a.log, a.now),
	}
}

// parts is what wire makes.
type parts struct {
	hooks        *trigger.Hooks // nil: none are configured
	loop         *reconciler.Loop
	engine       *embedded.Engine
	found        *found
	streams      node.Streamer // nil: nothing reaches into pods
	repositories []*repository
	mirrors      map[string]*mirror // by source
	triggers     []*trigger.Trigger
	watches      []trigger.WatchConfig // of the branches that are on this machine
	sources      []string
}

func (p parts) close() error {
	var err error
	for _, r := range p.repositories {
		err = errors.Join(err, r.close())
	}
	for _, m := range p.mirrors {
		m.close() // the same one again for several sources does nothing
	}
	return err
}

// wire makes the sync loop and what it works with.
func (a *App) wire(store *state.Store) parts {
	p := parts{engine: embedded.New(store), mirrors: map[string]*mirror{}}
	o := reconciler.Options{
		Store: store, Engine: p.engine, MaxRollouts: a.config.MaxRollouts, Now: a.now, Log: a.log, Recorder: event.NewRecorder(store, "belay", a.now),
	}
	shared := map[branchID]*mirror{}
	for _, s := range a.config.Sources {
		m := a.mirror(shared, s)
		r := &repository{mirror: m}
		t := a.trigger(s)
		if _, local, _ := source.LocalDir(s.URL); local {
			p.watches = append(p.watches, trigger.WatchConfig{
				Dir:    func() (string, error) { dir, _, err := source.LocalDir(s.URL); return dir, err },
				Branch: s.Branch, Moved: t.Kick, Log: a.log.With().Str("source", s.Name).Logger(),
			})
		}
		src := reconciler.Source{
			Name: s.Name, URL: s.URL, Branch: s.Branch, Repository: r, Windows: windowsOf(s.Windows), Import: s.Import,
			Trigger: &ticker{Trigger: t, interval: s.Interval, now: a.now, log: a.log.With().Str("source", s.Name).Logger()},
		}
		var apps []manifests.App
		for _, app := range s.Apps {
			apps = append(apps, manifests.App{Source: s.Name, Name: app.Name, Path: app.Path, Namespace: app.Namespace})
			src.Apps = append(src.Apps, reconciler.App{Name: app.Name, Path: app.Path, Prune: app.Prune, Windows: windowsOf(app.Windows)})
		}
		src.Cache = manifests.NewCache(apps, manifests.Options{Blobs: newBlobs(filepath.Join(a.dir, "cache"))})
		o.Sources = append(o.Sources, src)
		p.repositories, p.triggers, p.sources = append(p.repositories, r), append(p.triggers, t), append(p.sources, s.Name)
		p.mirrors[s.Name] = m
	}
	p.loop = reconciler.New(o)
	return p
}

// trigger makes the trigger of a source; its schedule is valid.
func (a *App) trigger(s SourceConfig) *trigger.Trigger {
	c := trigger.Config{Interval: s.Interval, Now: a.now}
	if at, err := trigger.ParseSchedule(s.Schedule); err == nil {
		c.Schedule = &at
	}
	return trigger.New(c)
}

// branchID tells one branch of one repository, reached one way, from another.
type branchID struct {
	url, branch string
	auth        Auth
}

// mirror finds the mirror of a source's branch among those made already, or makes it, named after the source.
func (a *App) mirror(shared map[branchID]*mirror, s SourceConfig) *mirror {
	key := branchID{s.URL, s.Branch, s.Auth}
	if m := shared[key]; m != nil {
		return m
	}
	m := &mirror{log: a.log}
	m.config = source.Config{
		Name: s.Name, URL: s.URL, Branch: s.Branch, Dir: filepath.Join(a.dir, "mirror", s.Name), Now: a.now, Auth: source.Auth(s.Auth),
		Progress: m.progress(a.Progress),
	}
	shared[key] = m
	return m
}

// ticker is a trigger as the sync loop wants it: after an error its kind decides when the next look is due.
type ticker struct {
	*trigger.Trigger
	interval time.Duration
	now      func() time.Time
	log      zerolog.Logger

	mu     sync.Mutex // guards streak
	streak source.Streak
}

// Done sets when the next look is due. An error that repeats is one line now and then, with its count.
func (t *ticker) Done(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var note source.Note
	t.streak, note = t.streak.Next(err, t.now())
	if err == nil {
		t.Trigger.Done()
		return
	}
	var retryAfter time.Duration
	if e, ok := errors.AsType[*source.Error](err); ok {
		retryAfter = e.RetryAfter
	}
	wait, stall := source.Backoff(source.KindOf(err), t.streak.Count, t.interval, retryAfter, rand.Float64())
	if note == source.NoteStillFailing {
		t.log.Warn().Int("attempt", t.streak.Count).Time("since", t.streak.Since).Err(err).Msg("still not synced")
	}
	if stall {
		t.DoneUntil(time.Time{})
		return
	}
	t.DoneUntil(t.now().Add(wait))
}

// HostKeys asks an ssh host for its keys, for review by a person.
func HostKeys(ctx context.Context, host string, timeout time.Duration) ([]source.HostKey, error) {
	keys, err := source.ScanHostKeys(ctx, host, timeout)
	return keys, withHint(err)
}
