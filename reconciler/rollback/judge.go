package rollback

import (
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/belay-dev/belay/state"
)

// Standing says why a hold keeps off, or lets through, the template that Git wants. The list is closed.
type Standing string

const (
	Free       Standing = "Free"       // no hold is in force, and the template is clean
	Reappeared Standing = "Reappeared" // no hold is in force, and the template is tainted
	Clean      Standing = "Clean"      // the hold ends: the template is clean, or the held one
	Pinned     Standing = "Pinned"     // a manual hold ends by a release only
	Removed    Standing = "Removed"    // Git does not want the Deployment at all
	Unchanged  Standing = "Unchanged"  // Git still wants what was rolled back
	Bad        Standing = "Bad"        // the template is tainted
	Expired    Standing = "Expired"    // a manual hold's time is over, and the template is clean: it ends
	Kept       Standing = "Kept"       // a manual hold's time is over, but the template is tainted: it becomes a rollback's
)

// Verdict is how a hold stands to the template that Git wants.
type Verdict struct {
	Standing Standing
	Taints   []Taint // of the template that Git wants
}

// Message says what is tainted, and whose rollback says so; empty when nothing is.
func (v Verdict) Message() string {
	var texts []string
	for i := 0; i < len(v.Taints); {
		what := []string{v.Taints[i].what()}
		last := v.Taints[i]
		for i++; i < len(v.Taints) && v.Taints[i].Mark == last.Mark; i++ {
			what = append(what, v.Taints[i].what())
		}
		texts = append(texts, strings.Join(what, ", ")+last.who(len(what)))
	}
	return strings.Join(texts, "; ")
}

// Judge says how a hold, nil for none, stands to the template that Git wants, nil for none: its digest is without
// restartedAt, as the held template's. Pure.
func Judge(h *state.Hold, held string, git *corev1.PodTemplateSpec, wanted string, marks []state.Mark, now time.Time) Verdict {
	var v Verdict
	if git != nil && (h == nil || wanted != held) {
		v.Taints = Tainted(git, wanted, marks)
	}
	switch tainted := len(v.Taints) > 0; {
	case h == nil && tainted:
		v.Standing = Reappeared
	case h == nil:
		v.Standing = Free
	case h.Manual:
		v.Standing = pinned(*h, git != nil, tainted, now)
	case git == nil:
		v.Standing = Removed
	case wanted != held && wanted == h.Wanted:
		v.Standing = Unchanged
	case tainted:
		v.Standing = Bad
	default:
		v.Standing = Clean
	}
	return v
}

// pinned is how a manual hold stands.
func pinned(h state.Hold, wanted, tainted bool, now time.Time) Standing {
	switch {
	case h.Until.IsZero() || now.Before(h.Until):
		return Pinned
	case tainted:
		return Kept
	case !wanted:
		return Removed
	}
	return Expired
}
