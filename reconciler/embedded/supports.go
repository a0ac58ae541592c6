package embedded

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/belay-dev/belay/reconciler/engine"
	"github.com/belay-dev/belay/reconciler/service"
	"github.com/belay-dev/belay/state"
)

// Supports lists what of an object from Git cannot be honoured: kinds that are not run, of a Deployment what the runner of its
// pods says, and of a Service what its proxy does not do.
func (e *Engine) Supports(o state.Object) []engine.Unsupported {
	if k := state.KeyOf(o).Kind; !kinds[k] {
		return []engine.Unsupported{{Field: "kind", Message: fmt.Sprintf("objects of kind %s are not run", k)}}
	}
	return Unsupported(e.pods, o)
}

// Unsupported lists what cannot be honoured of the pods that an object makes, or is, and of a Service.
func Unsupported(pods Pods, o state.Object) []engine.Unsupported {
	if s, ok := o.(*corev1.Service); ok {
		return service.Supports(s)
	}
	if pods == nil {
		return nil
	}
	at, spec := "spec.template.spec.", (*corev1.PodSpec)(nil)
	switch o := o.(type) {
	case *appsv1.Deployment:
		spec = &o.Spec.Template.Spec
	case *appsv1.ReplicaSet:
		spec = &o.Spec.Template.Spec
	case *corev1.Pod:
		at, spec = "spec.", &o.Spec
	default:
		return nil
	}
	found := pods.Supports(spec)
	for i := range found {
		found[i].Field = at + found[i].Field
	}
	return found
}
