package reconciler

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/belay-dev/belay/reconciler/engine"
	"github.com/belay-dev/belay/state"
)

// Names reports whether a pod uses the ConfigMap or Secret of that name: in a volume, an environment or a pull
// secret.
func Names(pod *corev1.PodSpec, kind state.Kind, name string) bool {
	return slices.Contains(engine.ConfigKeys("", pod), engine.Key{Kind: kind, Name: name})
}
