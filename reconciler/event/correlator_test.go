package event

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/record"
	testclock "k8s.io/utils/clock/testing"
	"pgregory.net/rapid"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func fresh(reason, message string, at time.Time) *corev1.Event {
	return &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: "default", Name: name("web", at)},
		InvolvedObject: corev1.ObjectReference{Kind: "Deployment", APIVersion: "apps/v1", Namespace: "default", Name: "web", UID: "u1"},
		Reason:         reason, Message: message, Type: corev1.EventTypeNormal, Count: 1,
		FirstTimestamp: metav1.NewTime(at), LastTimestamp: metav1.NewTime(at),
		Source: corev1.EventSource{Component: "deployment-controller"},
	}
}

func TestCorrelate(t *testing.T) {
	t.Parallel()
	type say struct {
		after   time.Duration // since the one before
		message string
		times   int // how often, 0 = 1
		want    string
	}
	distinct := func(n int, after time.Duration) []say {
		var all []say
		for i := range n {
			all = append(all, say{after: after, message: fmt.Sprint("m", i), want: fmt.Sprintf("New 1 m%d", i)})
		}
		return all
	}
	cases := []struct {
		name string
		says []say
	}{
		{"one message again and again is counted", []say{
			{message: "a", want: "New 1 a"},
			{after: time.Hour, message: "a", want: "Repeated 2 a"},
			{message: "b", want: "New 1 b"},
			{message: "a", want: "Repeated 3 a"},
		}},
		{"nine distinct messages stay apart", append(distinct(9, time.Minute),
			say{after: time.Minute, message: "m3", want: "Repeated 2 m3"})},
		{"the tenth is combined, and so are later ones", append(distinct(9, 9*time.Minute),
			say{after: time.Minute, message: "m9", want: "New 1 (combined from similar events): m9"},
			say{after: 10 * time.Minute, message: "m10", want: "Repeated 2 (combined from similar events): m10"},
			say{message: "m10", want: "Repeated 3 (combined from similar events): m10"},
			say{message: "m2", want: "Repeated 2 m2"})},
		{"a gap of more than ten minutes begins anew", append(distinct(9, time.Minute),
			say{after: 10*time.Minute + time.Nanosecond, message: "m9", want: "New 1 m9"})},
		{"the 26th in a row is throttled and counted, one passes every five minutes", []say{
			{message: "a", want: "New 1 a"},
			{message: "a", times: 24, want: "Repeated 25 a"},
			{message: "a", want: "Throttled 26 a"},
			{after: 5*time.Minute - time.Nanosecond, message: "a", want: "Throttled 27 a"},
			{after: time.Nanosecond, message: "a", want: "Repeated 28 a"},
			{message: "a", want: "Throttled 29 a"},
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cor, now := newCorrelator(), start
			for i, s := range c.says {
				now = now.Add(s.after)
				var got string
				for range max(1, s.times) {
					out, why := cor.correlate(fresh("Scaling", s.message, now), now)
					got = fmt.Sprintf("%s %d %s", why, out.Count, out.Message)
				}
				if got != s.want {
					t.Errorf("say %d at +%v: got %q, want %q", i, now.Sub(start), got, s.want)
				}
			}
		})
	}
}

func TestCorrelateKeepsApart(t *testing.T) {
	t.Parallel()
	edits := map[string]func(*corev1.Event){
		"reason":    func(e *corev1.Event) { e.Reason = "Other" },
		"type":      func(e *corev1.Event) { e.Type = corev1.EventTypeWarning },
		"object":    func(e *corev1.Event) { e.InvolvedObject.UID = "u2" },
		"component": func(e *corev1.Event) { e.Source.Component = "kubelet" },
		"field":     func(e *corev1.Event) { e.InvolvedObject.FieldPath = "spec.containers{web}" },
	}
	for what, edit := range edits {
		cor := newCorrelator()
		cor.correlate(fresh("Scaling", "a", start), start)
		other := fresh("Scaling", "a", start)
		edit(other)
		before := other.DeepCopy()
		if out, why := cor.correlate(other, start); why != reasonNew {
			t.Errorf("another %s: got %s %s, want New", what, why, out.Name)
		}
		if other.String() != before.String() {
			t.Errorf("another %s: the input was changed", what)
		}
	}
}

