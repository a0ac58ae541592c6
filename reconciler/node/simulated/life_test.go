package simulated

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"pgregory.net/rapid"
)

func TestDeletion(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name  string
		stop  time.Duration
		grace time.Duration
		want  time.Duration // from the deletion
	}{
		{"at once", 0, 30 * time.Second, 0},
		{"after a while", 3 * time.Second, 30 * time.Second, 3 * time.Second},
		{"no longer than its grace", time.Minute, 30 * time.Second, 30*time.Second - 700*time.Millisecond},
	}
	for _, c := range cases {
		p := pod("web:1")
		r := New(Options{Stop: c.stop})
		report, _ := r.Sync(t.Context(), p, arrival)
		p.Status = report.Status
		deleted := second(arrival.Add(c.grace))
		p.DeletionTimestamp = &deleted
		report, _ = r.Sync(t.Context(), p, arrival)
		if len(report.Events) != 1 || report.Events[0].Message != "Stopping container a" {
			t.Errorf("%s: events %v", c.name, report.Events)
		}
		if !report.Gone {
			if got := report.WakeAt.Sub(arrival); got != c.want {
				t.Errorf("%s: wakes after %v, want %v", c.name, got, c.want)
			}
			report, _ = r.Sync(t.Context(), p, report.WakeAt)
			if len(report.Events) != 0 {
				t.Errorf("%s: said again %v", c.name, report.Events)
			}
		} else if c.want != 0 {
			t.Errorf("%s: gone at once", c.name)
		}
		if !report.Gone {
			t.Errorf("%s: not gone", c.name)
		}
	}
}

// TestDeletionBeforeStart says nothing of containers that never ran.
func TestDeletionBeforeStart(t *testing.T) {
	t.Parallel()
	p := pod("web:1")
	r := New(Options{Delay: time.Hour})
	live(t, r, p, arrival)
	deleted := second(arrival.Add(time.Minute))
	p.DeletionTimestamp = &deleted
	if said := live(t, r, p, arrival); said != nil {
		t.Errorf("events %v", said)
	}
}

// TestStatusIsPure checks that nothing but the arguments counts, that they stay as they are, and that nothing
// changes before the time given.
func TestStatusIsPure(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		images := []string{"web", "bad", "boom", "deaf"}
		options := Options{
			Delay:  time.Duration(rapid.IntRange(0, 3000).Draw(t, "delay")) * time.Millisecond,
			Images: map[string]Behaviour{"bad": Missing, "boom": Crash, "deaf": Unready},
		}
		p := pod(rapid.SliceOfN(rapid.SampledFrom(images), 1, 3).Draw(t, "containers")...)
		for i, image := range rapid.SliceOfN(rapid.SampledFrom(images), 0, 2).Draw(t, "init") {
			p.Spec.InitContainers = append(p.Spec.InitContainers, corev1.Container{Name: fmt.Sprint("i", i), Image: image})
		}
		if rapid.Bool().Draw(t, "probe") {
			p.Spec.Containers[0].ReadinessProbe = &corev1.Probe{InitialDelaySeconds: 7, SuccessThreshold: 1}
		}
		memory := Memory{Arrived: arrival, IP: "10.64.0.1"}
		now := arrival.Add(time.Duration(rapid.IntRange(0, 100_000).Draw(t, "now")) * time.Millisecond)
		before := p.DeepCopy()
		status, wakeAt, _ := Status(p, options, memory, now)
		if diff := cmp.Diff(before, p); diff != "" {
			t.Fatalf("the pod was changed:\n%s", diff)
		}
		p.Status = status
		later := now.Add(24 * time.Hour)
		if !wakeAt.IsZero() {
			if !wakeAt.After(now) {
				t.Fatalf("wake at %v, now is %v", wakeAt, now)
			}
			later = wakeAt.Add(-1)
		}
		again, wakeAgain, _ := Status(p, options, memory, later)
		if diff := cmp.Diff(status, again); diff != "" || !wakeAgain.Equal(wakeAt) {
			t.Fatalf("changed before it said (wake %v, then %v):\n%s", wakeAt, wakeAgain, diff)
		}
		if !wakeAt.IsZero() {
			if at, _, _ := Status(p, options, memory, wakeAt); cmp.Equal(status, at) {
				t.Fatalf("nothing changes at %v", wakeAt)
			}
		}
	})
}
