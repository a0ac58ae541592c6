package reconciler

import (
	"github.com/belay-dev/belay/state"
)

// AnnotationPrune with the value "disabled" keeps an object when its manifest is removed.
const AnnotationPrune = "belay.dev/prune"

var pruneMessages = map[Reason]string{
	DetailStaleRoot:        "a root of the source does not render",
	DetailRolloutOpen:      "a Deployment of the same commit is not complete",
	DetailHistoryRewritten: "history was rewritten; belay sync --prune deletes it",
	DetailRootKindChanged:  "a root changed its kind; belay sync --prune deletes it",
	DetailMostOfApp:        "more than half of the app would go; belay sync --prune deletes it",
	DetailPruneOff:         "pruning is switched off for the app",
	DetailPruneDisabled:    "annotated " + AnnotationPrune + ": disabled",
	DetailNamespace:        "a Namespace is never pruned",
	DetailStillNamed:       "a kept ReplicaSet names it",
}

// pruneForever lists the details that no waiting and no asking ends.
var pruneForever = map[Reason]bool{DetailPruneOff: true, DetailPruneDisabled: true, DetailNamespace: true}

// pruneWaits says why an object whose manifest is gone is kept for now; empty: it may go.
func (p *planner) pruneWaits(s Subject, facts SourceFacts) Reason {
	app := s.Managed.App
	_, closed := facts.closed(app)
	switch {
	case s.Key.Kind == state.KindNamespace:
		return DetailNamespace
	case facts.NoPrune[app]:
		return DetailPruneOff
	case s.Live.Object.GetAnnotations()[AnnotationPrune] == "disabled":
		return DetailPruneDisabled
	case facts.Stale:
		return DetailStaleRoot
	case p.in.Named[s.Key]:
		return DetailStillNamed
	case closed:
		return DetailWindow
	case p.in.CommitOpen[s.Managed.RemovedBy]:
		return DetailRolloutOpen
	case facts.PruneAsked:
		return ""
	case facts.PruneWaits != "":
		return facts.PruneWaits
	case facts.AppRemoved[app] > 1 && facts.AppRemoved[app]*2 > facts.AppObjects[app]:
		return DetailMostOfApp
	}
	return ""
}

// waitForPrune moves the row of a removal on: it says why it waits, or that it was left alone for good. It gives
// nothing when the row says so already.
func (p *planner) waitForPrune(s Subject, open int, w Withheld) []state.Row {
	if open < 0 {
		return nil
	}
	r := s.Rows[open]
	if pruneForever[w.Detail] {
		rows := finished(s.Rows, open, p.in.Now)
		for i := range rows {
			if rows[i].ID == r.ID {
				rows[i].Reason, rows[i].Message = string(w.Detail), w.Message
			}
		}
		return rows
	}
	if r.Reason == string(ReasonPruneWaits) && r.Message == w.Message {
		return nil
	}
	r.Reason, r.Message = string(ReasonPruneWaits), w.Message
	return []state.Row{r}
}
