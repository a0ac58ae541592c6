package service_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/belay-dev/belay/reconciler/service"
)

// pod makes one from words: its name, and of "unready", "leaving", "failed", "other", "unnamed".
func pod(words string) *corev1.Pod {
	fields := strings.Fields(words)
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fields[0], UID: types.UID(fields[0]), Labels: map[string]string{"app": "web", "v": "1"}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Ports: []corev1.ContainerPort{
			{Name: "dns", ContainerPort: 53, Protocol: corev1.ProtocolUDP}, {Name: "http", ContainerPort: 8080},
		}}}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}},
	}
	for _, word := range fields[1:] {
		switch word {
		case "unready":
			p.Status.Conditions[0].Status = corev1.ConditionFalse
		case "leaving":
			p.DeletionTimestamp = new(metav1.NewTime(time.Unix(1, 0)))
		case "failed":
			p.Status.Phase = corev1.PodFailed
		case "other":
			p.Labels["app"] = "other"
		case "elsewhere":
			p.Namespace = "elsewhere"
		case "unnamed":
			p.Spec.Containers[0].Ports = nil
		case "sidecar":
			c := p.Spec.Containers[0]
			c.RestartPolicy = new(corev1.ContainerRestartPolicyAlways)
			c.Ports = []corev1.ContainerPort{{Name: "http", ContainerPort: 15001, Protocol: corev1.ProtocolTCP}}
			p.Spec.InitContainers, p.Spec.Containers[0].Ports = []corev1.Container{c}, nil
		}
	}
	return p
}

func TestEndpoints(t *testing.T) {
	t.Parallel()
	number, name := intstr.FromInt32(9000), intstr.FromString("http")
	for _, c := range []struct {
		name   string
		edit   func(*corev1.ServiceSpec)
		target intstr.IntOrString
		pods   string // comma-separated
		want   string
	}{
		{"by name of the pods", nil, number, "c,a,b", "a:9000 b:9000 c:9000"},
		{"no target port is the port", nil, intstr.IntOrString{}, "a", "a:80"},
		{"a named port", nil, name, "a", "a:8080"},
		{"a named port of a sidecar", nil, name, "a sidecar", "a:15001"},
		{"a name that a pod lacks", nil, name, "a unnamed,b", "b:8080"},
		{"a name of another protocol", nil, intstr.FromString("dns"), "a", ""},
		{"ready ones only", nil, number, "a unready,b", "b:9000"},
		{"unready ones where they are published", func(s *corev1.ServiceSpec) { s.PublishNotReadyAddresses = true }, number, "a unready,b", "a:9000 b:9000"},
		{"nothing that has ended", func(s *corev1.ServiceSpec) { s.PublishNotReadyAddresses = true }, number, "a failed", ""},
		{"selected ones only", nil, number, "a other,b elsewhere,c", "c:9000"},
		{"leaving ones leave", nil, number, "a leaving,b", "b:9000"},
		{"unless nobody else is there", nil, number, "a leaving,b unready,c leaving unready", "a:9000"},
		{"without a selector", func(s *corev1.ServiceSpec) { s.Selector = nil }, number, "a", ""},
		{"an external name", func(s *corev1.ServiceSpec) { s.Type = corev1.ServiceTypeExternalName }, number, "a", ""},
		{"UDP", func(s *corev1.ServiceSpec) { s.Ports[0].Protocol = corev1.ProtocolUDP }, intstr.FromString("dns"), "a", "a:53/udp"},
		{"SCTP is not carried", func(s *corev1.ServiceSpec) { s.Ports[0].Protocol = corev1.ProtocolSCTP }, number, "a", ""},
	} {
		s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}, Spec: corev1.ServiceSpec{
			Selector: map[string]string{"app": "web"}, Ports: []corev1.ServicePort{{Port: 80, TargetPort: c.target}},
		}}
		if c.edit != nil {
			c.edit(&s.Spec)
		}
		var pods []*corev1.Pod
		for words := range strings.SplitSeq(c.pods, ",") {
			pods = append(pods, pod(words))
		}
		var got []string
		for _, b := range service.Endpoints(s, s.Spec.Ports[0], pods) {
			text := fmt.Sprintf("%s:%d", b.Pod, b.Port)
			if b.UDP {
				text += "/udp"
			}
			got = append(got, text)
		}
		if text := strings.Join(got, " "); text != c.want {
			t.Errorf("%s: %q, want %q", c.name, text, c.want)
		}
	}
}
