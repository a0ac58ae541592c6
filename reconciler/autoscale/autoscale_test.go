package autoscale

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/belay-dev/belay/reconciler/controller"
	"github.com/belay-dev/belay/reconciler/event"
	"github.com/belay-dev/belay/state"
)

// scaler is an autoscaler of Deployment web, for 80 % of a CPU.
func scaler(least, most int32) *autoscalingv2.HorizontalPodAutoscaler {
	percent := int32(80)
	return &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "web"},
			MinReplicas:    &least, MaxReplicas: most,
			Metrics: []autoscalingv2.MetricSpec{{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{
				Name: corev1.ResourceCPU, Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: &percent}}}},
		},
	}
}

// conditions are those of a status, in one line.
func conditions(s autoscalingv2.HorizontalPodAutoscalerStatus) string {
	var words []string
	for _, c := range s.Conditions {
		words = append(words, string(c.Type)+"="+string(c.Status)+"/"+c.Reason)
	}
	return strings.Join(words, " ")
}

func TestPlan(t *testing.T) {
	t.Parallel()
	two, five := int32(2), int32(5)
	const got, blind = "AbleToScale=True/SucceededGetScale", " ScalingActive=False/FailedGetResourceMetric"
	for _, c := range []struct {
		name       string
		target     Target
		reason     Reason
		scale      *int32
		conditions string
		events     []string // their reasons
	}{
		{"within", Target{Replicas: 3}, NoMetrics, nil, got + blind, []string{"FailedGetResourceMetric", "FailedComputeMetricsReplicas"}},
		{"below", Target{Replicas: 1}, BelowMin, &two, "AbleToScale=True/SucceededRescale", []string{"SuccessfulRescale"}},
		{"above", Target{Replicas: 9}, AboveMax, &five, "AbleToScale=True/SucceededRescale", []string{"SuccessfulRescale"}},
		{"switched off", Target{}, ScalingDisabled, nil, got + " ScalingActive=False/ScalingDisabled", nil},
		{"managed, within", Target{Replicas: 3, Managed: true}, NoMetrics, nil, got + blind, []string{"FailedGetResourceMetric", "FailedComputeMetricsReplicas"}},
		{"managed, above", Target{Replicas: 9, Managed: true}, TargetManaged, nil, "AbleToScale=False/FailedUpdateScale", []string{"FailedUpdateScale"}},
		{"missing", Target{Problem: "not found"}, TargetMissing, nil, "AbleToScale=False/FailedGetScale", []string{"FailedGetScale"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			hpa, now := scaler(2, 5), time.Unix(1000, 0)
			before := hpa.DeepCopy()
			r := Plan(hpa, c.target, now)
			var reasons []string
			for _, e := range r.Events {
				reasons = append(reasons, e.Reason)
			}
			if r.Reason != c.reason || !slices.Equal(reasons, c.events) || conditions(r.Status) != c.conditions {
				t.Errorf("%s, events %v, %s", r.Reason, reasons, conditions(r.Status))
			}
			if diff := cmp.Diff(c.scale, r.Scale); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(before, hpa); diff != "" {
				t.Errorf("the autoscaler was changed: %s", diff)
			}
			if r.Scale != nil {
				return
			}
			hpa.Status = r.Status
			if again := Plan(hpa, c.target, now.Add(time.Hour)); len(again.Events) != 0 || !cmp.Equal(again.Status, r.Status) {
				t.Errorf("the second plan differs: %s", cmp.Diff(r.Status, again.Status))
			}
		})
	}
}

func TestAutoscales(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store, err := state.OpenMemory(state.Options{Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		events := event.NewRecorder(store, "horizontal-pod-autoscaler", time.Now)
		go func() { done <- controller.Run(ctx, store, New(store, events, zerolog.Nop(), time.Now)) }()
		commit := func(ws ...state.Write) {
			t.Helper()
			if _, err := store.Commit(ws...); err != nil {
				t.Fatal(err)
			}
		}
		expect := func(when string, replicas int32, want string) {
			t.Helper()
			synctest.Wait()
			hpa, _ := state.Get[*autoscalingv2.HorizontalPodAutoscaler](store, "default", "web")
			d, ok := state.Get[*appsv1.Deployment](store, "default", "web")
			if got := conditions(hpa.Status); got != want || ok && *d.Spec.Replicas != replicas {
				t.Errorf("%s: %s, and the Deployment %v", when, got, d)
			}
		}
		web := func(replicas int32) *appsv1.Deployment {
			return &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}, Spec: appsv1.DeploymentSpec{Replicas: &replicas}}
		}
		commit(state.Create(scaler(2, 5)))
		expect("before its target", 0, "AbleToScale=False/FailedGetScale")
		commit(state.Create(web(1)))
		expect("too few", 2, "AbleToScale=True/SucceededGetScale ScalingActive=False/FailedGetResourceMetric")
		commit(state.Update(web(9)))
		expect("too many", 5, "AbleToScale=True/SucceededGetScale ScalingActive=False/FailedGetResourceMetric")
		told := 0
		for _, e := range state.List[*corev1.Event](store, "default") {
			if e.Reason == "SuccessfulRescale" && e.InvolvedObject.APIVersion == "autoscaling/v2" {
				told++
			}
		}
		if told != 2 {
			t.Errorf("%d Events of a new size", told)
		}
		commit(state.PutManaged(state.Managed{Key: state.KeyOf(web(1)), Source: "shop"}), state.Update(web(9)))
		expect("Git's", 9, "AbleToScale=False/FailedUpdateScale ScalingActive=False/FailedGetResourceMetric")
		cancel()
		if err := errors.Join(<-done, store.Close()); err != nil {
			t.Error(err)
		}
	})
}
