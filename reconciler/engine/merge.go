package engine

import (
	"bytes"
	"maps"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"

	"github.com/belay-dev/belay/state"
)

// Annotations that Belay writes on a Deployment together with a template, and ChangeCause, which kubectl shows.
const (
	AnnotationCommit      = "belay.dev/commit"
	AnnotationAuthor      = "belay.dev/author"
	AnnotationCommittedAt = "belay.dev/committed-at" // RFC 3339, UTC
	ChangeCause           = "kubernetes.io/change-cause"
)

// Local reports whether an annotation of a live Deployment belongs to what runs and not to the manifest: it
// stays when the rest of the manifest is applied.
func Local(key string) bool {
	switch key {
	case ChangeCause, AnnotationCommit, AnnotationAuthor, AnnotationCommittedAt,
		"kubectl.kubernetes.io/last-applied-configuration", "deprecated.deployment.rollback.to":
		return true
	}
	return strings.HasPrefix(key, "deployment.kubernetes.io/")
}

// handed reports whether an annotation travels with a template that is handed to the rollout.
func handed(key string) bool {
	switch key {
	case ChangeCause, AnnotationCommit, AnnotationAuthor, AnnotationCommittedAt:
		return true
	}
	return false
}

// Merge returns the object that a change leaves behind: a new object, the inputs are never modified. What
// Kubernetes or a controller owns of the live object is kept: status, finalizers, owner references, the fields of
// a Service that the API server fills, and a Deployment's local annotations.
func Merge(live state.Object, c Change) state.Object {
	want := c.Desired.DeepCopyObject().(state.Object)
	if live == nil {
		return want
	}
	want.SetResourceVersion(live.GetResourceVersion())
	want.SetUID(live.GetUID())
	want.SetCreationTimestamp(live.GetCreationTimestamp())
	want.SetGeneration(live.GetGeneration())
	want.SetFinalizers(live.GetFinalizers())
	want.SetOwnerReferences(live.GetOwnerReferences())
	want.SetManagedFields(live.GetManagedFields())
	want.SetDeletionTimestamp(live.GetDeletionTimestamp())
	want.SetDeletionGracePeriodSeconds(live.GetDeletionGracePeriodSeconds())
	switch w := want.(type) {
	case *appsv1.Deployment:
		if l, ok := live.(*appsv1.Deployment); ok {
			mergeDeployment(l, w, c)
		}
	case *corev1.Service:
		if l, ok := live.(*corev1.Service); ok {
			mergeService(l, w)
		}
	case *corev1.Namespace:
		if l, ok := live.(*corev1.Namespace); ok {
			w.Spec, w.Status = *l.Spec.DeepCopy(), *l.Status.DeepCopy()
			w.Labels = union(l.Labels, w.Labels)
		}
	}
	return want
}

func mergeDeployment(live, want *appsv1.Deployment, c Change) {
	want.Status = *live.Status.DeepCopy()
	if c.Held != nil {
		c.Held.set(&want.Status)
	}
	if c.KeepReplicas {
		want.Spec.Replicas = new(*live.Spec.Replicas)
	}
	kept := map[string]string{}
	for k, v := range live.Annotations {
		if Local(k) && (!c.Template || !handed(k)) {
			kept[k] = v
		}
	}
	if !c.Template {
		want.Spec.Template = *live.Spec.Template.DeepCopy()
		delete(want.Annotations, ChangeCause)
	}
	want.Annotations = union(want.Annotations, kept)
	for k, v := range c.Notes {
		if v == "" {
			delete(want.Annotations, k)
		} else {
			want.Annotations = union(want.Annotations, map[string]string{k: v})
		}
	}
}

func mergeService(live, want *corev1.Service) {
	want.Status = *live.Status.DeepCopy()
	if want.Spec.ClusterIP == "" {
		want.Spec.ClusterIP = live.Spec.ClusterIP
		want.Spec.ClusterIPs = append([]string(nil), live.Spec.ClusterIPs...)
	}
	if len(want.Spec.IPFamilies) == 0 {
		want.Spec.IPFamilies = append([]corev1.IPFamily(nil), live.Spec.IPFamilies...)
	}
	if want.Spec.IPFamilyPolicy == nil {
		want.Spec.IPFamilyPolicy = live.Spec.IPFamilyPolicy
	}
	for i := range want.Spec.Ports {
		p := &want.Spec.Ports[i]
		for _, l := range live.Spec.Ports {
			if p.NodePort == 0 && p.Port == l.Port && p.Protocol == l.Protocol && want.Spec.Type == live.Spec.Type {
				p.NodePort = l.NodePort
			}
		}
	}
}

// union returns a with b's entries over it; nil when both are empty.
func union(a, b map[string]string) map[string]string {
	if len(a)+len(b) == 0 {
		return nil
	}
	out := make(map[string]string, len(a)+len(b))
	maps.Copy(out, a)
	maps.Copy(out, b)
	return out
}

// Same reports whether applying a change would leave the live object as it is.
func Same(live state.Object, c Change) bool {
	if live == nil || c.Desired == nil {
		return live == nil && c.Desired == nil
	}
	return Equal(live, Merge(live, c))
}

// Equal reports whether two objects of one kind are the same: nil and empty are, quantities compare by value and times by
// instant. Those that are written with the same bytes are found out for a tenth of what it costs otherwise.
func Equal(a, b state.Object) bool {
	type written interface {
		Size() int
		MarshalToSizedBuffer([]byte) (int, error)
	}
	x, okX := a.(written)
	y, okY := b.(written)
	if okX && okY && x.Size() == y.Size() {
		buf := make([]byte, 2*x.Size())
		first, second := buf[:len(buf)/2], buf[len(buf)/2:]
		_, errX := x.MarshalToSizedBuffer(first)
		_, errY := y.MarshalToSizedBuffer(second)
		if errX == nil && errY == nil && bytes.Equal(first, second) {
			return true
		}
	}
	return apiequality.Semantic.DeepEqual(a, b)
}
