package controller

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rs/zerolog"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/util/workqueue"

	"github.com/belay-dev/belay/state"
)

// Reconcile brings the object of key one step nearer to what it should be, as seen at now.
//
// It reads what it needs from state, so a key whose object is gone is an ordinary input. A wakeAt that is not zero
// asks for another call at that time, whatever happens in between; earlier calls are always possible.
// An error asks for another call after a back-off. One key is never reconciled twice at the same time.
type Reconcile func(ctx context.Context, key state.Key, now time.Time) (wakeAt time.Time, err error)

// Config describes one controller.
type Config struct {
	// Name is what log lines call the controller.
	Name string
	// Kinds are watched.
	Kinds []state.Kind
	// Keys maps what changed to the keys to look at. It runs on the watching goroutine and must not block.
	Keys func(state.Event) []state.Key
	// Resync lists every key there is to look at: at the start, and when the watch fell behind.
	Resync func(*state.Store) []state.Key
	// Reconcile is called from Workers goroutines.
	Reconcile Reconcile
	// Beside, when set, runs until its context ends, on a goroutine of its own: what the controller has going besides
	// state. It calls look with keys to be looked at, whatever is stored.
	Beside func(ctx context.Context, look func(...state.Key))
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Log gets one line when a key begins to fail and one when it works again, and few in between.
	Log zerolog.Logger
	// Before, when set, is called by a worker before each key: what goes first is waited for there.
	Before func(context.Context)
	// Workers is the number of keys reconciled side by side; 0 means 1.
	Workers int
	// MaxRetries is how often in a row a failing key is tried again before it waits for the next change or for its
	// wakeAt; 0 means without end.
	MaxRetries int
}

// Field names of log lines.
const (
	logController = "controller"
	logKey        = "key"
	logAttempt    = "attempt"
	logReason     = "reason"
)

// maxConflicts bounds the tries that follow a conflict without a pause. A conflict means that somebody else wrote
// in between, so the next try reads something newer.
const maxConflicts = 10

// limiter has the limits of Kubernetes' controllers: for one key 5 ms doubling up to 1000 s, and over all keys 10 a
// second after a burst of 100; the longer wait counts.
func limiter() workqueue.TypedRateLimiter[state.Key] {
	return workqueue.DefaultTypedControllerRateLimiter[state.Key]()
}

// Run runs the controller until ctx ends and every Reconcile call has returned; then it returns nil. It returns
// early, and equally after its workers, when the store can no longer be watched.
func Run(ctx context.Context, store *state.Store, config Config) error {
	if config.Now == nil {
		config.Now = time.Now
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := &shell{
		Config: config,
		// No name: a named queue would start a goroutine that ticks twice a second for metrics.
		queue: workqueue.NewTypedRateLimitingQueue(limiter()),
	}
	s.Log = config.Log.With().Str(logController, config.Name).Logger()

	var workers sync.WaitGroup
	for range max(1, config.Workers) {
		workers.Go(func() { s.work(ctx) })
	}
	if config.Beside != nil {
		workers.Go(func() {
			config.Beside(ctx, func(keys ...state.Key) {
				for _, key := range keys {
					s.queue.Add(key)
				}
			})
		})
	}
	err := s.watch(ctx, store)
	cancel()
	s.queue.ShutDown()
	workers.Wait()
	if err != nil {
		return fmt.Errorf("controller %s: %w", config.Name, err)
	}
	return nil
}

// shell is one running controller.
type shell struct {
	Config
	queue workqueue.TypedRateLimitingInterface[state.Key]
}

// watch feeds the queue until ctx ends (nil) or the store refuses. The version is read before the list, so a change
// that the list misses comes with the watch, and one in both is looked at once more.
func (s *shell) watch(ctx context.Context, store *state.Store) error {
	for ctx.Err() == nil {
		version := store.Version()
		for _, key := range s.Resync(store) {
			s.queue.Add(key)
		}
		switch err := s.follow(ctx, store, version); {
		case errors.Is(err, state.ErrExpired):
			s.Log.Debug().Str(logReason, "WatchExpired").Msg("list again")
		case ctx.Err() == nil:
			return fmt.Errorf("watch: %w", err)
		}
	}
	return nil
}

func (s *shell) follow(ctx context.Context, store *state.Store, version int64) error {
	watch, err := store.Watch(version, s.Kinds...)
	if err != nil {
		return err
	}
	for {
		events, err := watch.Next(ctx)
		if err != nil {
			return err
		}
		for _, event := range events {
			for _, key := range s.Keys(event) {
				s.queue.Add(key)
			}
		}
	}
}

// work handles keys until the queue is shut down; keys still waiting then are dropped, a restart lists them again.
func (s *shell) work(ctx context.Context) {
	for {
		key, shutdown := s.queue.Get()
		if shutdown {
			return
		}
		if s.Before != nil {
			s.Before(ctx)
		}
		if ctx.Err() == nil {
			s.handle(ctx, key)
		}
		s.queue.Done(key)
	}
}

func (s *shell) handle(ctx context.Context, key state.Key) {
	wakeAt, now, err := s.reconcile(ctx, key)
	switch {
	case err == nil:
		if n := s.queue.NumRequeues(key); n > 0 {
			s.Log.Info().Stringer(logKey, key).Int(logAttempt, n+1).Msg("reconciled again")
		}
		s.queue.Forget(key)
	case ctx.Err() != nil:
		return
	default:
		s.retry(key, err)
	}
	if !wakeAt.IsZero() {
		// Counted from the time that was given in: a clock that was set back since must not make the wait longer.
		s.queue.AddAfter(key, wakeAt.Sub(now))
	}
}

func (s *shell) reconcile(ctx context.Context, key state.Key) (wakeAt, now time.Time, err error) {
	for range maxConflicts {
		now = s.Now()
		wakeAt, err = s.Reconcile(ctx, key, now)
		if !apierrors.IsConflict(err) || ctx.Err() != nil {
			break
		}
	}
	return wakeAt, now, err
}

// retry queues a failed key again, unless waiting alone cannot help: then the next change of the object does.
func (s *shell) retry(key state.Key, err error) {
	attempt := s.queue.NumRequeues(key) + 1
	switch {
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		s.queue.Forget(key)
		return
	case s.MaxRetries > 0 && attempt > s.MaxRetries:
		s.queue.Forget(key)
		s.Log.Error().Stringer(logKey, key).Int(logAttempt, attempt).Str(logReason, "RetriesExhausted").Err(err).
			Msg("reconcile failed, waiting for a change")
		return
	}
	// 1st, 2nd, 4th, 8th … failure: a key that fails for hours does not fill the log.
	if attempt&(attempt-1) == 0 {
		s.Log.Warn().Stringer(logKey, key).Int(logAttempt, attempt).Err(err).Msg("reconcile failed")
	}
	s.queue.AddRateLimited(key)
}