// TestCorrelateAsClientGo compares with client-go's own correlator. Once it combines, that one forgets one of its
// messages at random, so a run either repeats few messages or never repeats one.
func TestCorrelateAsClientGo(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		clock := testclock.NewFakeClock(start)
		theirs, ours := record.NewEventCorrelator(clock), newCorrelator()
		repeat := rapid.Bool().Draw(t, "repeat")
		gaps := []time.Duration{0, time.Second, time.Minute, 5 * time.Minute, 9 * time.Minute, 10 * time.Minute, 11 * time.Minute}
		for i := range rapid.IntRange(1, 80).Draw(t, "events") {
			clock.Step(rapid.SampledFrom(gaps).Draw(t, "gap"))
			now := clock.Now()
			message := fmt.Sprint("m", i)
			if repeat {
				message = fmt.Sprint("m", rapid.IntRange(0, 8).Draw(t, "message"))
			}
			e := fresh(rapid.SampledFrom([]string{"Scaling", "Failed"}).Draw(t, "reason"), message, now)
			want, err := theirs.EventCorrelate(e.DeepCopy())
			if err != nil {
				t.Fatal(err)
			}
			got, why := ours.correlate(e, now)
			if want.Skip != (why == reasonThrottled) {
				t.Fatalf("event %d: skip %v, ours %s", i, want.Skip, why)
			}
			if want.Skip {
				continue
			}
			theirs.UpdateState(want.Event)
			if a, b := line(want.Event), line(got); a != b {
				t.Fatalf("event %d:\ntheirs %s\nours   %s", i, a, b)
			}
		}
	})
}

func line(e *corev1.Event) string {
	return fmt.Sprintf("%s %s x%d %s..%s %s", e.Name, e.Reason, e.Count, e.FirstTimestamp.Format(time.TimeOnly),
		e.LastTimestamp.Format(time.TimeOnly), e.Message)
}

// TestRestore checks that a correlator that only saw what was written goes on as the one that wrote it.
func TestRestore(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		before, stored := newCorrelator(), map[string]*corev1.Event{}
		now := start
		for i := range rapid.IntRange(1, 24).Draw(t, "events") {
			now = now.Add(time.Duration(rapid.IntRange(1, 60).Draw(t, "seconds")) * time.Second)
			out, why := before.correlate(fresh("Scaling", fmt.Sprint("m", rapid.IntRange(0, i).Draw(t, "message")), now), now)
			if why == reasonThrottled {
				t.Fatalf("event %d throttled", i)
			}
			out.LastTimestamp = metav1.NewTime(now)
			stored[out.Name] = out
		}
		after := newCorrelator()
		var events []*corev1.Event
		for _, e := range stored {
			events = append(events, e)
		}
		after.restore(events)
		message := fmt.Sprint("m", rapid.IntRange(0, 30).Draw(t, "next"))
		a, why := before.correlate(fresh("Scaling", message, now), now)
		b, whyRestored := after.correlate(fresh("Scaling", message, now), now)
		if whyRestored != reasonThrottled && (why != whyRestored || line(a) != line(b)) {
			t.Fatalf("went on with %s %s\nrestored  %s %s", why, line(a), whyRestored, line(b))
		}
	})
}

func TestCachesAreBounded(t *testing.T) {
	t.Parallel()
	cor := newCorrelator()
	for i := range 3 * cacheSize {
		e := fresh("Scaling", strings.Repeat("x", i%7), start)
		e.InvolvedObject.Name = fmt.Sprint("web-", i)
		cor.correlate(e, start)
	}
	for _, cache := range []interface{ Len() int }{cor.same, cor.similar, cor.spam} {
		if cache.Len() > cacheSize {
			t.Errorf("cache holds %d entries, want at most %d", cache.Len(), cacheSize)
		}
	}
}

func BenchmarkCorrelate(b *testing.B) {
	cor := newCorrelator()
	e := fresh("Scaling", "a", start)
	for b.Loop() {
		cor.correlate(e, start)
	}
}
