package state

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
)

func quota(name string, hard map[corev1.ResourceName]string) *corev1.ResourceQuota {
	q := &corev1.ResourceQuota{ObjectMeta: meta(name), Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{}}}
	for k, v := range hard {
		q.Spec.Hard[k] = resource.MustParse(v)
	}
	return q
}

func TestQuota(t *testing.T) {
	t.Parallel()
	failed := func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }
	cases := []struct {
		name   string
		quotas []*corev1.ResourceQuota
		there  int // pods
		edit   func(*corev1.Pod)
		create Object
		want   string // empty: allowed
	}{
		{"none", nil, 5, nil, pod("new", nil), ""},
		{"room", []*corev1.ResourceQuota{quota("q", map[corev1.ResourceName]string{"pods": "3"})}, 2, nil, pod("new", nil), ""},
		{"full", []*corev1.ResourceQuota{quota("q", map[corev1.ResourceName]string{"pods": "2"})}, 2, nil, pod("new", nil),
			`pods "new" is forbidden: exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2`},
		{"overfull", []*corev1.ResourceQuota{quota("q", map[corev1.ResourceName]string{"pods": "2"})}, 3, nil, pod("new", nil),
			`pods "new" is forbidden: exceeded quota: q, requested: pods=1, used: pods=3, limited: pods=2`},
		{"in thousands", []*corev1.ResourceQuota{quota("q", map[corev1.ResourceName]string{"pods": "1k"})}, 2, nil, pod("new", nil), ""},
		{"both names", []*corev1.ResourceQuota{quota("q", map[corev1.ResourceName]string{"pods": "2", "count/pods": "2", "services": "0"})}, 2, nil, pod("new", nil),
			`pods "new" is forbidden: exceeded quota: q, requested: count/pods=1,pods=1, used: count/pods=2,pods=2, limited: count/pods=2,pods=2`},
		{"ended pods", []*corev1.ResourceQuota{quota("q", map[corev1.ResourceName]string{"pods": "2"})}, 2, failed, pod("new", nil), ""},
		{"ended pods are there", []*corev1.ResourceQuota{quota("q", map[corev1.ResourceName]string{"count/pods": "2"})}, 2, failed, pod("new", nil),
			`pods "new" is forbidden: exceeded quota: q, requested: count/pods=1, used: count/pods=2, limited: count/pods=2`},
		{"the second of two", []*corev1.ResourceQuota{
			quota("a", map[corev1.ResourceName]string{"pods": "3"}), quota("b", map[corev1.ResourceName]string{"pods": "1"}),
		}, 2, nil, pod("new", nil), `pods "new" is forbidden: exceeded quota: b, requested: pods=1, used: pods=2, limited: pods=1`},
		{"another kind", []*corev1.ResourceQuota{quota("q", map[corev1.ResourceName]string{"pods": "0"})}, 0, nil, deployment("new"), ""},
		{"deployments", []*corev1.ResourceQuota{quota("q", map[corev1.ResourceName]string{"count/deployments.apps": "0"})}, 0, nil, deployment("new"),
			`deployments.apps "new" is forbidden: exceeded quota: q, requested: count/deployments.apps=1, used: count/deployments.apps=0, limited: count/deployments.apps=0`},
		{"config maps", []*corev1.ResourceQuota{quota("q", map[corev1.ResourceName]string{"configmaps": "0"})}, 0, nil, configMap("new", "1"),
			`configmaps "new" is forbidden: exceeded quota: q, requested: configmaps=1, used: configmaps=0, limited: configmaps=0`},
		{"scoped", []*corev1.ResourceQuota{func() *corev1.ResourceQuota {
			q := quota("q", map[corev1.ResourceName]string{"pods": "0"})
			q.Spec.Scopes = []corev1.ResourceQuotaScope{corev1.ResourceQuotaScopeBestEffort}
			return q
		}()}, 0, nil, pod("new", nil), ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := open(t)
			for i := range c.there {
				p := stored[*corev1.Pod](t, s, Create(pod(fmt.Sprint("web-", i), nil)))
				if c.edit != nil {
					commit(t, s, UpdateStatus(change(p, c.edit)))
				}
			}
			for _, q := range c.quotas {
				commit(t, s, Create(q))
			}
			_, err := s.Commit(Create(c.create))
			switch {
			case c.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case c.want != "" && (!apierrors.IsForbidden(err) || err.Error() != c.want):
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
}

func TestQuotaInsideATransaction(t *testing.T) {
	t.Parallel()
	s := open(t)
	commit(t, s, Create(quota("q", map[corev1.ResourceName]string{"pods": "2"})))
	_, err := s.Commit(Create(pod("a", nil)), Create(pod("b", nil)), Create(pod("c", nil)))
	if !apierrors.IsForbidden(err) || len(s.List(KindPod, "")) != 0 {
		t.Errorf("three of two: %v, %d pods", err, len(s.List(KindPod, "")))
	}
	commit(t, s, Create(pod("a", nil)), Create(pod("b", nil)),
		Delete(podKey("a"), DeleteOptions{GracePeriodSeconds: seconds(0)}), Create(pod("c", nil)))
	named := pod("", nil)
	named.GenerateName = "web-"
	if _, err := s.Commit(Create(named)); !apierrors.IsForbidden(err) || !strings.HasPrefix(err.Error(), `pods "web-`) || strings.HasPrefix(err.Error(), `pods "web-"`) {
		t.Errorf("the generated name is not in %v", err)
	}
}

// A pod that should have ended long ago does not count.
func TestQuotaOfAStuckPod(t *testing.T) {
	t.Parallel()
	now := epoch
	options := testOptions()
	options.Now = func() time.Time { return now }
	s := openWith(t, options)
	commit(t, s, Create(quota("q", map[corev1.ResourceName]string{"pods": "1"})), Create(pod("a", nil)), Delete(podKey("a"), DeleteOptions{}))
	now = epoch.Add(60 * time.Second)
	if _, err := s.Commit(Create(pod("b", nil))); !apierrors.IsForbidden(err) {
		t.Errorf("after 60s: %v", err)
	}
	now = epoch.Add(61 * time.Second)
	commit(t, s, Create(pod("b", nil)))
}

func TestMissingNamespace(t *testing.T) {
	t.Parallel()
	s := open(t)
	p := pod("web", nil)
	p.Namespace = "nowhere"
	if _, err := s.Commit(Create(p)); !apierrors.IsNotFound(err) || err.Error() != `namespaces "nowhere" not found` {
		t.Errorf("got %v", err)
	}
}

func service(name string, edit func(*corev1.ServiceSpec)) *corev1.Service {
	s := &corev1.Service{ObjectMeta: meta(name), Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, Ports: []corev1.ServicePort{{Port: 80}}}}
	if edit != nil {
		edit(&s.Spec)
	}
	return s
}

func TestClusterIP(t *testing.T) {
	t.Parallel()
	options := testOptions()
	options.ServiceRange = netip.MustParsePrefix("10.96.0.0/29")
	s := openWith(t, options)
	seen := map[string]string{}
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		got := stored[*corev1.Service](t, s, Create(service(name, nil)))
		ip := got.Spec.ClusterIP
		if seen[ip] != "" || !options.ServiceRange.Contains(netip.MustParseAddr(ip)) || ip == "10.96.0.0" || ip == "10.96.0.1" || ip == "10.96.0.7" {
			t.Errorf("%s has %s, as has %s", name, ip, seen[ip])
		}
		single := corev1.IPFamilyPolicySingleStack
		want := corev1.ServiceSpec{
			Type: corev1.ServiceTypeClusterIP, Ports: []corev1.ServicePort{{Port: 80}}, ClusterIP: ip, ClusterIPs: []string{ip},
			IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol}, IPFamilyPolicy: &single,
		}
		if diff := cmp.Diff(want, got.Spec); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		seen[ip] = name
	}
	_, err := s.Commit(Create(service("f", nil)))
	if !apierrors.IsInvalid(err) || !strings.HasSuffix(err.Error(), "failed to allocate a serviceIP: range is full") {
		t.Errorf("full: %v", err)
	}

	// A Service that comes again gets its address again, when nobody took it.
	old, _ := Get[*corev1.Service](s, "default", "c")
	// The first address is the API's own, full or not, and whatever quotas say.
	commit(t, s, Create(quota("q", map[corev1.ResourceName]string{"services": "0"})))
	for range 2 {
		api := stored[*corev1.Service](t, s, Create(service(KubernetesService.Name, nil)))
		if api.Spec.ClusterIP != "10.96.0.1" {
			t.Errorf("the api has %s", api.Spec.ClusterIP)
		}
		commit(t, s, Delete(KubernetesService, DeleteOptions{}))
	}
	commit(t, s, Delete(Key{KindResourceQuota, "default", "q"}, DeleteOptions{}))
	commit(t, s, Delete(KeyOf(old), DeleteOptions{}), Create(service("c", nil)))
	if again, _ := Get[*corev1.Service](s, "default", "c"); again.Spec.ClusterIP != old.Spec.ClusterIP {
		t.Errorf("%s came again as %s", old.Spec.ClusterIP, again.Spec.ClusterIP)
	}
	// A refused transaction gives its addresses back.
	commit(t, s, Delete(KeyOf(old), DeleteOptions{}))
	for range 3 {
		if _, err := s.Commit(Create(service("f", nil)), Create(service("a", nil))); !apierrors.IsAlreadyExists(err) {
			t.Errorf("got %v", err)
		}
	}
}

