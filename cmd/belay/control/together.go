package control

import (
	"context"
	"net/http"
)

// Undoer goes back behind a commit with every Deployment that it broke. It gives an error when none is held and nothing
// can be; what was done is durable when it returns.
type Undoer interface {
	RollbackCommit(context.Context, CommitRollbackRequest) (CommitRollback, error)
}

// CommitRollbackRequest asks to take one commit back.
type CommitRollbackRequest struct {
	Commit  string           `json:"commit"`           // hash, or its beginning
	Only    []string         `json:"only,omitempty"`   // Deployments as namespace/name; empty: all that the commit broke
	Expect  map[string]int64 `json:"expect,omitempty"` // revision that a Deployment, as namespace/name, was previewed on
	Mode    string           `json:"mode,omitempty"`   // auto, revert or hold; empty: auto, which is revert
	Secrets bool             `json:"secrets,omitempty"`
	Why     string           `json:"why,omitempty"`
	DryRun  bool             `json:"dryRun,omitempty"` // only say what would be done
}

// CommitRollback is what taking a commit back did, or would do.
type CommitRollback struct {
	ID          string            `json:"id,omitempty"` // of the rollback, in holds, the history and Git
	Commit      string            `json:"commit"`
	DryRun      bool              `json:"dryRun,omitempty"`
	Deployments []CommitVerdict   `json:"deployments"` // by namespace and name
	Git         []SourceGitChange `json:"git"`         // of each source that follows the commit
}

// CommitVerdict is what became, or would become, of one Deployment.
type CommitVerdict struct {
	Rollback
	Error string `json:"error,omitempty"` // why it is not held
	Hint  string `json:"hint,omitempty"`
	Left  string `json:"left,omitempty"` // why the revert would not set it right in Git
}

// SourceGitChange is what becomes of the commit in one repository.
type SourceGitChange struct {
	Source string `json:"source"`
	GitChange
}

// undoes is the way back behind a commit.
func (s routes) undoes(u Undoer) { asked(s, "rollback-commit", RoleRollback, true, u.RollbackCommit) }

// RollbackCommit takes a commit back for every Deployment that it broke, or says what that would do.
func (c *Client) RollbackCommit(ctx context.Context, r CommitRollbackRequest) (CommitRollback, error) {
	return call[CommitRollback](ctx, c, http.MethodPost, "rollback-commit", nil, r)
}
