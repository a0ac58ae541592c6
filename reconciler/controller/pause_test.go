package controller_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/belay-dev/belay/reconciler/controller"
)

// TestPause: workers wait while a question is asked, and not for long.
func TestPause(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		asks func(*controller.Pause)
		want time.Duration // that a worker waits
	}{
		{"nobody asks", func(*controller.Pause) {}, 0},
		{"a question was answered", func(p *controller.Pause) { p.Ask()() }, 0},
		{"a question", func(p *controller.Pause) { time.AfterFunc(8*time.Millisecond, p.Ask()) }, 8 * time.Millisecond},
		{"a question that is answered twice beside another", func(p *controller.Pause) {
			first, second := p.Ask(), p.Ask()
			first()
			first()
			time.AfterFunc(9*time.Millisecond, second)
		}, 9 * time.Millisecond},
		{"a question without an answer", func(p *controller.Pause) { p.Ask() }, 50 * time.Millisecond},
		{"the next question at once", func(p *controller.Pause) {
			answered := p.Ask()
			<-time.After(30 * time.Millisecond)
			answered()
			p.Ask()
		}, 0},
		{"the next question later", func(p *controller.Pause) {
			answered := p.Ask()
			<-time.After(30 * time.Millisecond)
			answered()
			<-time.After(10 * time.Millisecond)
			time.AfterFunc(7*time.Millisecond, p.Ask())
		}, 7 * time.Millisecond},
		{"a question beside one without an answer", func(p *controller.Pause) {
			p.Ask()
			<-time.After(time.Minute)
			p.Ask()
		}, 50 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var p controller.Pause
				c.asks(&p)
				begin := time.Now()
				p.Wait(t.Context())
				if got := time.Since(begin); got != c.want {
					t.Errorf("waited %s, want %s", got, c.want)
				}
				ctx, cancel := context.WithCancel(t.Context())
				cancel()
				begin = time.Now()
				p.Ask()
				if p.Wait(ctx); time.Since(begin) != 0 {
					t.Errorf("waited %s although nobody wants to", time.Since(begin))
				}
			})
		})
	}
}

// TestPauseShare: however much is asked, the work goes on for a quarter of the time.
func TestPauseShare(t *testing.T) {
	t.Parallel()
	for _, takes := range []time.Duration{time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond, time.Second} {
		synctest.Test(t, func(t *testing.T) {
			var p controller.Pause
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			var asking sync.WaitGroup
			for range 2 {
				asking.Go(func() {
					for ctx.Err() == nil {
						answered := p.Ask()
						<-time.After(takes)
						answered()
					}
				})
			}
			worked := 0
			for ; ctx.Err() == nil; worked++ {
				p.Wait(ctx)
				<-time.After(time.Millisecond)
			}
			if worked < 60_000/4 {
				t.Errorf("questions of %s leave %d ms of work in a minute", takes, worked)
			}
			asking.Wait()
		})
	}
}
