package autoscale

import (
	"fmt"
	"slices"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Reason says what is decided about an autoscaler: the words of Kubernetes' controller.
type Reason string

// The reasons of a plan.
const (
	TargetMissing   Reason = "FailedGetScale"                   // there is nothing to scale
	ScalingDisabled Reason = "ScalingDisabled"                  // the target is at 0: somebody switched it off
	AboveMax        Reason = "AboveMax"                         // scaled down to the bound
	BelowMin        Reason = "BelowMin"                         // scaled up to the bound
	TargetManaged   Reason = "FailedUpdateScale"                // out of bounds, and Git's to scale
	NoMetrics       Reason = "FailedGetResourceMetric"          // within the bounds; nothing measures more
	NoPodMetrics    Reason = "FailedGetPodsMetric"              // as NoMetrics, for metrics of pods
	NoObjectMetrics Reason = "FailedGetObjectMetric"            // as NoMetrics, for metrics of an object
	NoOuterMetrics  Reason = "FailedGetExternalMetric"          // as NoMetrics, for metrics from elsewhere
	NoPartMetrics   Reason = "FailedGetContainerResourceMetric" // as NoMetrics, for those of one container
)

// Target is what an autoscaler scales.
type Target struct {
	// Problem says why there is none; empty: there is.
	Problem  string
	Replicas int32
	// Managed says that Git has the target.
	Managed bool
}

// Event is one to be told about the autoscaler.
type Event struct{ Type, Reason, Message string }

// Result is what becomes of an autoscaler and its target.
type Result struct {
	Reason Reason
	// Scale is the number of replicas that the target is to have; nil: it keeps its own.
	Scale  *int32
	Status autoscalingv2.HorizontalPodAutoscalerStatus
	Events []Event
}

// Plan decides as Kubernetes' controller does where no metrics are served. The status has new times only where something
// changed, and an Event is told when what it tells is new. The autoscaler is not modified.
func Plan(hpa *autoscalingv2.HorizontalPodAutoscaler, target Target, now time.Time) Result {
	p := &plan{before: hpa.Status.Conditions, now: metav1.NewTime(now)}
	p.status = *hpa.Status.DeepCopy()
	if target.Problem != "" {
		p.fail(autoscalingv2.AbleToScale, TargetMissing, "the HPA controller was unable to get the target's current scale: "+target.Problem, target.Problem)
		return p.end(TargetMissing)
	}
	p.set(autoscalingv2.AbleToScale, corev1.ConditionTrue, "SucceededGetScale", "the HPA controller was able to get the target's current scale")
	p.status.CurrentReplicas = target.Replicas
	least := int32(1)
	if hpa.Spec.MinReplicas != nil {
		least = *hpa.Spec.MinReplicas
	}
	switch {
	case target.Replicas == 0 && least != 0:
		p.set(autoscalingv2.ScalingActive, corev1.ConditionFalse, string(ScalingDisabled), "scaling is disabled since the replica count of the target is zero")
		p.status.DesiredReplicas = 0
		return p.end(ScalingDisabled)
	case target.Replicas > hpa.Spec.MaxReplicas:
		return p.scale(target, hpa.Spec.MaxReplicas, AboveMax, "Current number of replicas above Spec.MaxReplicas")
	case target.Replicas < least:
		return p.scale(target, least, BelowMin, "Current number of replicas below Spec.MinReplicas")
	}
	return p.measure(hpa.Spec.Metrics)
}

type plan struct {
	before []autoscalingv2.HorizontalPodAutoscalerCondition
	status autoscalingv2.HorizontalPodAutoscalerStatus
	events []Event
	now    metav1.Time
	asked  *int32
}

// end gives conditions the times that they had if they are what they were before, whatever was set in between.
func (p *plan) end(r Reason) Result {
	for i := range p.status.Conditions {
		c := &p.status.Conditions[i]
		for _, old := range p.before {
			if old.Type == c.Type && old.Status == c.Status {
				c.LastTransitionTime = old.LastTransitionTime
			}
		}
	}
	return Result{Reason: r, Scale: p.asked, Status: p.status, Events: p.events}
}

// set puts a condition in its place, or at the end.
func (p *plan) set(kind autoscalingv2.HorizontalPodAutoscalerConditionType, status corev1.ConditionStatus, reason, message string) {
	i := slices.IndexFunc(p.status.Conditions, func(c autoscalingv2.HorizontalPodAutoscalerCondition) bool { return c.Type == kind })
	if i < 0 {
		i = len(p.status.Conditions)
		p.status.Conditions = append(p.status.Conditions, autoscalingv2.HorizontalPodAutoscalerCondition{Type: kind})
	}
	c := &p.status.Conditions[i]
	if c.Status != status {
		c.LastTransitionTime = p.now
	}
	c.Status, c.Reason, c.Message = status, reason, message
}

// fail sets a condition to false, and tells why when it was not so before.
func (p *plan) fail(kind autoscalingv2.HorizontalPodAutoscalerConditionType, reason Reason, message, event string) {
	p.set(kind, corev1.ConditionFalse, string(reason), message)
	if !slices.ContainsFunc(p.before, func(c autoscalingv2.HorizontalPodAutoscalerCondition) bool {
		return c.Type == kind && c.Reason == string(reason) && c.Message == message
	}) {
		p.events = append(p.events, Event{corev1.EventTypeWarning, string(reason), event})
	}
}

func (p *plan) scale(target Target, to int32, reason Reason, words string) Result {
	if target.Managed {
		const why = "the target is managed by git, which says how many replicas it has"
		p.fail(autoscalingv2.AbleToScale, TargetManaged, "the HPA controller was unable to update the target scale: "+why,
			fmt.Sprintf("New size: %d; reason: %s; error: %s", to, words, why))
		return p.end(TargetManaged)
	}
	p.asked = &to
	p.status.DesiredReplicas, p.status.LastScaleTime = to, &p.now
	p.set(autoscalingv2.AbleToScale, corev1.ConditionTrue, "SucceededRescale", fmt.Sprintf("the HPA controller was able to update the target scale to %d", to))
	p.events = append(p.events, Event{corev1.EventTypeNormal, "SuccessfulRescale", fmt.Sprintf("New size: %d; reason: %s", to, words)})
	return p.end(reason)
}

// The words of a client for APIs that nobody serves.
const (
	noResourceMetrics = "unable to fetch metrics from resource metrics API: the server could not find the requested resource (get pods.metrics.k8s.io)"
	noCustomMetrics   = "unable to fetch metrics from custom metrics API: no custom metrics API (custom.metrics.k8s.io) registered"
	noExternalMetrics = "unable to fetch metrics from external metrics API: no external metrics API (external.metrics.k8s.io) registered"
)

// measure says that the first metric cannot be had, as it is with all.
func (p *plan) measure(metrics []autoscalingv2.MetricSpec) Result {
	reason, name, problem := NoMetrics, "cpu resource", "no metrics are asked for"
	if len(metrics) > 0 {
		reason, name, problem = missing(metrics[0])
	}
	p.fail(autoscalingv2.ScalingActive, reason, "the HPA was unable to compute the replica count: "+problem, problem)
	if n := len(p.events); n > 0 {
		p.events = append(p.events, Event{corev1.EventTypeWarning, "FailedComputeMetricsReplicas", fmt.Sprintf(
			"invalid metrics (%d invalid out of %d), first error is: failed to get %s metric value: %s", len(metrics), len(metrics), name, problem)})
	}
	return p.end(reason)
}

func missing(m autoscalingv2.MetricSpec) (reason Reason, name, problem string) {
	switch {
	case m.Resource != nil:
		what := "utilization"
		if m.Resource.Target.Type == autoscalingv2.AverageValueMetricType {
			what = "usage"
		}
		r := m.Resource.Name
		return NoMetrics, fmt.Sprintf("%s resource", r), fmt.Sprintf("failed to get %s %s: unable to get metrics for resource %s: %s", r, what, r, noResourceMetrics)
	case m.ContainerResource != nil:
		r := m.ContainerResource.Name
		return NoPartMetrics, fmt.Sprintf("%s container resource", r), fmt.Sprintf("failed to get %s utilization: unable to get metrics for resource %s: %s", r, r, noResourceMetrics)
	case m.Object != nil:
		return NoObjectMetrics, "object", fmt.Sprintf("unable to get metric %s: %s", m.Object.Metric.Name, noCustomMetrics)
	case m.External != nil:
		return NoOuterMetrics, "external", fmt.Sprintf("unable to get external metric %s: %s", m.External.Metric.Name, noExternalMetrics)
	case m.Pods != nil:
		return NoPodMetrics, "pods", fmt.Sprintf("unable to get metric %s: %s", m.Pods.Metric.Name, noCustomMetrics)
	}
	return NoMetrics, "unknown", "a metric without a source"
}
