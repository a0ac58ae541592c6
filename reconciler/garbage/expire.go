package garbage

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

const (
	// eventLife is how long Kubernetes' API server keeps an Event after its last write.
	eventLife = time.Hour
	// expirePause is how far apart two rounds are at least: Events live up to that much longer, and thousands that
	// end one after the other cost one round a minute.
	expirePause = time.Minute
)

// Expire lists the Events whose time is over, in the order given, and says when to look again. An Event that is
// written after now cannot end before that.
func Expire(events []*corev1.Event, now time.Time) (over []*corev1.Event, wakeAt time.Time) {
	wakeAt = now.Add(eventLife)
	for _, e := range events {
		end := lastWritten(e).Add(eventLife)
		switch {
		case !end.After(now):
			over = append(over, e)
		case end.Before(wakeAt):
			wakeAt = end
		}
	}
	if soonest := now.Add(expirePause); wakeAt.Before(soonest) {
		wakeAt = soonest
	}
	return over, wakeAt
}

// lastWritten is the latest of the times that an Event may carry: which of them is set depends on its writer.
func lastWritten(e *corev1.Event) time.Time {
	latest := e.CreationTimestamp.Time
	times := []time.Time{e.LastTimestamp.Time, e.EventTime.Time}
	if e.Series != nil {
		times = append(times, e.Series.LastObservedTime.Time)
	}
	for _, t := range times {
		if t.After(latest) {
			latest = t
		}
	}
	return latest
}
