package ledger

import "github.com/belay-dev/belay/state"

// Stable reports whether a template completed once; while nothing has completed here, whether it was the head's before
// the first sync.
func Stable(rows []state.Row, template string) bool {
	completed, imported := false, false
	for _, r := range rows {
		if r.Outcome == Complete && r.Template == template {
			return true
		}
		completed = completed || r.Outcome == Complete
		imported = imported || r.Outcome == Imported && r.Template == template
	}
	return imported && !completed
}
