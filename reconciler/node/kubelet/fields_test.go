package kubelet

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/test/bufconn"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/belay-dev/belay/reconciler/node"
)

func to[T any](v T) *T { return &v }

func TestSecurity(t *testing.T) {
	unconfined := &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeUnconfined}
	for name, c := range map[string]struct {
		pod  *corev1.PodSecurityContext
		own  *corev1.SecurityContext
		want node.Security
	}{
		"none":              {nil, nil, node.Security{}},
		"the pod's":         {&corev1.PodSecurityContext{RunAsUser: to(int64(1000)), RunAsGroup: to(int64(2000))}, nil, node.Security{User: "1000:2000"}},
		"the container's":   {&corev1.PodSecurityContext{RunAsUser: to(int64(1000))}, &corev1.SecurityContext{RunAsUser: to(int64(7))}, node.Security{User: "7"}},
		"a group alone":     {nil, &corev1.SecurityContext{RunAsGroup: to(int64(5))}, node.Security{User: "0:5"}},
		"more groups":       {&corev1.PodSecurityContext{SupplementalGroups: []int64{3, 4}, FSGroup: to(int64(5))}, nil, node.Security{Groups: []int64{3, 4, 5}}},
		"capabilities":      {nil, &corev1.SecurityContext{Capabilities: &corev1.Capabilities{Add: []corev1.Capability{"NET_ADMIN", "CAP_chown"}, Drop: []corev1.Capability{"ALL"}}}, node.Security{AddCaps: []string{"NET_ADMIN", "CHOWN"}, DropCaps: []string{"ALL"}}},
		"privileged":        {nil, &corev1.SecurityContext{Privileged: to(true)}, node.Security{Privileged: true}},
		"nothing to gain":   {nil, &corev1.SecurityContext{AllowPrivilegeEscalation: to(false), ReadOnlyRootFilesystem: to(true)}, node.Security{NoNewPrivilege: true, ReadOnlyRoot: true}},
		"seccomp":           {&corev1.PodSecurityContext{SeccompProfile: unconfined}, nil, node.Security{Unconfined: true}},
		"seccomp after all": {&corev1.PodSecurityContext{SeccompProfile: unconfined}, &corev1.SecurityContext{SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}}, node.Security{}},
	} {
		pod := &corev1.Pod{Spec: corev1.PodSpec{SecurityContext: c.pod}}
		if diff := cmp.Diff(c.want, securityOf(pod, &corev1.Container{SecurityContext: c.own})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestPayload has the volumes that are made from objects.
func TestPayload(t *testing.T) {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web-1", Labels: map[string]string{"app": "web", "tier": "front"}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Resources: corev1.ResourceRequirements{
			Limits: corev1.ResourceList{"memory": resource.MustParse("64Mi")},
		}}}},
	}
	has := objects{map[string]string{"a": "1", "b": "2"}, map[string]string{"s": "top"}}
	labels := corev1.DownwardAPIVolumeFile{Path: "labels", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels"}}
	limit := corev1.DownwardAPIVolumeFile{Path: "limits/memory", Mode: to(int32(0o400)), ResourceFieldRef: &corev1.ResourceFieldSelector{
		ContainerName: "c", Resource: "limits.memory", Divisor: resource.MustParse("1Mi"),
	}}
	nobody := corev1.LocalObjectReference{Name: "y"}
	for name, c := range map[string]struct {
		source corev1.VolumeSource
		want   map[string]file
		err    string
	}{
		"configMap": {corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: x}},
			map[string]file{"a": {[]byte("1"), 0o644}, "b": {[]byte("2"), 0o644}}, ""},
		"secret": {corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "x", DefaultMode: to(int32(0o440)), Items: []corev1.KeyToPath{{Key: "s", Path: "deep/s"}}}},
			map[string]file{"deep/s": {[]byte("top"), 0o440}}, ""},
		"downwardAPI": {corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{Items: []corev1.DownwardAPIVolumeFile{labels, limit}}},
			map[string]file{"labels": {[]byte("app=\"web\"\ntier=\"front\""), 0o644}, "limits/memory": {[]byte("64"), 0o400}}, ""},
		"projected": {corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{DefaultMode: to(int32(0o600)), Sources: []corev1.VolumeProjection{
			{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: x, Items: []corev1.KeyToPath{{Key: "a", Path: "config/a", Mode: to(int32(0o644))}}}},
			{Secret: &corev1.SecretProjection{LocalObjectReference: x}},
			{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{labels}}},
			{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: nobody, Optional: to(true)}},
		}}}, map[string]file{"config/a": {[]byte("1"), 0o644}, "s": {[]byte("top"), 0o600}, "labels": {[]byte("app=\"web\"\ntier=\"front\""), 0o600}}, ""},
		"missing":     {corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: nobody}}, nil, `configmap "y" not found`},
		"missing key": {corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "x", Items: []corev1.KeyToPath{{Key: "z", Path: "z"}}}}, nil, "secret references non-existent secret key: z"},
	} {
		got, made, err := payload(pod, &corev1.Volume{Name: "v", VolumeSource: c.source}, has)
		if c.err != "" {
			if err == nil || err.Error() != c.err {
				t.Errorf("%s: %v, want %s", name, err, c.err)
			}
			continue
		}
		if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(file{})); diff != "" || !made || err != nil {
			t.Errorf("%s: %v, %v (-want +got):\n%s", name, made, err, diff)
		}
	}
}

func TestGRPCProbe(t *testing.T) {
	listener := bufconn.Listen(1 << 16)
	server, states := grpc.NewServer(), health.NewServer()
	grpc_health_v1.RegisterHealthServer(server, states)
	states.SetServingStatus("ready", grpc_health_v1.HealthCheckResponse_SERVING)
	states.SetServingStatus("busy", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	defer func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}()
	dial := func(ctx context.Context, port int32) (net.Conn, error) {
		if port != 9000 {
			return nil, net.UnknownNetworkError("another port")
		}
		return listener.DialContext(ctx)
	}
	for service, want := range map[string]string{
		"ready": "", "": "", "busy": `service unhealthy (responded with "NOT_SERVING")`,
		"nobody": "error: health rpc probe failed: rpc error: code = NotFound desc = unknown service",
	} {
		got := ""
		if err := tryGRPC(t.Context(), dial, &corev1.GRPCAction{Port: 9000, Service: &service}, time.Minute); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("service %q: got %q, want %q", service, got, want)
		}
	}
}
