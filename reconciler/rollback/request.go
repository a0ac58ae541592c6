package rollback

import (
	"time"

	"github.com/belay-dev/belay/manifests"
	"github.com/belay-dev/belay/reconciler/rollout"
	"github.com/belay-dev/belay/state"
)

// Mode says what a rollback does to Git besides the hold.
type Mode string

const (
	ModeAuto    Mode = "auto"    // the first of the others that passes the check
	ModeRevert  Mode = "revert"  // the commits are reverted
	ModeRestore Mode = "restore" // the fields of the pod template are set back
	ModeHold    Mode = "hold"    // nothing
)

// Door says where a wish came from.
type Door string

const (
	DoorCLI       Door = "cli"       // belay rollback, pin or release
	DoorUndo      Door = "undo"      // kubectl rollout undo
	DoorKubectl   Door = "kubectl"   // another kubectl command
	DoorAutomatic Door = "automatic" // Belay itself
)

// Operations that give a row of the ledger, in state.Row.Operation.
const (
	OperationRollback = "rollback"
	OperationPin      = "pin"
	OperationRestart  = "restart"
)

// Request is one wish to go back. ToRevision or ToCommit names the target; without both it is chosen: the stable revision
// that ran last and differs from what runs, else the newest imported one.
type Request struct {
	Namespace, Name string
	ToRevision      int64  // a revision number, today's or the one that its row kept; 0: none
	ToCommit        string // prefix of a hash; empty: none
	// Expect is the revision that ran when the wish was made; another one now refuses it with Moved. 0: not checked.
	Expect int64
	Mode   Mode // empty: ModeAuto
	// Secrets lets a revert that is asked for with ModeRevert change Secrets.
	Secrets bool
	Why     string
	By      string // identity from a token or the peer of the socket, never from text
	Door    Door   // empty: DoorCLI
	// StableOnly refuses a target that is not stable: the role rollback may not go elsewhere.
	StableOnly bool
	Now        time.Time // set by the loop
}

// PinRequest is the wish to keep a Deployment at a revision until it is released. A pin makes no marks and no change in
// Git. ToRevision 0 means the revision that runs.
type PinRequest struct {
	Namespace, Name string
	ToRevision      int64
	Until           time.Time // zero: until it is released
	Why, By         string
	Expect          int64 // as Request's
	StableOnly      bool  // as Request's
	Now             time.Time
}

// ReleaseRequest is the wish to end the hold and the marks of a Deployment. With Preview nothing changes.
type ReleaseRequest struct {
	Namespace, Name string
	Hold            string // ID of the hold that is meant; another one now, or none, refuses it with Moved. Empty: not checked
	By              string
	Preview         bool
}

// Fields that a person may set past Git, in OverrideRequest.Field.
const (
	FieldReplicas    = "replicas"    // a number
	FieldPaused      = "paused"      // true or false
	FieldRestartedAt = "restartedAt" // RFC 3339; empty: now
)

// OverrideRequest is the wish to set one field past Git: kubectl scale, rollout pause, resume and restart.
type OverrideRequest struct {
	Namespace, Name string
	Field           string // FieldReplicas, FieldPaused or FieldRestartedAt
	Value           string
	By              string
	Now             time.Time
}

// Result is what was done, or, of a preview, what would be.
type Result struct {
	ID string // of hold, mark and row
	// Skipped says that the target's template runs already: nothing was done, and of the rest only From and To are set.
	Skipped bool
	Hold    state.Hold
	Mark    *state.Mark // nil: nothing is bad from now on
	Row     state.Row   // the hold's own; of a preview, as it would be recorded
	From    state.Row   // the row that runs, or ran; its ID is empty when none is known
	To      state.Row   // the row whose template comes back
	// Warnings are for people: the target is bad and who rolled it back, it never ran here, and so on.
	Warnings []string
	// Changed lists ConfigMaps and Secrets, as kind/name, that the target names and that are not as they were when it ran:
	// they are not taken back. Recreate lists those that are missing and come back.
	Changed, Recreate []string
	Undone            []state.Row             // between target and what runs, newest first
	Fields            []manifests.FieldChange // of the Deployment's spec, from what runs to the target
	Steps             []rollout.Step          // how the rollout goes, if every pod gets ready
	Git               GitChange
	// NotDurable is why the hold, which is in force, is not on disk yet; empty: it is there. It is written when the disk
	// takes writes again, and lost when the process ends before.
	NotDurable string
}

// GitState says how far the change in Git is.
type GitState string

const (
	GitNone   GitState = "none"   // there will be none
	GitQueued GitState = "queued" // it is tried, again and again
	GitPushed GitState = "pushed" // it is on the tracked branch
	GitBranch GitState = "branch" // it is on a branch of its own, to be merged
)

// GitChange is what a rollback does in Git.
type GitChange struct {
	Mode    Mode
	State   GitState
	Why     string // why this mode, or why nothing
	Commit  string
	Branch  string
	Compare string // address where a person can merge the branch

	// Of a preview: commits that would be reverted, newest first, files that would change, objects other than the Deployment
	// that would be rendered differently, why the ways before Mode do not pass, and what to do instead.
	Undo, Files, Objects, Failed []string
	Hint                         string
}

// Released is what a release ended, or, of a preview, would end.
type Released struct {
	Hold   *state.Hold // nil: there were marks only
	Marks  []state.Mark
	Next   state.Row               // the row that rolls out now; its ID is empty when nothing does
	Fields []manifests.FieldChange // of the Deployment's spec, from what runs to what Git wants
	Steps  []rollout.Step
}

// Restarted is the annotation of a pod template that kubectl rollout restart sets.
const Restarted = "kubectl.kubernetes.io/restartedAt"

// Reason says why a wish is refused. The list is closed.
type Reason string

const (
	NothingToGoBackTo Reason = "NothingToGoBackTo" // nothing else ran here, or was imported, that is not bad
	Moved             Reason = "Moved"             // another revision runs than the one it was previewed on
	Paused            Reason = "Paused"            // as kubectl rollout undo
	UnknownRevision   Reason = "UnknownRevision"   // no row has the number
	UnknownCommit     Reason = "UnknownCommit"     // no row, or several, have the commit
	NoTemplate        Reason = "NoTemplate"        // the row's template is not in the ledger
	AlreadyRolledBack Reason = "AlreadyRolledBack" // a rollback hold is in force, and no target was named
	NotManaged        Reason = "NotManaged"        // Git does not manage the Deployment
	NotStable         Reason = "NotStable"         // the role may go back to stable revisions only
	NotHeld           Reason = "NotHeld"           // there is nothing to release
	NotRunning        Reason = "NotRunning"        // the Deployment does not exist
	InvalidValue      Reason = "InvalidValue"      // a value that nobody can mean
)

// Refusal says why a wish is refused, to people. It is an error with a method Hint.
type Refusal struct {
	Reason   Reason
	Message  string
	HintText string // what to do instead; may be empty
}

func (r *Refusal) Error() string { return r.Message }

// Hint says what to do instead; it may be empty.
func (r *Refusal) Hint() string { return r.HintText }

func refuse(reason Reason, message, hint string) *Refusal {
	return &Refusal{Reason: reason, Message: message, HintText: hint}
}
