package reconciler

// Reason says why something is done, or is wanted and not done. The list is closed: status, Events, logs,
// metrics and tests all use these words.
type Reason string

// Why an action is taken.
const (
	ReasonFirstRollout    Reason = "FirstRollout"    // the Deployment does not run yet
	ReasonNewTemplate     Reason = "NewTemplate"     // a commit changed the pod template
	ReasonBackToTemplate  Reason = "BackToTemplate"  // a commit restored a pod template that ran before
	ReasonTemplateRunning Reason = "TemplateRunning" // the commit's template runs already: nothing to roll out
	ReasonSpecChanged     Reason = "SpecChanged"     // fields beside the template differ
	ReasonMissing         Reason = "Missing"         // the object is wanted and does not exist
	ReasonRemoved         Reason = "Removed"         // the manifest is gone
	ReasonObserved        Reason = "Observed"        // what runs moved a row on
	ReasonOvertaken       Reason = "Overtaken"       // a newer commit came first
	ReasonRenderAccepted  Reason = "RenderAccepted"  // a person accepted a changed rendering
	ReasonAsked           Reason = "Asked"           // a person asked for it past Git
	ReasonHeldBack        Reason = "HeldBack"        // what is held did not run
	ReasonHoldChanged     Reason = "HoldChanged"     // a hold, a mark or an override ended or began
)

// How a commit before the first sync is known to have brought what runs.
const (
	ReasonSameFiles Reason = "SameFiles" // what the Deployment is rendered from is the same since; nothing older was rendered
)

// Why something wanted is not done.
const (
	ReasonWindow            Reason = "Window"            // changes may not begin at this time
	ReasonSlot              Reason = "Slot"              // maxRollouts are under way
	ReasonCommitFailing     Reason = "CommitFailing"     // several Deployments of the commit failed
	ReasonSuspended         Reason = "Suspended"         // the source is suspended
	ReasonSelectorImmutable Reason = "SelectorImmutable" // a Deployment's selector cannot change
	ReasonImmutableField    Reason = "ImmutableField"    // Kubernetes lets another field change never, or not so
	ReasonRenderChanged     Reason = "RenderChanged"     // the same commit renders differently than when it ran
	ReasonApplyFailed       Reason = "ApplyFailed"       // the engine refused or could not apply

	ReasonHeld Reason = "Held" // a hold keeps the pod template as it is; Detail says why it goes on

	ReasonPruneWaits Reason = "PruneWaits" // an object whose manifest is gone is kept for now; Detail says why
)

// Why a prune waits, or never happens.
const (
	DetailStaleRoot        Reason = "StaleRoot"        // a root of the source does not render
	DetailWindow           Reason = "Window"           // changes may not begin at this time
	DetailRolloutOpen      Reason = "RolloutOpen"      // a Deployment of the same commit is not complete
	DetailHistoryRewritten Reason = "HistoryRewritten" // needs belay sync --prune
	DetailRootKindChanged  Reason = "RootKindChanged"  // needs belay sync --prune
	DetailMostOfApp        Reason = "MostOfApp"        // more than half of the app would go; needs belay sync --prune
	DetailPruneOff         Reason = "PruneOff"         // prune: false in the configuration
	DetailPruneDisabled    Reason = "PruneDisabled"    // annotated belay.dev/prune: disabled
	DetailNamespace        Reason = "Namespace"        // a Namespace is never pruned
	DetailStillNamed       Reason = "StillNamed"       // a kept ReplicaSet names the ConfigMap or Secret
)

// Why a hold goes on.
const (
	DetailPinned     Reason = "Pinned"     // it ends by a release only
	DetailRemoved    Reason = "Removed"    // Git does not want the Deployment any more
	DetailRolledBack Reason = "RolledBack" // Git still wants what was rolled back
	DetailTainted    Reason = "Tainted"    // Git wants something that was rolled back
)

// What Events tell of holds.
const (
	ReasonDeploymentRollback     Reason = "DeploymentRollback"     // Kubernetes' own word
	ReasonHoldEnded              Reason = "HoldEnded"              // by itself, or by a release
	ReasonHoldKept               Reason = "HoldKept"               // a pin became a rollback hold
	ReasonPin                    Reason = "Pinned"                 // a person pinned the Deployment
	ReasonBadChangeReappeared    Reason = "BadChangeReappeared"    // Git wants what was rolled back before
	ReasonAutoRollbackSuppressed Reason = "AutoRollbackSuppressed" // nothing is rolled back by itself; the message says why
	ReasonRollbackToBad          Reason = "RollbackToBad"          // a person went to what somebody rolled back
)

// What people are warned of.
const (
	ReasonConfigMissing Reason = "ConfigMissing" // a pod names a ConfigMap or Secret that is not there
)
