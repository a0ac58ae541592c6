package api

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/belay-dev/belay/state"
)

func checkEndpoints(t *testing.T, s *served) {
	ctx, client := t.Context(), s.as(t, RoleEdit)
	slices := client.DiscoveryV1().EndpointSlices("default")
	port := int32(80)
	slice, err := slices.Create(ctx, &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{GenerateName: "db-", Labels: map[string]string{discoveryv1.LabelServiceName: "db"}},
		AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Port: &port}},
		Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"192.0.2.7"}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(slice.Name, "db-") || slice.Generation != 1 || *slice.Ports[0].Protocol != corev1.ProtocolTCP {
		t.Errorf("made as %v", slice)
	}
	patch := func(data string) (*discoveryv1.EndpointSlice, error) {
		return slices.Patch(ctx, slice.Name, types.MergePatchType, []byte(data), metav1.PatchOptions{})
	}
	for _, c := range []struct {
		patch string
		want  int64
	}{{`{"metadata":{"annotations":{"a":"b"}}}`, 1}, {`{"metadata":{"labels":{"a":"b"}}}`, 2}, {`{"ports":[{"port":81}]}`, 3}} {
		after, err := patch(c.patch)
		if err != nil {
			t.Fatal(err)
		}
		if stored, _ := state.Get[*discoveryv1.EndpointSlice](s.store, "default", slice.Name); after.Generation != c.want || stored.Generation != c.want {
			t.Errorf("generation %d, stored %d, after %s; want %d", after.Generation, stored.Generation, c.patch, c.want)
		}
	}
	if _, err := patch(`{"addressType":"IPv6"}`); !apierrors.IsInvalid(err) {
		t.Errorf("its type of addresses changed: %v", err)
	}
	if _, err := slices.Create(ctx, &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Name: "bad"}}, metav1.CreateOptions{}); !apierrors.IsInvalid(err) {
		t.Errorf("made without a type of addresses: %v", err)
	}

	endpoints := client.CoreV1().Endpoints("default")
	all := &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Name: "db"}, Subsets: []corev1.EndpointSubset{{
		Addresses: []corev1.EndpointAddress{{IP: "192.0.2.7"}}, Ports: []corev1.EndpointPort{{Port: 80}}}}}
	if _, err := endpoints.Create(ctx, all, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	all.Subsets[0].Addresses[0].IP = "no address"
	if _, err := endpoints.Update(ctx, all, metav1.UpdateOptions{}); !apierrors.IsInvalid(err) {
		t.Errorf("an address that is none: %v", err)
	}
	if list, err := s.as(t, RoleView).CoreV1().Endpoints("").List(ctx, metav1.ListOptions{}); err != nil || len(list.Items) != 1 {
		t.Errorf("listed %v, %v", list.Items, err)
	}
}
