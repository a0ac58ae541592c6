package scenario

import (
	"fmt"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

const deploymentName = "web"

// newTemplate is a pod template with Kubernetes' defaults written out.
func newTemplate(image string) corev1.PodTemplateSpec {
	grace := int64(corev1.DefaultTerminationGracePeriodSeconds)
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": deploymentName}},
		Spec: corev1.PodSpec{
			Containers: []corev1.Container{{
				Name: "c", Image: image, ImagePullPolicy: corev1.PullIfNotPresent,
				TerminationMessagePath:   corev1.TerminationMessagePathDefault,
				TerminationMessagePolicy: corev1.TerminationMessageReadFile,
			}},
			RestartPolicy:                 corev1.RestartPolicyAlways,
			DNSPolicy:                     corev1.DNSClusterFirst,
			TerminationGracePeriodSeconds: &grace,
			SecurityContext:               &corev1.PodSecurityContext{},
			SchedulerName:                 corev1.DefaultSchedulerName,
		},
	}
}

// newDeployment has Kubernetes' defaults and image A.
func newDeployment() *appsv1.Deployment {
	replicas, history, deadline := int32(1), int32(10), int32(600)
	surge, unavailable := intstr.FromString("25%"), intstr.FromString("25%")
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: deploymentName, Namespace: namespace},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": deploymentName}},
			Template: newTemplate("A"),
			Strategy: appsv1.DeploymentStrategy{
				Type:          appsv1.RollingUpdateDeploymentStrategyType,
				RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &surge, MaxUnavailable: &unavailable},
			},
			RevisionHistoryLimit:    &history,
			ProgressDeadlineSeconds: &deadline,
		},
	}
}

// setFields edits a Deployment as `key=value` words say: image, replicas, surge, unavailable, strategy, deadline,
// minready, history, paused, cpu (a resource limit), cause (change-cause).
func setFields(d *appsv1.Deployment, words []string) error {
	for _, word := range words {
		key, value, _ := strings.Cut(word, "=")
		if err := setField(d, key, value); err != nil {
			return fmt.Errorf("%s: %w", word, err)
		}
	}
	return nil
}

func setField(d *appsv1.Deployment, key, value string) error {
	number := func() *int32 {
		n, _ := strconv.ParseInt(value, 10, 32)
		v := int32(n)
		return &v
	}
	switch key {
	case "image":
		d.Spec.Template.Spec.Containers[0].Image = value
	case "replicas":
		d.Spec.Replicas = number()
	case "surge", "unavailable":
		setBound(d, key, value)
	case "strategy":
		d.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.DeploymentStrategyType(value)}
		if d.Spec.Strategy.Type == appsv1.RollingUpdateDeploymentStrategyType {
			d.Spec.Strategy = newDeployment().Spec.Strategy
		}
	case "deadline":
		d.Spec.ProgressDeadlineSeconds = number()
	case "minready":
		d.Spec.MinReadySeconds = *number()
	case "history":
		d.Spec.RevisionHistoryLimit = number()
	case "paused":
		d.Spec.Paused = value == "true"
	case "env":
		d.Spec.Template.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "X", Value: value}}
	case "restartedAt":
		setAnnotation(&d.Spec.Template.ObjectMeta, "kubectl.kubernetes.io/restartedAt", value)
	case "cause":
		setAnnotation(&d.ObjectMeta, changeCause, value)
	default:
		return fmt.Errorf("no such field")
	}
	return nil
}

// setBound sets one bound of a rolling update and leaves the other as it is.
func setBound(d *appsv1.Deployment, key, value string) {
	if d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		return // Recreate has none
	}
	v := intstr.Parse(value)
	r := &appsv1.RollingUpdateDeployment{}
	if d.Spec.Strategy.RollingUpdate != nil {
		*r = *d.Spec.Strategy.RollingUpdate
	}
	if key == "surge" {
		r.MaxSurge = &v
	} else {
		r.MaxUnavailable = &v
	}
	d.Spec.Strategy.RollingUpdate = r
}

const changeCause = "kubernetes.io/change-cause"

// setAnnotation sets, or with an empty value removes, an annotation.
func setAnnotation(meta *metav1.ObjectMeta, key, value string) {
	if value == "" {
		delete(meta.Annotations, key)
		return
	}
	if meta.Annotations == nil {
		meta.Annotations = map[string]string{}
	}
	meta.Annotations[key] = value
}
