package rollback

import (
	"math"
	"strconv"
	"time"

	"github.com/belay-dev/belay/reconciler/ledger"
	"github.com/belay-dev/belay/state"
)

// DecideOverride grants a wish to set a field past Git, or refuses it with a *Refusal. A restart comes with the row of its
// rollout. Pure.
func DecideOverride(f Facts, r OverrideRequest) (state.Override, *state.Row, error) {
	o := state.Override{Namespace: f.Namespace, Name: f.Name, Field: r.Field, Value: r.Value, By: r.By, Since: r.Now}
	o.ID = NewID(r.Now, f.Namespace, f.Name, r.Field, r.Value, strconv.Itoa(len(f.Rows)))
	if f.Running.UID == "" {
		return o, nil, refuse(NotRunning, "the Deployment does not run", "")
	}
	switch r.Field {
	case FieldReplicas:
		n, err := strconv.ParseInt(r.Value, 10, 64)
		if err != nil || n < 0 || n > math.MaxInt32 {
			return o, nil, refuse(InvalidValue, "not a number of replicas: "+strconv.Quote(r.Value), "")
		}
		o.Value = strconv.FormatInt(n, 10)
	case FieldPaused:
		paused, err := strconv.ParseBool(r.Value)
		if err != nil {
			return o, nil, refuse(InvalidValue, "neither true nor false: "+strconv.Quote(r.Value), "")
		}
		o.Value = strconv.FormatBool(paused)
	case FieldRestartedAt:
		if f.Running.Paused {
			return o, nil, refuse(Paused, "can't restart paused deployment", "resume it first with 'kubectl rollout resume'")
		}
		if o.Value == "" {
			o.Value = r.Now.Format(time.RFC3339)
		}
		if _, err := time.Parse(time.RFC3339, o.Value); err != nil {
			return o, nil, refuse(InvalidValue, "not a time: "+strconv.Quote(r.Value), "write it as RFC 3339")
		}
		o.Template = f.Running.Bare
		of := f.running()
		row := f.row(state.Hold{ID: o.ID, By: r.By, Door: string(DoorKubectl), Since: r.Now}, of, OperationRestart)
		row.ChangeCause, row.Outcome, row.Template, row.Bare = "restarted by "+cmpOr(r.By, "somebody"), ledger.Pending, "", ""
		return o, &row, nil
	default:
		return o, nil, refuse(InvalidValue, "no such field: "+strconv.Quote(r.Field), "")
	}
	return o, nil, nil
}
