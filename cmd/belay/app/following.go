package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/belay-dev/belay/cmd/belay/control"
	"github.com/belay-dev/belay/manifests"
	"github.com/belay-dev/belay/reconciler"
	"github.com/belay-dev/belay/reconciler/event"
	"github.com/belay-dev/belay/source"
	"github.com/belay-dev/belay/source/trigger"
	"github.com/belay-dev/belay/state"
)

// following is the sources of the configuration in force, with all that looks at them. One goroutine changes it: that of
// run, once the service has started.
type following struct {
	app   *App
	store *state.Store
	loop  *reconciler.Loop
	hooks *trigger.Hooks // nil: none are configured
	// survey finds what of the sources' objects is not honoured.
	survey manifests.Survey

	pollers map[repositoryID]*poller

	mu       sync.RWMutex // guards all below
	config   Config
	sources  []*followed
	wrong    []control.Problem // why the newest configuration is not in force, or not all of it
	tokens   func() error      // reads those of the Kubernetes API again; nil: it is not served
	noTokens error             // why those in the file are not in force
}

// followed is one source.
type followed struct {
	config     SourceConfig
	limits     Limits
	source     reconciler.Source
	repository *repository
	stop       func() // ends its watch, waiting for it; nil: it has not begun
}

// newFollowing makes what follows the sources of a configuration, and the sync loop for them.
func (a *App) newFollowing(store *state.Store, engine reconciler.Engine, observer reconciler.Observer, survey manifests.Survey) *following {
	f := &following{app: a, store: store, config: a.config, pollers: map[repositoryID]*poller{}, survey: survey}
	f.sources = f.wire(a.config)
	f.loop = reconciler.New(reconciler.Options{
		Store: store, Engine: engine, Sources: sourcesOf(f.sources), MaxRollouts: a.config.MaxRollouts, Now: a.now, Log: a.log,
		Recorder: event.NewRecorder(store, "belay", a.now), Observer: observer,
	})
	if a.config.Webhook.Listen != "" {
		f.hooks = trigger.NewHooks(trigger.HooksConfig{Secret: f.secret, Now: a.now, Log: a.log})
		f.hooks.Follow(hooksOf(f.sources))
	}
	return f
}

// wire makes the sources of a configuration. Those that are configured as before are taken over.
func (f *following) wire(c Config) []*followed {
	var out []*followed
	for _, s := range c.Sources {
		i := slices.IndexFunc(f.sources, func(o *followed) bool { return o.limits == c.Limits && reflect.DeepEqual(o.config, s) })
		if i >= 0 {
			out = append(out, f.sources[i])
			continue
		}
		out = append(out, f.follow(s, c.Limits))
	}
	return out
}

// follow makes one source and has it looked for.
func (f *following) follow(s SourceConfig, limits Limits) *followed {
	id := repositoryID{s.URL, s.Auth, limits}
	p := f.pollers[id]
	if p == nil {
		p = f.app.newPoller(id)
		f.pollers[id] = p
	}
	r := newRepository(p, s)
	p.join(r)
	src := reconciler.Source{
		Name: s.Name, URL: s.URL, Branch: s.Branch, Repository: r, Trigger: r, Windows: windowsOf(s.Windows), Import: s.Import,
		Writer: p.writer(s),
	}
	var apps []manifests.App
	for _, app := range s.Apps {
		apps = append(apps, manifests.App{Source: s.Name, Name: app.Name, Path: app.Path, Namespace: app.Namespace})
		src.Apps = append(src.Apps, reconciler.App{
			Name: app.Name, Path: app.Path, Prune: app.Prune, Windows: windowsOf(app.Windows), OnFailure: app.OnFailure, AutoPush: app.AutoPush,
		})
	}
	src.Cache = manifests.NewCache(apps, manifests.Options{Blobs: f.app.cache(), Survey: f.survey})
	return &followed{config: s, limits: limits, source: src, repository: r}
}

func sourcesOf(fs []*followed) []reconciler.Source {
	var out []reconciler.Source
	for _, s := range fs {
		out = append(out, s.source)
	}
	return out
}

func hooksOf(fs []*followed) []trigger.HookSource {
	var out []trigger.HookSource
	for _, s := range fs {
		out = append(out, trigger.HookSource{
			Name: s.config.Name, URL: s.config.URL, Branch: s.config.Branch, Look: s.repository.ask, Has: s.repository.has,
		})
	}
	return out
}

