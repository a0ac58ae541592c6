package state

import (
	"cmp"
	"errors"
	"time"
)

// GitChange is one change of a Deployment that is to be made in Git, and how far it is. There is one for each Deployment
// and field: what is wished last.
type GitChange struct {
	ID        string    `json:"id"` // of the hold or the override that it is about
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	Field     string    `json:"field"` // what of the Deployment: template, or an override's field
	Source    string    `json:"source"`
	Mode      string    `json:"mode,omitempty"` // asked for
	Made      string    `json:"made,omitempty"` // the mode of the commit that was made last; empty: none was
	By        string    `json:"by,omitempty"`
	Why       string    `json:"why,omitempty"` // the person's words
	Since     time.Time `json:"since,omitzero"`
	// Revert is the one commit to take back for all changes of this ID and source together; empty: this one is alone.
	Revert  string `json:"revert,omitempty"`
	Secrets bool   `json:"secrets,omitempty"` // a revert that was asked for may change Secrets
	Only    bool   `json:"only,omitempty"`    // the revert may change no other Deployments than those of its ID

	Aside bool `json:"aside,omitempty"` // it goes to a branch of its own, also where the tracked one takes pushes

	State  string `json:"state"`            // queued, pushed, branch or none
	Reason string `json:"reason,omitempty"` // of the state
	// Attempts are the commits that were made for it, each recorded before it was sent: whichever of them the remote has is
	// the change.
	Attempts []string `json:"attempts,omitempty"`
	Commit   string   `json:"commit,omitempty"`  // once it is at the remote
	Branch   string   `json:"branch,omitempty"`  // of its own, to be merged
	Compare  string   `json:"compare,omitempty"` // address where a person can merge it
}

func compareGitChanges(a, b *GitChange) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Field, b.Field))
}

// PutGitChange sets what is to be changed in Git of one field of a Deployment.
func PutGitChange(c GitChange) Write {
	given := copyGitChange(&c)
	return ledgerWrite(given, func(l *ledger) (func(), diskChange, error) {
		if given.ID == "" || given.Namespace == "" || given.Name == "" || given.Field == "" {
			return nil, diskChange{}, errors.New("ledger git change: id, namespace, name and field are needed")
		}
		return l.putGitChange(given, given)
	})
}

// RemoveGitChange takes away what was to be changed in Git of one field of a Deployment, if anything was.
func RemoveGitChange(namespace, name, field string) Write {
	return ledgerWrite(nil, func(l *ledger) (func(), diskChange, error) {
		return l.putGitChange(&GitChange{Namespace: namespace, Name: name, Field: field}, nil)
	})
}

func (l *ledger) putGitChange(pivot, after *GitChange) (func(), diskChange, error) {
	before, _ := l.gitChanges.Get(pivot)
	set := func(before, after *GitChange) { replace(l.gitChanges, before, after) }
	return put(set, before, after, bucketGitChanges, nameKey(pivot.Namespace, pivot.Name, pivot.Field))
}

// GitChange finds what is to be changed in Git of one field of a Deployment.
func (s *Store) GitChange(namespace, name, field string) (GitChange, bool) {
	s.mu.RLock()
	c, _ := s.ledger.gitChanges.Get(&GitChange{Namespace: namespace, Name: name, Field: field})
	s.mu.RUnlock()
	return found(c, copyGitChange)
}

// GitChanges gives all changes that are to be made in Git, sorted by namespace, name and field.
func (s *Store) GitChanges() []GitChange {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var list []GitChange
	for c := range from(s.ledger.gitChanges, &GitChange{}) {
		list = append(list, *copyGitChange(c))
	}
	return list
}

func copyGitChange(c *GitChange) *GitChange {
	out := *c
	out.Since = plain(c.Since)
	out.Attempts = clone(c.Attempts)
	return &out
}
