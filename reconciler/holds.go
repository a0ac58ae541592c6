package reconciler

import (
	"github.com/belay-dev/belay/reconciler/engine"
	"github.com/belay-dev/belay/state"
)

// Holds is what an action changes of a Deployment's hold, marks and overrides. It is recorded with the action.
type Holds struct {
	Hold      *state.Hold // put; nil: left alone
	Ended     bool        // the hold is taken away
	Marks     []state.Mark
	Unmarked  []string // IDs of marks that are taken away
	Overrides []state.Override
	Unset     []string // fields of overrides that are taken away
	Departed  *state.Departed
}

// empty reports whether nothing is changed.
func (h Holds) empty() bool {
	return h.Hold == nil && !h.Ended && len(h.Marks)+len(h.Unmarked)+len(h.Overrides)+len(h.Unset) == 0 && h.Departed == nil
}

// writes are the ledger writes of the change.
func (h Holds) writes(key engine.Key) []state.Write {
	var ws []state.Write
	if h.Ended {
		ws = append(ws, state.RemoveHold(key.Namespace, key.Name), state.RemoveGitChange(key.Namespace, key.Name, FieldTemplate))
	}
	if h.Hold != nil {
		ws = append(ws, state.PutHold(*h.Hold))
	}
	for _, id := range h.Unmarked {
		ws = append(ws, state.RemoveMark(key.Namespace, key.Name, id))
	}
	for _, m := range h.Marks {
		ws = append(ws, state.PutMark(m))
	}
	for _, f := range h.Unset {
		ws = append(ws, state.RemoveOverride(key.Namespace, key.Name, f), state.RemoveGitChange(key.Namespace, key.Name, f))
	}
	for _, o := range h.Overrides {
		ws = append(ws, state.PutOverride(o))
	}
	if h.Departed != nil {
		ws = append(ws, state.PutDeparted(*h.Departed))
	}
	return ws
}

// Event is one Event of Kubernetes about the Deployment of an action.
type Event struct {
	Warning bool
	Reason  Reason
	Message string
	// Operation is the ID of what somebody asked for, or Belay did by itself; it becomes an annotation. Empty: of nothing.
	Operation string
}

// AnnotationOperation names, on an Event, the operation that it is of: the ID of its hold, and of the trailer of its commit.
const AnnotationOperation = "belay.dev/operation"
