package rollout

// Reason says why an action is taken, or why none is.
type Reason string

// Reasons of actions.
const (
	ReasonMatches         Reason = "Matches"         // an orphan ReplicaSet matches the selector: adopt
	ReasonMatchesNoMore   Reason = "MatchesNoMore"   // an owned ReplicaSet does not: release
	ReasonNewTemplate     Reason = "NewTemplate"     // no ReplicaSet has the Deployment's template: create
	ReasonAnnotations     Reason = "Annotations"     // annotations, revision or minReadySeconds of the new ReplicaSet lag
	ReasonResized         Reason = "Resized"         // the Deployment's replicas changed: straight to the new size
	ReasonProportional    Reason = "Proportional"    // the same amid a rollout: every ReplicaSet its share
	ReasonSaturated       Reason = "Saturated"       // the same with the new ReplicaSet full: the old go
	ReasonRoomToSurge     Reason = "RoomToSurge"     // the total is below replicas + surge: new up
	ReasonTooLarge        Reason = "TooLarge"        // the new ReplicaSet exceeds replicas: new down
	ReasonUnhealthy       Reason = "Unhealthy"       // replicas of old ReplicaSets that serve nobody go first
	ReasonAboveFloor      Reason = "AboveFloor"      // more available than the floor asks for: old down
	ReasonRecreate        Reason = "Recreate"        // all old pods go before any new comes
	ReasonHistoryLimit    Reason = "HistoryLimit"    // an old ReplicaSet beyond revisionHistoryLimit
	ReasonRollbackAsked   Reason = "RollbackAsked"   // the legacy rollback annotation
	ReasonHashCollision   Reason = "HashCollision"   // another object has the new ReplicaSet's name: count, then rename
	ReasonCreateRefused   Reason = "CreateRefused"   // the new ReplicaSet was refused
	ReasonStatusChanged   Reason = "StatusChanged"   // counters or conditions moved
	ReasonEmptySelector   Reason = "EmptySelector"   // the selector selects everything: nothing is done
	ReasonUnknownStrategy Reason = "UnknownStrategy" // neither RollingUpdate nor Recreate: nothing is done
	ReasonInvalidSelector Reason = "InvalidSelector" // the selector cannot be read: nothing is done
	ReasonDeleting        Reason = "Deleting"        // the Deployment is being deleted: counters only
	ReasonPaused          Reason = "Paused"          // no rollout while paused
	ReasonNoRoomToSurge   Reason = "NoRoomToSurge"   // the total is at replicas + surge
	ReasonAtFloor         Reason = "AtFloor"         // old pods must serve until new ones are available
	ReasonStatusLags      Reason = "StatusLags"      // an old ReplicaSet has not observed its last shrinking yet
	// ReasonSizeNoted: the only running ReplicaSet has the right size but was scaled for another one of the Deployment.
	// Kubernetes takes that for a change of size for ever, and so moves nothing but counters.
	ReasonSizeNoted     Reason = "SizeNoted"
	ReasonOldPodsRemain Reason = "OldPodsRemain" // Recreate waits for pod objects to disappear
	ReasonNotAvailable  Reason = "NotAvailable"  // everything is in place, replicas are not available yet
	ReasonComplete      Reason = "Complete"      // nothing left to do
)
