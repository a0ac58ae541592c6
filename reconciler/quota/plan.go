package quota

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/belay-dev/belay/state"
)

// names are those under which a quota limits the number of objects of a kind.
var names = map[state.Kind][]corev1.ResourceName{
	state.KindPod:           {"pods", "count/pods"},
	state.KindService:       {"services", "count/services"},
	state.KindConfigMap:     {"configmaps", "count/configmaps"},
	state.KindSecret:        {"secrets", "count/secrets"},
	state.KindResourceQuota: {"resourcequotas", "count/resourcequotas"},
	state.KindDeployment:    {"count/deployments.apps"},
	state.KindReplicaSet:    {"count/replicasets.apps"},
}

// kindOf is the kind that a name of a quota counts.
func kindOf(name corev1.ResourceName) (state.Kind, bool) {
	for kind, all := range names {
		if slices.Contains(all, name) {
			return kind, true
		}
	}
	return "", false
}

// Plan is the status of a quota, given what is in its namespace. It tells of what is limited here: numbers of objects. A
// quota of computing resources, or one with scopes, limits nothing, and has no status. Pods that have ended count only
// as objects. The quota is not modified.
func Plan(quota *corev1.ResourceQuota, list func(state.Kind) []state.Object) corev1.ResourceQuotaStatus {
	var status corev1.ResourceQuotaStatus
	if len(quota.Spec.Scopes) > 0 || quota.Spec.ScopeSelector != nil {
		return status
	}
	for name, hard := range quota.Spec.Hard {
		kind, ok := kindOf(name)
		if !ok {
			continue
		}
		n := int64(0)
		for _, o := range list(kind) {
			if pod, ok := o.(*corev1.Pod); !ok || name != corev1.ResourcePods || !ended(pod) {
				n++
			}
		}
		if status.Hard == nil {
			status.Hard, status.Used = corev1.ResourceList{}, corev1.ResourceList{}
		}
		status.Hard[name], status.Used[name] = hard.DeepCopy(), *resource.NewQuantity(n, resource.DecimalSI)
	}
	return status
}

func ended(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}
