package app

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/belay-dev/belay/reconciler/engine"
	"github.com/belay-dev/belay/reconciler/ledger"
	"github.com/belay-dev/belay/reconciler/rollback"
	"github.com/belay-dev/belay/reconciler/rollout"
	"github.com/belay-dev/belay/state"
)

func TestMetrics(t *testing.T) {
	t.Parallel()
	store, err := state.OpenMemory(state.Options{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	labels := map[string]string{"app": "web"}
	web := func(name string) *appsv1.Deployment {
		return &appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name,
				Annotations: map[string]string{rollout.RevisionAnnotation: "3", engine.AnnotationCommit: "abc"}},
			Spec: appsv1.DeploymentSpec{Selector: &metav1.LabelSelector{MatchLabels: labels},
				Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}}},
		}
	}
	if _, err := store.Commit(
		state.Create(web("web")), state.Create(web("unmanaged")),
		state.PutManaged(state.Managed{Key: state.Key{Kind: state.KindDeployment, Namespace: "default", Name: "web"}, Source: "shop"}),
		state.PutHold(state.Hold{ID: "h", Namespace: "default", Name: "web", Revision: 2, Manual: true}),
	); err != nil {
		t.Fatal(err)
	}
	m := newMetrics(store)
	m.Looked("shop", 2*time.Millisecond, true, nil)
	m.Looked("shop", time.Millisecond, false, nil)
	m.Looked("shop", time.Millisecond, false, nil)
	m.Looked("shop", time.Millisecond, false, errors.New("unreachable"))
	seen := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	row := state.Row{Outcome: ledger.Complete, RecordedAt: seen, EndedAt: seen.Add(3 * time.Second)}
	back, failed, imported := row, row, row
	back.Operation, failed.Outcome, imported.Past = rollback.OperationRollback, ledger.Failed, 2
	for _, r := range []state.Row{row, back, failed, imported} {
		m.Ended(r)
	}
	want := `
# HELP belay_hold Deployments that are held while Git may say otherwise; always 1.
# TYPE belay_hold gauge
belay_hold{deployment="web",manual="true",namespace="default",revision="2"} 1
# HELP belay_poll_total Looks at a source, by what came of them: changed, unchanged or error.
# TYPE belay_poll_total counter
belay_poll_total{result="changed",source="shop"} 1
belay_poll_total{result="error",source="shop"} 1
belay_poll_total{result="unchanged",source="shop"} 2
# HELP belay_revision_info The revision and the commit that a Deployment runs; always 1.
# TYPE belay_revision_info gauge
belay_revision_info{commit="abc",deployment="web",namespace="default",revision="3"} 1
`
	if err := testutil.GatherAndCompare(m, strings.NewReader(want), "belay_hold", "belay_poll_total", "belay_revision_info"); err != nil {
		t.Error(err)
	}
	families, err := m.Gather()
	if err != nil {
		t.Fatal(err)
	}
	times := map[string]float64{}
	for _, f := range families {
		for _, s := range f.GetMetric() {
			if h := s.GetHistogram(); h != nil {
				if h.GetSampleCount() != 1 {
					t.Errorf("%s: %d times", f.GetName(), h.GetSampleCount())
				}
				times[f.GetName()] = h.GetSampleSum()
			}
		}
	}
	if times["belay_sync_duration_seconds"] != 0.002 || times["belay_push_to_live_seconds"] != 3 || times["belay_rollback_seconds"] != 3 {
		t.Errorf("%v", times)
	}
}
