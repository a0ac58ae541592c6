package reconciler

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/belay-dev/belay/manifests"
	"github.com/belay-dev/belay/reconciler/engine"
	"github.com/belay-dev/belay/reconciler/rollback"
	"github.com/belay-dev/belay/state"
)

// Trigger says when a source was looked at.
type Trigger interface {
	// C receives a value when a look at the source has ended: Polled tells how.
	C() <-chan struct{}
	// NextAt is when the next look is due; zero: unknown.
	NextAt() time.Time
}

// App is one path of a source.
type App struct {
	Name    string
	Path    string
	Prune   bool
	Windows []Window // besides the source's
	// OnFailure says what happens by itself when a rollout passes its deadline; empty: nothing.
	OnFailure rollback.OnFailure
	// AutoPush has OnFailure rollback push to the branch that is followed, instead of to one of its own.
	AutoPush bool
}

// Source is one branch of one repository, as the loop follows it.
type Source struct {
	Name       string
	URL        string
	Branch     string
	Apps       []App
	Windows    []Window // when changes of any of its apps may begin
	Repository Repository
	Cache      *manifests.Cache
	Trigger    Trigger
	Writer     Writer // nil: nothing is ever changed in Git
	Import     int    // commits before the first sync that get rows, at most
}

// Options is all that a Loop needs.
type Options struct {
	Store       *state.Store
	Engine      Engine
	Sources     []Source
	MaxRollouts int // at once; 0: no limit
	Now         func() time.Time
	Log         zerolog.Logger
	Recorder    Recorder // nil: no Events are recorded
	Observer    Observer // nil: nothing is measured
}

// Loop is the sync loop: one goroutine that records and plans for all sources, and for each source one that takes what
// was looked at, and one that imports its past.
type Loop struct {
	o        Options
	inbox    chan func(context.Context)
	wishes   chan func(context.Context) // what people asked for: it goes before the inbox, and between two actions
	granting bool                       // it runs one
	carried  int64                      // version with which one was carried out last
	follows  atomic.Pointer[followers]
	running  sync.WaitGroup // goroutines of followers
	work     workset
	retry    map[engine.Key]retry
	timer    *time.Timer
	since    time.Time // when it began to run

	mu        sync.Mutex // guards published
	published map[string]SourceStatus
	problems  map[engine.Key]manifests.Problem // of planning and applying, by object
	shared    map[engine.Key]manifests.Problem // of objects that several sources declare
}

// retry remembers when a change that failed is tried again.
type retry struct {
	attempt int
	at      time.Time
}

// wait is how long it is until then: never longer than was decided, also when somebody set the clock back since.
func (r retry) wait(now time.Time) time.Duration { return min(r.at.Sub(now), Backoff(r.attempt)) }

// New makes a Loop; Run starts it.
func New(o Options) *Loop {
	l := &Loop{
		o: o, inbox: make(chan func(context.Context)), wishes: make(chan func(context.Context)), retry: map[engine.Key]retry{},
		published: map[string]SourceStatus{}, problems: map[engine.Key]manifests.Problem{},
		shared: map[engine.Key]manifests.Problem{},
		work:   newWorkset(),
	}
	l.follows.Store(l.follow(nil, o.Sources))
	return l
}

// Run works until ctx ends and returns nothing but a broken start. All its goroutines have ended when it returns.
func (l *Loop) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer l.running.Wait()
	defer cancel()

	l.since = l.o.Now()
	l.work.load(l.o.Store, l.configured)
	l.work.loadMissed(l.o.Store)
	l.timer = time.NewTimer(time.Hour)
	defer l.timer.Stop()

	watched := make(chan error, 1)
	wg.Go(func() {
		watched <- l.o.Engine.Watch(ctx, func(keys []engine.Key) {
			_ = l.do(ctx, func(ctx context.Context) { l.pass(ctx, keys) })
		})
	})
	for _, f := range l.followers() {
		l.begin(ctx, f)
	}
	for {
		if l.grant(ctx) {
			l.schedule()
		}
		select {
		case <-ctx.Done():
			return nil
		case f := <-l.wishes:
			f(ctx)
		case err := <-watched:
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("watch what runs: %w", err)
		case f := <-l.inbox:
			f(ctx)
		case <-l.timer.C:
			l.pass(ctx, l.due())
		}
		l.schedule()
	}
}

// grant runs one of the wishes that wait, and reports whether there was one. Within a wish there is none: it ends first.
func (l *Loop) grant(ctx context.Context) bool {
	if l.granting {
		return false
	}
	select {
	case f := <-l.wishes:
		f(ctx)
		return true
	default:
		return false
	}
}

