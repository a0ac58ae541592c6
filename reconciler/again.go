package reconciler

import (
	"github.com/belay-dev/belay/reconciler/rollback"
	"github.com/belay-dev/belay/state"
)

// reconsider queues the changes of a source again that could not be made: its head moved, and what was in their way may be
// gone.
func (l *Loop) reconsider(f *follower) {
	var ws []state.Write
	for _, c := range l.o.Store.GitChanges() {
		if c.Source == f.Name && c.State == string(rollback.GitNone) && c.Commit == "" {
			c.State = string(rollback.GitQueued)
			ws = append(ws, state.PutGitChange(c))
		}
	}
	if len(ws) == 0 || f.Writer == nil {
		return
	}
	if _, err := l.o.Store.Commit(ws...); err != nil {
		l.o.Log.Warn().Str("source", f.Name).Err(err).Msg("not queued again")
		return
	}
	l.kick(f.Name)
}
