package reconciler

import (
	"sync"
	"time"
)

// openings remembers how the windows of a source's apps stand, so that asking costs nothing until one of them changes.
type openings struct {
	mu    sync.Mutex // guards all below
	apps  map[string]Opening
	since time.Time
	until time.Time
}

// at says how the windows of a source stand, by app. Apps without windows are not among them. Nobody may modify the map.
func (o *openings) at(now time.Time, s Source) map[string]Opening {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.apps != nil && !now.Before(o.since) && now.Before(o.until) {
		return o.apps
	}
	o.apps, o.since, o.until = map[string]Opening{}, now, now.Add(time.Hour)
	for _, a := range s.Apps {
		if len(s.Windows)+len(a.Windows) == 0 {
			continue
		}
		opening := At(now, s.Windows, a.Windows)
		o.apps[a.Name] = opening
		if !opening.Until.IsZero() && opening.Until.Before(o.until) {
			o.until = opening.Until
		}
	}
	return o.apps
}
