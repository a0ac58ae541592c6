package rollout

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
)

// ActionKind is what an action does. The set is closed.
type ActionKind string

// The kinds of action.
const (
	Adopt       ActionKind = "adopt"    // ReplicaSet gets the Deployment as its controller
	Release     ActionKind = "release"  // ReplicaSet loses it
	Create      ActionKind = "create"   // ReplicaSet is new, with To replicas
	Annotate    ActionKind = "annotate" // annotations or minReadySeconds of ReplicaSet
	Scale       ActionKind = "scale"    // ReplicaSet from From to To replicas; equal: its annotations only
	Delete      ActionKind = "delete"   // ReplicaSet goes
	SetTemplate ActionKind = "template" // Deployment takes the template and annotations of ReplicaSet, or only loses the request
	WriteStatus ActionKind = "status"   // Deployment's status and revision annotation
	Emit        ActionKind = "event"    // Event about the Deployment
)

// Action is one step of a sync, with its reason.
type Action struct {
	Kind   ActionKind
	Reason Reason

	// ReplicaSet is the object as the whole sync leaves it, so that all actions on one ReplicaSet share it and one
	// write executes them; for Delete it is the object as read. Never modify it.
	ReplicaSet *appsv1.ReplicaSet
	From, To   int32

	// Deployment is the object as the whole sync leaves it, for SetTemplate and WriteStatus.
	Deployment *appsv1.Deployment

	Event Event // for Emit
}

// Event is what the Deployment's users are told.
type Event struct {
	Type, Reason, Message string
}

// String prints the action for people: `scale up web-6b7 1 → 2 (RoomToSurge)`.
func (a Action) String() string {
	switch a.Kind {
	case Scale:
		return fmt.Sprintf("%s %s %d → %d (%s)", direction(a.From, a.To), a.ReplicaSet.Name, a.From, a.To, a.Reason)
	case Create:
		return fmt.Sprintf("create %s with %d (%s)", a.ReplicaSet.Name, a.To, a.Reason)
	case Adopt, Release, Annotate, Delete:
		return fmt.Sprintf("%s %s (%s)", a.Kind, a.ReplicaSet.Name, a.Reason)
	case Emit:
		return fmt.Sprintf("event %s %s %s", a.Event.Type, a.Event.Reason, a.Event.Message)
	case SetTemplate, WriteStatus:
		return fmt.Sprintf("write %s (%s)", a.Kind, a.Reason)
	}
	return string(a.Kind)
}

func direction(from, to int32) string {
	switch {
	case from < to:
		return "scale up"
	case from > to:
		return "scale down"
	}
	return "keep"
}
