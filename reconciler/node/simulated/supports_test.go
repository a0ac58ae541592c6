package simulated

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestSupports(t *testing.T) {
	t.Parallel()
	soon := int64(1)
	always, never := corev1.ContainerRestartPolicyAlways, corev1.ContainerRestartPolicyNever
	rules := []corev1.ContainerRestartRule{{Action: corev1.ContainerRestartRuleActionRestart}}
	for _, tt := range []struct {
		name string
		spec corev1.PodSpec
		want []string
	}{
		{"plain", corev1.PodSpec{RestartPolicy: corev1.RestartPolicyAlways, HostPID: true}, nil},
		{"ends", corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, ActiveDeadlineSeconds: &soon}, []string{"restartPolicy", "activeDeadlineSeconds"}},
		{"gated", corev1.PodSpec{SchedulingGates: []corev1.PodSchedulingGate{{Name: "a.example/b"}}}, nil},
		{"containers that end", corev1.PodSpec{
			InitContainers: []corev1.Container{{RestartPolicy: &always}, {RestartPolicy: &never}}, Containers: []corev1.Container{{RestartPolicy: &never}},
		}, []string{"initContainers[1].restartPolicy", "containers[0].restartPolicy"}},
		{"for a look inside", corev1.PodSpec{EphemeralContainers: make([]corev1.EphemeralContainer, 1)}, []string{"ephemeralContainers"}},
		{"rules", corev1.PodSpec{
			InitContainers: []corev1.Container{{}, {RestartPolicyRules: rules}}, Containers: []corev1.Container{{RestartPolicyRules: rules}},
		}, []string{"initContainers[1].restartPolicyRules", "containers[0].restartPolicyRules"}},
	} {
		var got []string
		for _, u := range New(Options{}).Supports(&tt.spec) {
			got = append(got, u.Field)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}