// begin starts the pollers and watches that do not run yet.
func (f *following) begin(ctx context.Context, wg *sync.WaitGroup) {
	for _, p := range f.pollers {
		if p.stop == nil {
			p.stop = background(ctx, wg, p.run)
		}
	}
	for _, s := range f.current() {
		if s.stop != nil {
			continue
		}
		s.stop = func() {}
		if _, local, _ := source.LocalDir(s.config.URL); local {
			w := trigger.WatchConfig{
				Dir:    func() (string, error) { dir, _, err := source.LocalDir(s.config.URL); return dir, err },
				Branch: s.config.Branch, Moved: s.repository.ask, Log: f.app.log.With().Str("source", s.config.Name).Logger(),
			}
			s.stop = background(ctx, wg, func(ctx context.Context) { trigger.Watch(ctx, w) })
		}
	}
}

// background runs something until ctx ends or it is stopped, which waits for its end.
func background(ctx context.Context, wg *sync.WaitGroup, run func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	wg.Go(func() {
		defer close(ended)
		run(ctx)
	})
	return func() {
		cancel()
		<-ended
	}
}

// apply puts a configuration in force: sources that are new are followed, those that are gone or changed are left, and
// the others go on untouched.
func (f *following) apply(ctx context.Context, wg *sync.WaitGroup, c Config) error {
	if err := namespaces(f.store, c); err != nil {
		return err
	}
	before := f.current()
	next := f.wire(c)
	if err := f.loop.Follow(ctx, sourcesOf(next), c.MaxRollouts); err != nil {
		return fmt.Errorf("follow the sources: %w", err)
	}
	var err error
	for _, s := range before {
		if !slices.Contains(next, s) {
			err = errors.Join(err, f.leave(s))
		}
	}
	f.mu.Lock()
	f.config, f.sources = c, next
	f.mu.Unlock()
	f.begin(ctx, wg)
	for _, s := range next {
		if !slices.Contains(before, s) {
			s.repository.ask()
		}
	}
	if f.hooks != nil {
		f.hooks.Follow(hooksOf(next))
	}
	return err
}

// leave ends what follows a source, and the poller that no other one needs.
func (f *following) leave(s *followed) error {
	s.stop()
	p := s.repository.poller
	if p.leave(s.repository) {
		p.stop()
		delete(f.pollers, p.id)
	}
	return s.repository.close()
}

// close ends the snapshots, and the pollers that were never begun. Nothing reads any more.
func (f *following) close() error {
	var err error
	for _, s := range f.current() {
		err = errors.Join(err, s.repository.close())
	}
	for _, p := range f.pollers {
		p.close()
	}
	return err
}

func (f *following) current() []*followed {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.sources
}

func (f *following) source(name string) *followed {
	all := f.current()
	if i := slices.IndexFunc(all, func(s *followed) bool { return s.config.Name == name }); i >= 0 {
		return all[i]
	}
	return nil
}

// names lists the sources as configured.
func (f *following) names() []string {
	var out []string
	for _, s := range f.current() {
		out = append(out, s.config.Name)
	}
	return out
}

// doing says what is going on with a source's repository; empty: nothing.
func (f *following) doing(name string) string {
	if s := f.source(name); s != nil {
		return s.repository.poller.doing()
	}
	return ""
}

// branch names the branch that a source follows.
func (f *following) branch(name string) string {
	if s := f.source(name); s != nil {
		return s.config.Branch
	}
	return name
}

// writes says what becomes of writes to what Git manages.
func (f *following) writes() Writes {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.config.Writes
}

// secret is what webhooks are signed with.
func (f *following) secret() (string, error) {
	f.mu.RLock()
	w := f.config.Webhook
	f.mu.RUnlock()
	return w.secret()
}

// sweep removes copies of repositories that no source has.
func (f *following) sweep() {
	dir := filepath.Join(f.app.dir, "mirror")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return // there is none yet
	}
	keep := map[string]bool{}
	for id := range f.pollers {
		keep[id.dir()], keep[id.dir()+".bad"] = true, true
	}
	for _, e := range entries {
		if keep[e.Name()] {
			continue
		}
		err := f.app.Seams.Files.Do(FileMirrorGone, func() error { return os.RemoveAll(filepath.Join(dir, e.Name())) })
		if err != nil {
			f.app.log.Warn().Err(err).Msg("the copy of a repository that is not followed any more stays")
		}
	}
}

// namespaces makes the namespaces that apps put their objects into.
func namespaces(store *state.Store, c Config) error {
	for _, s := range c.Sources {
		for _, app := range s.Apps {
			_, err := store.Commit(state.Create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: app.Namespace}}))
			if err != nil && !apierrors.IsAlreadyExists(err) {
				return fmt.Errorf("make namespace %s: %w", app.Namespace, err)
			}
		}
	}
	return nil
}
