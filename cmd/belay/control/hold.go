package control

import (
	"context"
	"time"
)

// Holder goes back, and lets go again. What it did is durable when it returns. An error that refuses says why, with
// status Conflict, NotFound or Forbidden, and nothing was done.
type Holder interface {
	Rollback(context.Context, RollbackRequest) (Rollback, error)
	Pin(context.Context, PinRequest) (Rollback, error)
	Release(context.Context, ReleaseRequest) (Release, error)
	Holds(context.Context) (Holds, error)
	// Follow calls moved with a row whenever its outcome changes, and returns it when it has ended or stands still.
	Follow(ctx context.Context, row string, moved func(Row)) (Row, error)
}

// RollbackRequest asks to go back. Without ToRevision and ToCommit, to the stable revision that ran last.
type RollbackRequest struct {
	Namespace  string `json:"namespace,omitempty"`
	Name       string `json:"name"`
	ToRevision int64  `json:"toRevision,omitempty"`
	ToCommit   string `json:"toCommit,omitempty"` // prefix of a hash
	Expect     int64  `json:"expect,omitempty"`   // revision it was previewed on; another one that runs refuses it
	Mode       string `json:"mode,omitempty"`     // auto, revert, restore or hold; empty: auto
	Secrets    bool   `json:"secrets,omitempty"`  // mode revert may change Secrets
	Why        string `json:"why,omitempty"`
	DryRun     bool   `json:"dryRun,omitempty"` // only say what would be done
}

// PinRequest asks to keep a Deployment at a revision until somebody releases it.
type PinRequest struct {
	Namespace  string    `json:"namespace,omitempty"`
	Name       string    `json:"name"`
	ToRevision int64     `json:"toRevision"`
	Until      time.Time `json:"until,omitzero"`
	Expect     int64     `json:"expect,omitempty"`
	Why        string    `json:"why"`
}

// ReleaseRequest asks to end a hold, and what was marked as bad with it.
type ReleaseRequest struct {
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	Hold      string `json:"hold,omitempty"`   // ID of the hold that was seen; another one refuses it
	DryRun    bool   `json:"dryRun,omitempty"` // only say what would be done
}

// Rollback is what going back did, or would do.
type Rollback struct {
	ID        string `json:"id,omitempty"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	DryRun    bool   `json:"dryRun,omitempty"`
	Skipped   bool   `json:"skipped,omitempty"` // the target's template runs already: nothing was done
	Hold      *Hold  `json:"hold,omitempty"`
	// NotDurable is why the hold is in force and not on disk yet: it is lost if the service ends now.
	NotDurable string `json:"notDurable,omitempty"`
	Row        string `json:"row,omitempty"`  // ID of the row of the history that it has
	From       *Row   `json:"from,omitempty"` // what runs
	To         *Row   `json:"to,omitempty"`   // what is gone back to
	Undone     []Row  `json:"undone"`         // between the two, newest first
	// Fields are path: before → after; values are shown of images and resources only.
	Fields    []string  `json:"fields"`
	Changed   []string  `json:"changed"`   // ConfigMaps and Secrets that changed since the target ran; they stay as they are
	Recreated []string  `json:"recreated"` // those that are gone, and come back
	Pods      int32     `json:"pods"`      // to be replaced
	Steps     []string  `json:"steps"`
	Warnings  []string  `json:"warnings"`
	Git       GitChange `json:"git"`
}

// GitChange is what becomes of a rollback in Git.
type GitChange struct {
	ID     string `json:"id,omitempty"`  // of the hold that it is about; absent of a preview
	Mode   string `json:"mode"`          // revert, restore or hold
	State  string `json:"state"`         // none, queued, pushed or branch
	Why    string `json:"why,omitempty"` // why not another mode
	Commit string `json:"commit,omitempty"`
	Branch string `json:"branch,omitempty"`
	URL    string `json:"url,omitempty"` // where a person can merge the branch
	// Of a preview: commits that would be reverted, newest first; files that would change; other objects that would; why
	// the modes before this one do not pass; and what to do instead.
	Undo    []string `json:"undo,omitempty"`
	Files   []string `json:"files,omitempty"`
	Objects []string `json:"objects,omitempty"`
	Failed  []string `json:"failed,omitempty"`
	Hint    string   `json:"hint,omitempty"`
}

// Release is what ending a hold did, or would do.
type Release struct {
	Namespace string   `json:"namespace"`
	Name      string   `json:"name"`
	DryRun    bool     `json:"dryRun,omitempty"`
	Hold      *Hold    `json:"hold,omitempty"` // that ended
	Marks     []Mark   `json:"marks"`          // that ended
	Next      *Row     `json:"next,omitempty"` // what rolls out; absent: what runs is what Git wants
	Fields    []string `json:"fields"`
	Steps     []string `json:"steps"`
}

// Hold keeps a Deployment's pod template where it is, whatever Git says.
type Hold struct {
	ID        string    `json:"id"`
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	Revision  int64     `json:"revision,omitempty"`
	Commit    string    `json:"commit,omitempty"`
	Images    []string  `json:"images"`
	Stable    bool      `json:"stable,omitempty"` // the revision completed once, and is not bad
	Manual    bool      `json:"manual,omitempty"` // a pin: it ends by release alone
	By        string    `json:"by"`
	Reason    string    `json:"reason,omitempty"`
	Since     time.Time `json:"since,omitzero"`
	Until     time.Time `json:"until,omitzero"`
	Wants     *Wants    `json:"wants,omitempty"` // what Git wants, where that is something else
	// GitChange is what becomes of it in Git; nil where nothing is to be changed there. In a Status it is the Deployment's.
	GitChange *GitChange `json:"gitChange,omitempty"`

	Next string `json:"next,omitempty"` // what ends it
}

// Mark is what a rollback found bad: it is held off until the mark ends.
type Mark struct {
	ID        string    `json:"id"`
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	By        string    `json:"by"`
	Reason    string    `json:"reason,omitempty"`
	Since     time.Time `json:"since,omitzero"`
	Bad       []string  `json:"bad"` // images as container=image, else the paths of fields
}

// Holds are all holds, and all that is marked as bad.
type Holds struct {
	Holds []Hold `json:"holds"`
	Marks []Mark `json:"marks"`
}

// Override is what a person set on a Deployment beside Git: replicas, paused or restartedAt.
type Override struct {
	Field string    `json:"field"`
	Value string    `json:"value"`
	By    string    `json:"by"`
	Since time.Time `json:"since,omitzero"`
	// GitChange is what becomes of it in Git; nil where nothing is to be changed there.
	GitChange *GitChange `json:"gitChange,omitempty"`
}
