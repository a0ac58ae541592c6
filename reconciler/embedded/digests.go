package embedded

import (
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/belay-dev/belay/state"
)

// digests are what the images of a Deployment's containers are on the available pods of a ReplicaSet, in their order; nil
// when no pod tells.
func digests(view state.Reading, d *appsv1.Deployment, sets []*appsv1.ReplicaSet, set string) []string {
	containers := d.Spec.Template.Spec.Containers
	out, known := make([]string, len(containers)), false
	for _, rs := range sets {
		if rs.Name != set {
			continue
		}
		for _, pod := range state.OwnedBy[*corev1.Pod](view, rs.UID) {
			for i, c := range containers {
				if id := imageID(pod, c.Name); out[i] == "" && id != "" {
					out[i], known = id, true
				}
			}
		}
	}
	if !known {
		return nil
	}
	return out
}

// imageID is what a pod says that the image of a container is; empty: it does not say, or runs nothing.
func imageID(pod *corev1.Pod, container string) string {
	for _, s := range pod.Status.ContainerStatuses {
		if s.Name == container && s.State.Running != nil && strings.Contains(s.ImageID, "sha256:") {
			return s.ImageID
		}
	}
	return ""
}
