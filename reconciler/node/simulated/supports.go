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
	const noSuch, onlyAlways = "is not simulated", "only Always is simulated"
	when(spec.RestartPolicy != "" && spec.RestartPolicy != corev1.RestartPolicyAlways, "restartPolicy", onlyAlways)
	when(spec.ActiveDeadlineSeconds != nil, "activeDeadlineSeconds", noSuch)
	when(len(spec.EphemeralContainers) > 0, "ephemeralContainers", noSuch)
	container := func(at string, c *corev1.Container) {
		when(c.RestartPolicy != nil && *c.RestartPolicy != corev1.ContainerRestartPolicyAlways, at+".restartPolicy", onlyAlways)
		when(len(c.RestartPolicyRules) > 0, at+".restartPolicyRules", noSuch)
	}
	for i := range spec.InitContainers {
		container(fmt.Sprintf("initContainers[%d]", i), &spec.InitContainers[i])
	}
	for i := range spec.Containers {
		container(fmt.Sprintf("containers[%d]", i), &spec.Containers[i])
	}
	return found
}
