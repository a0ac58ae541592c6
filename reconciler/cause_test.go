package reconciler

import (
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/belay-dev/belay/reconciler/engine"
	"github.com/belay-dev/belay/reconciler/ledger"
	"github.com/belay-dev/belay/state"
)

// A cause that was given through the API goes to the row that runs; one that came with the template, or that was given for
// an earlier one, does not.
func TestObserveCause(t *testing.T) {
	t.Parallel()
	started := time.Date(2026, 1, 1, 12, 0, 0, 5e8, time.UTC)
	given := func(after time.Duration, field string) []metav1.ManagedFieldsEntry {
		at := metav1.NewTime(started.Add(after).Truncate(time.Second))
		return []metav1.ManagedFieldsEntry{{
			Manager: "kubectl-annotate", Time: &at, FieldsV1: &metav1.FieldsV1{Raw: []byte(`{"f:metadata":{"f:annotations":{"f:` + field + `":{}}}}`)},
		}}
	}
	for name, c := range map[string]struct {
		fields []metav1.ManagedFieldsEntry
		want   string
	}{
		"with the template":     {nil, "the commit"},
		"afterwards":            {given(time.Hour, engine.ChangeCause), "a person"},
		"in the same second":    {given(0, engine.ChangeCause), "a person"},
		"for an earlier one":    {given(-time.Hour, engine.ChangeCause), "the commit"},
		"of another annotation": {given(time.Hour, "example.com/x"), "the commit"},
	} {
		row := state.Row{ID: "a", UID: "u", Template: "t", StartedAt: started, Outcome: ledger.Complete, ChangeCause: "the commit"}
		d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{
			UID: "u", Annotations: map[string]string{engine.ChangeCause: "a person"}, ManagedFields: c.fields}}
		rows := []state.Row{row}
		rows = replace(rows, observe(rows, engine.Live{Object: d, Rollout: engine.Rollout{Template: "t", Phase: engine.PhaseComplete}}, started))
		if rows[0].ChangeCause != c.want {
			t.Errorf("%s: %q, want %q", name, rows[0].ChangeCause, c.want)
		}
	}
}
