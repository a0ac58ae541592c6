package api

import (
	"testing"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/belay-dev/belay/state"
)

// checkAutoscaling makes an autoscaler in the older version, and finds it in the newer one and in the store.
func checkAutoscaling(t *testing.T, s *served) {
	ctx, client := t.Context(), s.as(t, RoleEdit)
	percent := int32(80)
	made, err := client.AutoscalingV1().HorizontalPodAutoscalers("default").Create(ctx, &autoscalingv1.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: autoscalingv1.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv1.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "web"},
			MaxReplicas:    5, TargetCPUUtilizationPercentage: &percent,
		},
	}, metav1.CreateOptions{})
	if err != nil || *made.Spec.MinReplicas != 1 {
		t.Fatalf("%v, %v", made, err)
	}
	stored, ok := state.Get[*autoscalingv2.HorizontalPodAutoscaler](s.store, "default", "web")
	if !ok || len(stored.Spec.Metrics) != 1 || *stored.Spec.Metrics[0].Resource.Target.AverageUtilization != percent {
		t.Fatalf("stored %v", stored)
	}
	read, err := client.AutoscalingV2().HorizontalPodAutoscalers("default").Get(ctx, "web", metav1.GetOptions{})
	if err != nil || *read.Spec.Metrics[0].Resource.Target.AverageUtilization != percent {
		t.Errorf("read %v, %v", read, err)
	}
	read.Status.CurrentReplicas = 3
	if after, err := client.AutoscalingV2().HorizontalPodAutoscalers("default").UpdateStatus(ctx, read, metav1.UpdateOptions{}); err != nil || after.Status.CurrentReplicas != 3 {
		t.Errorf("status %v, %v", after, err)
	}
}
