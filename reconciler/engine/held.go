package engine

import (
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ConditionHeld is the condition of a Deployment whose pod template is held.
const ConditionHeld appsv1.DeploymentConditionType = "Held"

// Held is what the condition of a held Deployment says. The zero value says that it is not held: no condition.
type Held struct {
	Reason  string
	Message string
	Since   time.Time
}

// set puts the condition into a status, or takes it out. A condition that says the same already stays as it is.
func (h Held) set(status *appsv1.DeploymentStatus) {
	i := slices.IndexFunc(status.Conditions, func(c appsv1.DeploymentCondition) bool { return c.Type == ConditionHeld })
	switch {
	case i >= 0 && status.Conditions[i].Reason == h.Reason && status.Conditions[i].Message == h.Message:
		return
	case i >= 0:
		status.Conditions = slices.Delete(status.Conditions, i, i+1)
	}
	if h.Reason == "" {
		return
	}
	since := metav1.NewTime(h.Since.Truncate(time.Second))
	status.Conditions = append(status.Conditions, appsv1.DeploymentCondition{
		Type: ConditionHeld, Status: corev1.ConditionTrue, Reason: h.Reason, Message: h.Message, LastUpdateTime: since, LastTransitionTime: since,
	})
}
