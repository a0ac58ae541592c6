// Package autoscale keeps Deployments and ReplicaSets within the bounds of their HorizontalPodAutoscalers.
//
// It owns the status of HorizontalPodAutoscalers. What pods use is measured by nobody here, so that it does what
// Kubernetes does where no metrics are served: it keeps the bounds, and says that it cannot do more. It never scales what
// Git manages.
package autoscale
