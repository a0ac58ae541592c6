package state

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

func nodePort(ports ...corev1.ServicePort) func(*corev1.ServiceSpec) {
	return func(s *corev1.ServiceSpec) { s.Type, s.Ports = corev1.ServiceTypeNodePort, ports }
}

// numbers are the node ports of a Service.
func numbers(s *corev1.Service) []int32 {
	var out []int32
	for _, p := range s.Spec.Ports {
		out = append(out, p.NodePort)
	}
	return out
}

func TestNodePorts(t *testing.T) {
	t.Parallel()
	s := open(t)
	two := nodePort(corev1.ServicePort{Name: "web", Port: 80}, corev1.ServicePort{Name: "admin", Port: 81})
	seen := map[int32]string{}
	for i := range 50 {
		name := fmt.Sprintf("s%d", i)
		for _, n := range numbers(stored[*corev1.Service](t, s, Create(service(name, two)))) {
			if seen[n] != "" || n < 30000 || n > 32767 {
				t.Errorf("%s has %d, as has %s", name, n, seen[n])
			}
			seen[n] = name
		}
	}
	checkIndexes(t, s)

	had, _ := Get[*corev1.Service](s, "default", "s7")
	update := func(what string, edit func(*corev1.ServiceSpec)) *corev1.Service {
		t.Helper()
		next := had.DeepCopy()
		next.ResourceVersion = ""
		edit(&next.Spec)
		got := stored[*corev1.Service](t, s, Update(next))
		checkIndexes(t, s)
		if t.Failed() {
			t.Fatal(what)
		}
		return got
	}
	// A manifest names no node ports: they stay with their ports.
	kept := update("left out", two)
	if diff := cmp.Diff(numbers(had), numbers(kept)); diff != "" {
		t.Errorf("left out (-want +got):\n%s", diff)
	}
	swapped := update("in another order", nodePort(corev1.ServicePort{Name: "admin", Port: 81}, corev1.ServicePort{Name: "web", Port: 80}))
	if got := numbers(swapped); got[0] != numbers(had)[1] || got[1] != numbers(had)[0] {
		t.Errorf("in another order %v, were %v", got, numbers(had))
	}
	// A type without node ports gives them back, and a later one gets the same again: the place is the key's.
	none := update("ClusterIP", func(s *corev1.ServiceSpec) { s.Type = corev1.ServiceTypeClusterIP })
	if diff := cmp.Diff([]int32{0, 0}, numbers(none)); diff != "" {
		t.Errorf("ClusterIP (-want +got):\n%s", diff)
	}
	again := update("again", two)
	if diff := cmp.Diff(numbers(had), numbers(again)); diff != "" {
		t.Errorf("again (-want +got):\n%s", diff)
	}
}

func TestAskedNodePort(t *testing.T) {
	t.Parallel()
	s := open(t)
	commit(t, s, Create(service("taken", nodePort(corev1.ServicePort{Port: 80, NodePort: 30080}))))
	for _, c := range []struct {
		name  string
		ports []corev1.ServicePort
		want  string
	}{
		{"free", []corev1.ServicePort{{Port: 80, NodePort: 30081}}, ""},
		{"one number for two protocols", []corev1.ServicePort{{Name: "t", Port: 53, NodePort: 30053}, {Name: "u", Port: 53, NodePort: 30053, Protocol: corev1.ProtocolUDP}}, ""},
		{"taken", []corev1.ServicePort{{Port: 80, NodePort: 30080}},
			`Service "web" is invalid: spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated`},
		{"twice", []corev1.ServicePort{{Name: "a", Port: 80, NodePort: 30082}, {Name: "b", Port: 81, NodePort: 30082}},
			`Service "web" is invalid: spec.ports[1].nodePort: Invalid value: 30082: provided port is already allocated`},
		{"out of range", []corev1.ServicePort{{Port: 80, NodePort: 80}},
			`Service "web" is invalid: spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767`},
	} {
		r, err := s.Commit(Create(service("web", nodePort(c.ports...))))
		if c.want != "" {
			if !apierrors.IsInvalid(err) || err.Error() != c.want {
				t.Errorf("%s: got  %v\nwant %s", c.name, err, c.want)
			}
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if got, want := numbers(r.Objects[0].(*corev1.Service)), numbers(service("web", nodePort(c.ports...))); !cmp.Equal(got, want) {
			t.Errorf("%s: %v", c.name, got)
		}
		checkIndexes(t, s)
		commit(t, s, Delete(KeyOf(r.Objects[0]), DeleteOptions{}))
	}
	checkIndexes(t, s)
}

func TestFamilies(t *testing.T) {
	t.Parallel()
	s := open(t)
	single, prefer, require := corev1.IPFamilyPolicySingleStack, corev1.IPFamilyPolicyPreferDualStack, corev1.IPFamilyPolicyRequireDualStack
	const v4, v6 = corev1.IPv4Protocol, corev1.IPv6Protocol
	type families struct {
		Policy   corev1.IPFamilyPolicy
		Families []corev1.IPFamily
	}
	for _, c := range []struct {
		name string
		edit func(*corev1.ServiceSpec)
		want families
		err  string
	}{
		{"nothing", func(*corev1.ServiceSpec) {}, families{single, []corev1.IPFamily{v4}}, ""},
		{"prefers both", func(s *corev1.ServiceSpec) { s.IPFamilyPolicy = &prefer }, families{prefer, []corev1.IPFamily{v4}}, ""},
		{"requires both", func(s *corev1.ServiceSpec) { s.IPFamilyPolicy = &require }, families{},
			`Service "web" is invalid: spec.ipFamilyPolicy: Invalid value: "RequireDualStack": this cluster is not configured for dual-stack services`},
		{"names another", func(s *corev1.ServiceSpec) { s.IPFamilies = []corev1.IPFamily{v6} }, families{},
			`Service "web" is invalid: spec.ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster`},
		{"headless", func(s *corev1.ServiceSpec) {
			s.ClusterIP, s.Selector = corev1.ClusterIPNone, map[string]string{"app": "web"}
		}, families{single, []corev1.IPFamily{v4}}, ""},
		{"of somebody else's endpoints", func(s *corev1.ServiceSpec) { s.ClusterIP, s.Selector = corev1.ClusterIPNone, nil },
			families{require, []corev1.IPFamily{v4, v6}}, ""},
		{"a name for another", func(s *corev1.ServiceSpec) { s.Type, s.IPFamilyPolicy = corev1.ServiceTypeExternalName, nil }, families{}, ""},
	} {
		r, err := s.Commit(Create(service("web", c.edit)))
		if c.err != "" {
			if !apierrors.IsInvalid(err) || err.Error() != c.err {
				t.Errorf("%s: got  %v\nwant %s", c.name, err, c.err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		spec := r.Objects[0].(*corev1.Service).Spec
		got := families{Families: spec.IPFamilies}
		if spec.IPFamilyPolicy != nil {
			got.Policy = *spec.IPFamilyPolicy
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
		commit(t, s, Delete(KeyOf(r.Objects[0]), DeleteOptions{}))
	}
}
