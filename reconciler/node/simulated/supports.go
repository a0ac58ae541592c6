package simulated

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/belay-dev/belay/reconciler/engine"
)

// Supports lists the fields below a pod's spec that would give it another status on a real node than here. What only says
// how a process is run needs nothing: none is.
func (r *Runner) Supports(spec *corev1.PodSpec) []engine.Unsupported {
	var found []engine.Unsupported
	when := func(is bool, field, message string) {
		if is {
			found = append(found, engine.Unsupported{Field: field, Message: message})
		}
	}
	const noSuch = "is not simulated"
	when(spec.RestartPolicy != "" && spec.RestartPolicy != corev1.RestartPolicyAlways, "restartPolicy", "only Always is simulated")
	when(spec.ActiveDeadlineSeconds != nil, "activeDeadlineSeconds", noSuch)
	when(len(spec.SchedulingGates) > 0, "schedulingGates", noSuch)
	when(len(spec.EphemeralContainers) > 0, "ephemeralContainers", noSuch)
	for i, c := range spec.InitContainers {
		when(len(c.RestartPolicyRules) > 0, fmt.Sprintf("initContainers[%d].restartPolicyRules", i), noSuch)
	}
	for i, c := range spec.Containers {
		when(len(c.RestartPolicyRules) > 0, fmt.Sprintf("containers[%d].restartPolicyRules", i), noSuch)
	}
	return found
}
