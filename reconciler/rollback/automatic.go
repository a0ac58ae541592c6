package rollback

import (
	"slices"
	"time"

	"github.com/belay-dev/belay/state"
)

// OnFailure says what happens by itself to a Deployment whose rollout passed its progress deadline.
type OnFailure string

const (
	FailureNone OnFailure = "none" // nothing
	FailureHold OnFailure = "hold" // it is rolled back, by a hold alone
	// FailureRollback is FailureHold, and a change in Git: on a branch of its own, or, where the app has autoPush, on the
	// one that is followed.
	FailureRollback OnFailure = "rollback"
)

// Suppression says why nothing is rolled back by itself although that is asked for. The list is closed.
type Suppression string

const (
	SuppressedNothing    Suppression = "NothingToGoBackTo" // no stable revision differs
	SuppressedNotServing Suppression = "NotServing"        // the last stable revision has no available pod: it is no better
	SuppressedOthers     Suppression = "OthersFailed"      // other Deployments of the source failed too: it is not the image
	SuppressedUnwatched  Suppression = "NotWatched"        // nobody looked after the pods when the deadline passed
	SuppressedRepeated   Suppression = "TriedBefore"       // the template ran before
	SuppressedPaused     Suppression = "Paused"            // the Deployment is paused
	SuppressedLate       Suppression = "TooLate"           // nobody expects it any more
)

// Describe says what a suppression means, for people.
func (s Suppression) Describe() string {
	return map[Suppression]string{
		SuppressedNothing:    "there is no other stable revision",
		SuppressedNotServing: "no pod of the last stable revision is available",
		SuppressedOthers:     "other Deployments of the source passed their deadline in the last 10 minutes",
		SuppressedUnwatched:  "the deadline passed while nobody was looking after the pods",
		SuppressedRepeated:   "the pod template ran here before",
		SuppressedPaused:     "the Deployment is paused",
		SuppressedLate:       "the deadline passed too long ago",
	}[s]
}

const (
	// Patience is how long after a deadline is decided what to do: others that fail for the same reason do so by then.
	Patience = 30 * time.Second
	// Together is how long before it the deadline of another Deployment counts as failing together with this one.
	Together = 10 * time.Minute
	// Settling is how long Belay must have run for what it sees to count: pods begin again with it.
	Settling = time.Minute
	// Late is how long after a deadline nothing goes back by itself any more: a source was suspended, or Belay down.
	Late = 5 * time.Minute
)

// Failure is a rollout that passed its progress deadline.
type Failure struct {
	Row     state.Row   // of the rollout, Failed
	Others  []time.Time // when other Deployments of the source passed theirs
	Since   time.Time   // since when Belay looks after the pods
	Serving []string    // ReplicaSets with an available pod
	Now     time.Time
}

// Automatic decides whether a Deployment goes back by itself, and where to: it is empty when that is suppressed, and
// nothing is decided before Failure.Row.EndedAt and Patience. Pure.
func Automatic(f Facts, x Failure) (Request, Suppression) {
	others := slices.ContainsFunc(x.Others, func(at time.Time) bool { return x.Now.Sub(at) < Together })
	again := slices.ContainsFunc(f.Rows, func(r state.Row) bool { return r.ID != x.Row.ID && !r.StartedAt.IsZero() && bare(r) == bare(x.Row) })
	to, err := f.choose(f.present())
	switch {
	case f.Running.Paused:
		return Request{}, SuppressedPaused
	case x.Row.EndedAt.Before(x.Since.Add(Settling)):
		return Request{}, SuppressedUnwatched
	case x.Now.Sub(x.Row.EndedAt) > Late:
		return Request{}, SuppressedLate
	case others:
		return Request{}, SuppressedOthers
	case again:
		return Request{}, SuppressedRepeated
	case err != nil || to.StartedAt.IsZero():
		return Request{}, SuppressedNothing
	case !slices.ContainsFunc(f.Rows, func(r state.Row) bool {
		return r.Template == to.Template && r.ReplicaSet != "" && slices.Contains(x.Serving, r.ReplicaSet)
	}):
		return Request{}, SuppressedNotServing
	}
	return Request{
		Namespace: f.Namespace, Name: f.Name, ToRevision: to.Revision, Why: "progress deadline exceeded", By: "belay", Door: DoorAutomatic, Now: x.Now,
	}, ""
}
