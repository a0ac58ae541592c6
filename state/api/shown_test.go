package api

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// TestServiceAccounts: there is one in each namespace, as long as that is there, and nobody makes another.
func TestServiceAccounts(t *testing.T) {
	t.Parallel()
	s := serve(t)
	client := s.as(t, RoleEdit)
	ctx := t.Context()
	began, err := client.CoreV1().ServiceAccounts("").List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got := namesOfAccounts(began.Items); got != "default/default " {
		t.Errorf("at first there are %q", got)
	}
	changes, err := client.CoreV1().ServiceAccounts("").Watch(ctx, metav1.ListOptions{ResourceVersion: began.ResourceVersion})
	if err != nil {
		t.Fatal(err)
	}
	defer changes.Stop()
	// In paths "shop" comes after "shop-2", in the order of names before it.
	for _, name := range []string{"shop", "shop-2"} {
		if _, err := client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		e := <-changes.ResultChan()
		if a, ok := e.Object.(*corev1.ServiceAccount); !ok || e.Type != watch.Added || a.Namespace != name || a.Name != "default" {
			t.Fatalf("%s tells of %s %v", name, e.Type, e.Object)
		}
	}
	var pages string
	for o := (metav1.ListOptions{Limit: 1}); ; {
		page, err := client.CoreV1().ServiceAccounts("").List(ctx, o)
		if err != nil {
			t.Fatal(err)
		}
		pages += namesOfAccounts(page.Items)
		if o.Continue = page.Continue; o.Continue == "" {
			break
		}
	}
	if want := "default/default shop/default shop-2/default "; pages != want {
		t.Errorf("page by page there are %q, want %q", pages, want)
	}
	one, err := client.CoreV1().ServiceAccounts("shop").Get(ctx, "default", metav1.GetOptions{})
	if err != nil || one.UID == "" || one.UID == began.Items[0].UID || one.CreationTimestamp.IsZero() {
		t.Errorf("shop's is %v, %v", one, err)
	}
	for _, name := range []struct{ namespace, name string }{{"shop", "other"}, {"nowhere", "default"}} {
		if _, err := client.CoreV1().ServiceAccounts(name.namespace).Get(ctx, name.name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			t.Errorf("%v: %v", name, err)
		}
	}
	list, err := client.CoreV1().ServiceAccounts("shop").List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=other"})
	if err != nil || len(list.Items) != 0 {
		t.Errorf("others in shop: %v, %v", list, err)
	}
	other := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "other"}}
	if _, err := client.CoreV1().ServiceAccounts("shop").Create(ctx, other, metav1.CreateOptions{}); !apierrors.IsMethodNotSupported(err) {
		t.Errorf("made: %v", err)
	}
	if err := client.CoreV1().ServiceAccounts("shop").Delete(ctx, "default", metav1.DeleteOptions{}); !apierrors.IsMethodNotSupported(err) {
		t.Errorf("deleted: %v", err)
	}
}

func namesOfAccounts(all []corev1.ServiceAccount) string {
	var names string
	for _, a := range all {
		names += a.Namespace + "/" + a.Name + " "
	}
	return names
}

// TestNode: it is shown as it is given, ready, and can only be read.
func TestNode(t *testing.T) {
	t.Parallel()
	s := serve(t)
	client := s.as(t, RoleView)
	ctx := t.Context()
	list, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: "kubernetes.io/os=linux", Limit: 1})
	if err != nil || len(list.Items) != 1 || list.Continue != "" {
		t.Fatalf("%v, %v", list, err)
	}
	n := list.Items[0]
	if n.Name != "belay" || n.UID == "" || n.Status.NodeInfo.KubeletVersion != "v1.36.3+belay" || n.Status.Allocatable.Cpu().Value() != 2 ||
		len(n.Status.Conditions) != 1 || n.Status.Conditions[0].Status != corev1.ConditionTrue || n.Status.Conditions[0].LastHeartbeatTime.IsZero() {
		t.Errorf("the node is %v", n)
	}
	if again, err := client.CoreV1().Nodes().Get(ctx, "belay", metav1.GetOptions{}); err != nil || again.UID != n.UID || again.ResourceVersion != n.ResourceVersion {
		t.Errorf("later it is %v, %v", again, err)
	}
	if _, err := client.CoreV1().Nodes().Get(ctx, "default", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("another: %v", err)
	}
	if none, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: "kubernetes.io/os=plan9"}); err != nil || len(none.Items) != 0 {
		t.Errorf("of another system: %v, %v", none, err)
	}
	yes := true
	changes, err := client.CoreV1().Nodes().Watch(ctx, metav1.ListOptions{
		SendInitialEvents: &yes, ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan, AllowWatchBookmarks: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer changes.Stop()
	for _, want := range []watch.EventType{watch.Added, watch.Bookmark} {
		if e := <-changes.ResultChan(); e.Type != want {
			t.Errorf("the watch tells of %s, want %s", e.Type, want)
		}
	}
	if err := s.as(t, RoleEdit).CoreV1().Nodes().Delete(ctx, "belay", metav1.DeleteOptions{}); !apierrors.IsMethodNotSupported(err) {
		t.Errorf("deleted: %v", err)
	}
}

// TestLease: the node has one, where clients look for it, and nobody makes another.
func TestLease(t *testing.T) {
	t.Parallel()
	client := serve(t).as(t, RoleEdit)
	ctx := t.Context()
	node, err := client.CoreV1().Nodes().Get(ctx, "belay", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	leases := client.CoordinationV1().Leases(corev1.NamespaceNodeLease)
	l, err := leases.Get(ctx, "belay", metav1.GetOptions{})
	if err != nil || l.Namespace != corev1.NamespaceNodeLease || *l.Spec.HolderIdentity != "belay" || l.Spec.RenewTime.IsZero() ||
		l.UID == node.UID || len(l.OwnerReferences) != 1 || l.OwnerReferences[0].UID != node.UID {
		t.Errorf("%v, %v", l, err)
	}
	for namespace, want := range map[string]int{"": 1, corev1.NamespaceNodeLease: 1, "default": 0} {
		list, err := client.CoordinationV1().Leases(namespace).List(ctx, metav1.ListOptions{Limit: 1})
		if err != nil || len(list.Items) != want || list.Continue != "" {
			t.Errorf("in %q: %v, %v", namespace, list, err)
		}
	}
	changes, err := leases.Watch(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer changes.Stop()
	if e := <-changes.ResultChan(); e.Type != watch.Added {
		t.Errorf("the watch tells of %v", e)
	}
	if _, err := client.CoordinationV1().Leases("default").Get(ctx, "belay", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("elsewhere: %v", err)
	}
	if err := leases.Delete(ctx, "belay", metav1.DeleteOptions{}); !apierrors.IsMethodNotSupported(err) {
		t.Errorf("deleted: %v", err)
	}
}
