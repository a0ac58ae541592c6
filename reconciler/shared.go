package reconciler

import (
	"fmt"
	"slices"

	"github.com/belay-dev/belay/manifests"
	"github.com/belay-dev/belay/reconciler/engine"
)

// owned keeps the deltas of objects that no earlier source of the configuration declares. For every other one there is
// a problem that names both places, for as long as both declare it.
func (l *Loop) owned(deltas []Delta) []Delta {
	for _, d := range deltas {
		l.noteShared(d.Key)
	}
	return slices.DeleteFunc(deltas, func(d Delta) bool { return d.After != nil && l.desired(d.Key) != d.After })
}

// noteShared publishes, or withdraws, the problem of an object that several sources declare.
func (l *Loop) noteShared(k engine.Key) {
	owner := l.desired(k)
	var found *manifests.Problem
	for _, f := range l.followers() {
		d := f.desired[k]
		if d == nil || d == owner {
			continue
		}
		p := problemOf(k, d, Reason(manifests.Duplicate), fmt.Sprintf("source %s declares it too, at %s:%d: only that one is applied",
			owner.Source, owner.Manifest.File, owner.Manifest.Line))
		found = &p
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if found == nil {
		delete(l.shared, k)
		return
	}
	l.shared[k] = *found
}
