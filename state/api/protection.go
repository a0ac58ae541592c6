package api

import (
	"context"
	"errors"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"

	"github.com/belay-dev/belay/state"
)

// protection refuses to delete namespaces that have to stay: Kubernetes' own, and those where Git manages anything.
type protection struct{ *backend }

var _ admission.ValidationInterface = protection{}

func (protection) Handles(o admission.Operation) bool { return o == admission.Delete }

func (p protection) Validate(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	resource := a.GetResource().GroupResource()
	if kept[resource].kind != state.KindNamespace || a.GetSubresource() != "" {
		return nil
	}
	if slices.Contains([]string{metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic}, a.GetName()) {
		return apierrors.NewForbidden(resource, a.GetName(), errors.New("this namespace may not be deleted"))
	}
	for _, m := range p.store.Inventory("") {
		if m.Key.Namespace == a.GetName() {
			return apierrors.NewForbidden(resource, a.GetName(), fmt.Errorf("git manages what is in it: %s, of %s", m.Key, m.File))
		}
	}
	return nil
}
