package rollback

import (
	"fmt"
	"strconv"
	"time"

	"github.com/belay-dev/belay/state"
)

// DecidePin grants a wish to keep a Deployment at a revision, or refuses it with a *Refusal. A pin of what runs begins no
// rollout: its row is empty. Pure.
func DecidePin(f Facts, r PinRequest) (Decision, error) {
	switch {
	case f.Running.UID == "":
		return Decision{}, refuse(NotRunning, "the Deployment does not run", "belay rollback brings it back")
	case !r.Until.IsZero() && !r.Until.After(r.Now):
		return Decision{}, refuse(InvalidValue, "the time until which to hold has passed: "+r.Until.UTC().Format(time.RFC3339), "")
	case r.Expect != 0 && f.Running.Revision != r.Expect:
		return Decision{}, moved(f.Running.Revision, r.Expect)
	}
	d := Decision{From: f.running()}
	var err error
	if d.To, err = f.pinned(d.From, r.ToRevision); err != nil {
		return Decision{}, err
	}
	if r.StableOnly && !f.stable(d.To) {
		return Decision{}, refuse(NotStable, f.nameOf(d.To)+" is not stable", "somebody with the role edit may pin it there")
	}
	if d.Template = f.Template(d.To.Template); d.Template == nil {
		return Decision{}, refuse(NoTemplate, "the pod template of "+f.nameOf(d.To)+" is not in the ledger", "")
	}
	for _, t := range f.bad(d.To) {
		d.Warnings = append(d.Warnings, "the target is bad: "+t.String())
	}
	d.ID = NewID(r.Now, f.Namespace, f.Name, "pin", strconv.Itoa(len(f.Rows)))
	d.Marks = f.Marks
	d.Hold = f.hold(d.ID, d.To)
	d.Hold.Reason, d.Hold.By, d.Hold.Since, d.Hold.Until, d.Hold.Manual, d.Hold.Door = r.Why, r.By, r.Now, r.Until, true, string(DoorCLI)
	if d.To.Template != f.Running.Template {
		d.Row = f.row(d.Hold, d.To, OperationPin)
		d.Undone = f.undone(d.Hold, d.To)
	}
	return d, nil
}

// pinned is the row to pin: what runs, or a revision.
func (f Facts) pinned(running state.Row, revision int64) (state.Row, error) {
	if revision == 0 || revision == f.Running.Revision {
		return running, nil
	}
	to, err := f.target(Request{ToRevision: revision})
	if err == nil && f.Running.Paused && to.Template != f.Running.Template {
		err = refuse(Paused, "cannot rollback a paused deployment", "resume it first with 'kubectl rollout resume' and try again")
	}
	return to, err
}

func moved(runs, expected int64) *Refusal {
	message := fmt.Sprintf("revision %d runs now, not %d", runs, expected)
	if runs == 0 { // it is being handed over
		message = fmt.Sprintf("revision %d runs no more", expected)
	}
	return refuse(Moved, message, "look again, and ask again")
}
