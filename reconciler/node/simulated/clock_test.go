package simulated

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"
)

// TestClockSetBack: a clock that is set back, whenever and as often as it is, takes no pod's readiness away, makes no
// container start again, and keeps no pod from becoming ready or from stopping; a restart on the way changes nothing.
func TestClockSetBack(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	rapid.Check(t, func(t *rapid.T) {
		const delay = 10 * time.Second
		options := Options{Delay: delay, Stop: delay}
		r := New(options)
		p := named("web", "web:1")
		now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
		ready, undisturbed := false, time.Duration(0)
		sync := func() (gone bool) {
			report, err := r.Sync(ctx, p, now)
			if err != nil {
				t.Fatal(err)
			}
			p.Status = report.Status
			if wait := report.WakeAt.Sub(now); wait > delay {
				t.Fatalf("at %s it wants to wait for %s", now, wait)
			}
			c := conditionOf(p.Status.Conditions, corev1.PodReady)
			is := c != nil && c.Status == corev1.ConditionTrue
			if ready && !is || len(p.Status.ContainerStatuses) > 0 && p.Status.ContainerStatuses[0].RestartCount > 0 {
				t.Fatalf("at %s: was ready %t, is %t: %+v", now, ready, is, p.Status.ContainerStatuses)
			}
			ready = is
			return report.Gone
		}
		sync()
		jumps := rapid.IntRange(0, 6).Draw(t, "jumps")
		for range jumps {
			now = now.Add(time.Duration(rapid.IntRange(0, 12).Draw(t, "seconds")) * time.Second)
			sync()
			now = now.Add(-time.Duration(rapid.IntRange(0, 10_000).Draw(t, "back")) * time.Second)
			if rapid.Bool().Draw(t, "restart") {
				r = New(options)
				r.Adopt([]*corev1.Pod{p})
			}
			sync()
		}
		for ; !ready; undisturbed += time.Second {
			if undisturbed > delay {
				t.Fatalf("not ready %s after the last jump", undisturbed)
			}
			now = now.Add(time.Second)
			sync()
		}
		p.DeletionTimestamp = &metav1.Time{Time: now.Add(time.Minute)}
		sync()
		now = now.Add(-time.Hour)
		sync()
		for n := time.Duration(0); !sync(); n += time.Second {
			if n > delay {
				t.Fatalf("not gone %s after the last jump", n)
			}
			now = now.Add(time.Second)
		}
	})
}