// do runs f on the loop's goroutine and waits for it.
func (l *Loop) do(ctx context.Context, f func(context.Context)) error { return l.on(ctx, l.inbox, f) }

// on is do by one of the loop's channels.
func (l *Loop) on(ctx context.Context, queue chan<- func(context.Context), f func(context.Context)) error {
	done := make(chan struct{})
	select {
	case queue <- func(loopCtx context.Context) { defer close(done); f(loopCtx) }:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// look polls a source and takes what is new.
func (l *Loop) look(ctx context.Context, f *follower, o SyncOptions) error {
	return l.taken(ctx, f, f.Repository.Poll, o)
}

// taken takes what a poll found: the poll on the caller's goroutine, the rest on the loop's. One of them for a source at
// a time.
func (l *Loop) taken(ctx context.Context, f *follower, poll func(context.Context) (string, error), o SyncOptions) error {
	if err := f.alone(ctx); err != nil {
		return err
	}
	defer f.release()
	head, err := poll(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	began := l.o.Now()
	l.awaitEarlier(ctx, f)
	var syncErr error
	var news bool
	doErr := l.do(ctx, func(ctx context.Context) {
		before := f.cursor.Commit
		syncErr = l.polled(ctx, f, head, err, o)
		news = f.cursor.Commit != before
	})
	if doErr != nil {
		return doErr
	}
	if l.o.Observer != nil {
		l.o.Observer.Looked(f.Name, l.o.Now().Sub(began), news, err)
	}
	return syncErr
}

// earlierPatience bounds how long a source waits at the start for those before it in the configuration.
const earlierPatience = 30 * time.Second

// awaitEarlier waits until every source before this one in the configuration has ended its first look: they own what
// both declare, and before it nobody knows what they declare.
func (l *Loop) awaitEarlier(ctx context.Context, f *follower) {
	ctx, cancel := context.WithTimeout(ctx, earlierPatience)
	defer cancel()
	for _, earlier := range l.followers() {
		if earlier == f {
			return
		}
		select {
		case <-earlier.looked:
		case <-earlier.gone:
		case <-ctx.Done():
			return
		}
	}
}

// schedule sets the timer to the next retry, or to when a window opens for something that waits for it.
func (l *Loop) schedule() {
	next := time.Hour
	for _, at := range l.work.opens {
		next = min(next, time.Minute, max(at.Sub(l.o.Now()), time.Millisecond)) // a minute: somebody may set the clock
	}
	for _, at := range l.work.wakes {
		next = min(next, max(at.Sub(l.o.Now()), time.Millisecond))
	}
	for _, r := range l.retry {
		next = min(next, max(r.wait(l.o.Now()), time.Millisecond))
	}
	l.timer.Reset(next)
}

// due lists the keys whose retry, or window, has come.
func (l *Loop) due() []engine.Key {
	var keys []engine.Key
	for k, at := range l.work.opens {
		if !at.After(l.o.Now()) {
			keys = append(keys, k)
		}
	}
	for k, at := range l.work.wakes {
		if !at.After(l.o.Now()) {
			keys = append(keys, k)
		}
	}
	for k, r := range l.retry {
		if r.wait(l.o.Now()) <= 0 {
			keys = append(keys, k)
		}
	}
	return keys
}

// SyncOptions is what a person may ask of one look.
type SyncOptions struct {
	Prune        bool // delete what waits to be pruned
	AcceptRender bool // roll out templates that render differently than when they ran
	// OverrideWindow says why changes may begin although a window is closed or their commit is failing; empty: they may
	// not. It is recorded with what it lets through.
	OverrideWindow string
}

// ErrNoSource is returned for a source that is not configured.
var ErrNoSource = errors.New("no such source")

// Sync looks at a source now and returns when what it found is recorded and given to the engine.
func (l *Loop) Sync(ctx context.Context, source string, o SyncOptions) error {
	f, err := l.follower(source)
	if err != nil {
		return err
	}
	return l.look(ctx, f, o)
}

// Suspend stops, or resumes, acting on a source. What runs goes on running and being observed.
func (l *Loop) Suspend(ctx context.Context, source string, suspended bool) error {
	f, err := l.follower(source)
	if err != nil {
		return err
	}
	if doErr := l.do(ctx, func(ctx context.Context) { err = l.suspend(ctx, f, suspended) }); doErr != nil {
		return doErr
	}
	if err != nil || suspended {
		return err
	}
	err = l.look(ctx, f, SyncOptions{})
	if doErr := l.do(ctx, func(ctx context.Context) { l.pass(ctx, l.allKeys(f)) }); doErr != nil { // what moved meanwhile
		return doErr
	}
	return err
}
