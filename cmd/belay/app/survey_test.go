package app

import (
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/belay-dev/belay/reconciler/node/kubelet"
	"github.com/belay-dev/belay/reconciler/node/simulated"
	"github.com/belay-dev/belay/state"
)

// Who writes past Git is warned of what the write brings, not of what was there.
func TestUnhonoured(t *testing.T) {
	t.Parallel()
	pods := kubelet.New(kubelet.Options{})
	d := func(specs ...func(*corev1.PodSpec)) state.Object {
		out := &appsv1.Deployment{}
		for _, s := range specs {
			s(&out.Spec.Template.Spec)
		}
		return out
	}
	pid := func(s *corev1.PodSpec) { s.HostPID = true }
	ipc := func(s *corev1.PodSpec) { s.HostIPC = true }
	const hostIPC = "spec.template.spec.hostIPC: is not supported"
	for _, tt := range []struct {
		name          string
		before, after state.Object
		want          []string
	}{
		{"made", nil, d(ipc), []string{hostIPC}},
		{"one more", d(pid), d(pid, ipc), []string{hostIPC}},
		{"as it was", d(pid), d(pid), nil},
		{"taken away", d(pid), d(), nil},
		{"deleted", d(pid), nil, nil},
		{"another kind", nil, &corev1.ConfigMap{}, nil},
	} {
		if got := unhonoured(pods, tt.before, tt.after); !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
	if got := unhonoured(simulated.New(simulated.Options{}), nil, d(ipc)); got != nil {
		t.Errorf("simulated: %q", got)
	}
	if got := unhonoured(nil, nil, d(ipc)); got != nil {
		t.Errorf("a runner that honours all: %q", got)
	}
}
