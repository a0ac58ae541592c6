package reconciler

import (
	"context"
	"errors"
	"time"

	"github.com/belay-dev/belay/reconciler/change"
)

// Writer makes commits and sends them to the branch of a source. One call at a time. Its errors are *WriteError, or the
// context's, or those of plan.
type Writer interface {
	// Land looks at the branch and lets plan make a commit on its newest head; when plan says so, it sends the commit that
	// plan made last. When the branch moved meanwhile, or plan says ErrBranchMoved, it begins anew, some times.
	Land(ctx context.Context, plan func(context.Context, Branch) (send bool, err error)) error
	// Peek gives the newest head that is known here, for the time of the call; the remote is not asked.
	Peek(look func(Branch) error) error
	// Divert makes a branch of its own of the commit that plan made last, and returns what the branch is at: that commit, or
	// one of ours, when an earlier call got so far.
	Divert(ctx context.Context, branch string, ours []string) (commit string, err error)
	// Compare is the address where a person can merge a branch; empty when it is not known.
	Compare(branch string) string
}

// Branch is the newest head of a branch while a change is planned for it.
type Branch interface {
	change.Repository
	// Contains tells whether a commit is in the history of the head.
	Contains(ctx context.Context, commit string) (bool, error)
	// Commit makes the commit of a plan for a wish, in memory, and returns its hash.
	Commit(ctx context.Context, p change.Plan, w change.Wish, n CommitNote) (hash string, err error)
}

// CommitNote is what the commit of a change says beside what it does.
type CommitNote struct {
	Trailer  string // the key under which ID stands: Belay-Rollback or Belay-Request
	ID       string
	To       string // what is gone back to, for people: "revision 4 (3f2a91c)"
	ToCommit string
	// Deployments are those that it is about, as namespace/name; empty: the one of the wish.
	Deployments []string
	By          string // from a token or the peer of the socket, never from a text
	Why         string
	Instance    string
	At          time.Time
}

// ErrBranchMoved is returned by a plan that was not made because the head is not the newest any more.
var ErrBranchMoved = errors.New("the branch moved meanwhile")

// WriteError says why a commit did not get to the branch, and what may help.
type WriteError struct {
	Err error
	// Refused: the branch is protected; another one may do.
	Refused bool
	// Wait is how long to wait before the next try; negative: nothing changes by trying again.
	Wait time.Duration
}

func (e *WriteError) Error() string { return e.Err.Error() }
func (e *WriteError) Unwrap() error { return e.Err }
