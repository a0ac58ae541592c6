package trigger

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

func start(t *testing.T, cfg Config) *Trigger {
	t.Helper()
	tr := New(cfg)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tr.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return tr
}

func due(tr *Trigger) bool {
	select {
	case <-tr.C():
		return true
	default:
		return false
	}
}

func TestFirstLookIsAtOnceAndTheNextAfterAnInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := start(t, Config{Interval: time.Minute, Jitter: -1})
		synctest.Wait()
		if !due(tr) {
			t.Fatal("no first signal")
		}
		time.Sleep(10 * time.Minute) // the look takes longer than the interval
		synctest.Wait()
		if due(tr) {
			t.Fatal("a signal before the look had ended")
		}
		tr.Done()
		if got, want := tr.NextAt(), time.Now().Add(time.Minute); !got.Equal(want) {
			t.Fatalf("NextAt = %v, want %v", got, want)
		}
		time.Sleep(time.Minute - 1)
		synctest.Wait()
		if due(tr) {
			t.Fatal("a signal before the interval was over")
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if !due(tr) {
			t.Fatal("no signal after the interval")
		}
	})
}

func TestKicksAreOneSignal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := New(Config{Interval: time.Minute})
		for range 100 {
			tr.Kick()
		}
		if !due(tr) || due(tr) {
			t.Fatal("100 kicks are not one signal")
		}
	})
}

func TestDoneUntilZeroWaitsForKick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := start(t, Config{Interval: time.Minute})
		synctest.Wait()
		due(tr)
		tr.DoneUntil(time.Time{})
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if due(tr) {
			t.Fatal("a stalled trigger fired")
		}
		tr.Kick()
		if !due(tr) {
			t.Fatal("a stalled trigger cannot be kicked")
		}
		tr.Done()
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if !due(tr) {
			t.Fatal("no signal after the stall ended")
		}
	})
}

func TestJitterStaysInItsBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		interval := time.Duration(rapid.Int64Range(1, int64(24*time.Hour)).Draw(t, "interval"))
		share := rapid.Float64Range(0, 1).Draw(t, "share")
		got := Jittered(interval, share, rapid.Float64Range(0, 1).Draw(t, "at"))
		slack := time.Duration(float64(interval)*share) + 1
		if got < interval-slack || got > interval+slack {
			t.Fatalf("Jittered(%v, %v) = %v", interval, share, got)
		}
	})
}

func TestConfiguredJitterIsUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := New(Config{Interval: time.Hour})
		seen := map[time.Time]bool{}
		for range 50 {
			tr.Done()
			next := tr.NextAt()
			if wait := time.Until(next); wait < 54*time.Minute || wait > 66*time.Minute {
				t.Fatalf("wait %v is not within 10%% of an hour", wait)
			}
			seen[next] = true
		}
		if len(seen) < 10 {
			t.Fatalf("50 waits have only %d values", len(seen))
		}
	})
}