func TestAskedClusterIP(t *testing.T) {
	t.Parallel()
	s := open(t)
	ask := func(ip string) func(*corev1.ServiceSpec) { return func(s *corev1.ServiceSpec) { s.ClusterIP = ip } }
	commit(t, s, Create(service("taken", ask("10.96.0.10"))))
	for _, c := range []struct{ ip, want string }{
		{"10.96.0.11", ""},
		{"None", ""},
		{"10.96.0.10", `Service "web" is invalid: spec.clusterIPs: Invalid value: ["10.96.0.10"]: failed to allocate IP 10.96.0.10: provided IP is already allocated`},
		{"10.0.0.1", `Service "web" is invalid: spec.clusterIPs: Invalid value: ["10.0.0.1"]: failed to allocate IP 10.0.0.1: the provided IP (10.0.0.1) is not in the valid range. The range of valid IPs is 10.96.0.0/16`},
		{"10.96.0.1", `Service "web" is invalid: spec.clusterIPs: Invalid value: ["10.96.0.1"]: failed to allocate IP 10.96.0.1: provided IP is already allocated`},
		{"x", `Service "web" is invalid: spec.clusterIPs: Invalid value: ["x"]: must be a valid IP address`},
	} {
		r, err := s.Commit(Create(service("web", ask(c.ip))))
		if c.want != "" {
			if !apierrors.IsInvalid(err) || err.Error() != c.want {
				t.Errorf("%s: got  %v\nwant %s", c.ip, err, c.want)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		got := r.Objects[0].(*corev1.Service)
		if got.Spec.ClusterIP != c.ip || len(got.Spec.ClusterIPs) != 1 || got.Spec.ClusterIPs[0] != c.ip {
			t.Errorf("%s: got %+v", c.ip, got.Spec)
		}
		commit(t, s, Delete(KeyOf(got), DeleteOptions{}))
	}
}

func TestUpdateOfClusterIP(t *testing.T) {
	t.Parallel()
	s := open(t)
	web := stored[*corev1.Service](t, s, Create(service("web", nil)))
	ip := web.Spec.ClusterIP

	left := stored[*corev1.Service](t, s, Update(service("web", func(s *corev1.ServiceSpec) { s.Ports[0].Port = 81 })))
	if left.Spec.ClusterIP != ip || left.Spec.IPFamilyPolicy == nil || left.Spec.Ports[0].Port != 81 {
		t.Errorf("left out: %+v", left.Spec)
	}
	_, err := s.Commit(Update(change(left, func(s *corev1.Service) { s.Spec.ClusterIP = "10.96.0.9" })))
	if !apierrors.IsInvalid(err) || !strings.HasSuffix(err.Error(), "may not change once set") {
		t.Errorf("changed: %v", err)
	}
	external := stored[*corev1.Service](t, s, Update(service("web", func(s *corev1.ServiceSpec) {
		s.Type, s.ExternalName, s.Ports = corev1.ServiceTypeExternalName, "example.com", nil
	})))
	if external.Spec.ClusterIP != "" || external.Spec.ClusterIPs != nil {
		t.Errorf("external: %+v", external.Spec)
	}
	commit(t, s, Create(service("other", func(s *corev1.ServiceSpec) { s.ClusterIP = ip })))
	back := stored[*corev1.Service](t, s, Update(service("web", nil)))
	if back.Spec.ClusterIP == "" || back.Spec.ClusterIP == ip {
		t.Errorf("back: %+v", back.Spec)
	}
}

func TestServiceRange(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"fd00::/64", "10.0.0.0/30"} {
		options := testOptions()
		options.ServiceRange = netip.MustParsePrefix(text)
		if _, err := OpenMemory(options); err == nil {
			t.Errorf("%s was taken", text)
		}
	}
	r, err := newAddressRange(netip.MustParsePrefix("10.1.2.3/16"))
	if err != nil || r.at(0).String() != "10.1.0.2" || r.at(r.size-1).String() != "10.1.255.254" {
		t.Errorf("range %+v %v", r, err)
	}
}
