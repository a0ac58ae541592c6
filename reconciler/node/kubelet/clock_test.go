package kubelet

import (
	"testing"
	"time"

	"github.com/belay-dev/belay/reconciler/node"
)

// TestClockIsSet: the clock of the machine is set between the end of a container and its being seen, and the container waits no
// longer than its back-off.
func TestClockIsSet(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name     string
		finished time.Time // as the engine says
		seen     time.Time
		until    time.Time // that it waits, looked at when it is seen; zero: it does not
	}{
		{"not set", noon, noon.Add(time.Second), noon.Add(10 * time.Second)},
		{"seen late", noon, noon.Add(time.Minute), time.Time{}},
		{"set back", noon, noon.Add(-time.Hour), noon.Add(-time.Hour + 10*time.Second)},
		{"set forward", noon, noon.Add(time.Hour), time.Time{}},
	} {
		b := &box{crash: backOff{wait: 10 * time.Second, updated: noon.Add(-time.Minute)}}
		b.runs = []node.ContainerState{{Name: "c", ID: "1", Phase: node.PhaseExited, Exit: 1, Finished: c.finished}}
		b.settle(nil, c.seen)
		until, waits := b.waits(c.seen)
		if waits != !c.until.IsZero() || waits && !until.Equal(c.until) {
			t.Errorf("%s: it waits until %v, %v, want %v", c.name, until, waits, c.until)
		}
		b.settle(b.run(), c.seen.Add(time.Minute)) // asked again, it ended when it did
		if _, waits := b.waits(c.seen.Add(10 * time.Second)); waits {
			t.Errorf("%s: it waits beyond its back-off", c.name)
		}
	}
}
