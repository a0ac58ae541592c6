package schema

import (
	"context"
	"fmt"
	"sort"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/api/pod"
	"k8s.io/kubernetes/pkg/api/service"
	"k8s.io/kubernetes/pkg/apis/apps"
	kappsv1 "k8s.io/kubernetes/pkg/apis/apps/v1"
	"k8s.io/kubernetes/pkg/apis/core"
	kcorev1 "k8s.io/kubernetes/pkg/apis/core/v1"
)

// Warnings are what an API server of Kubernetes says beside its consent when an
// object that Complete returned is created: kubectl prints them as "Warning:".
// The order follows the texts. The object is not changed.
func Warnings(obj Object) []Fault {
	var texts []string
	switch o := obj.(type) {
	case *appsv1.Deployment:
		internal := new(apps.Deployment)
		if err := kappsv1.Convert_v1_Deployment_To_apps_Deployment(o.DeepCopy(), internal, nil); err != nil {
			return nil // Complete has converted it before
		}
		// The text of the registry, which cannot be had without an API server.
		if msgs := validation.IsDNS1123Label(o.Name); len(msgs) > 0 {
			texts = append(texts, fmt.Sprintf("metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; "+
				"a DNS label is recommended: %v", msgs))
		}
		var unused context.Context // it asks for one, and makes no use of it
		texts = append(texts, pod.GetWarningsForPodTemplate(unused, field.NewPath("spec", "template"), &internal.Spec.Template, nil)...)
	case *corev1.Service:
		internal := new(core.Service)
		if err := kcorev1.Convert_v1_Service_To_core_Service(o.DeepCopy(), internal, nil); err != nil {
			return nil
		}
		texts = service.GetWarningsForService(internal, nil)
	}
	sort.Strings(texts) // Kubernetes ranges over maps
	var faults []Fault
	for _, text := range texts {
		f := Fault{Kind: Warned, Message: text}
		if at, rest, ok := strings.Cut(text, ": "); ok && strings.Contains(at, ".") && !strings.Contains(at, " ") {
			f.Field, f.Message = at, rest
		}
		faults = append(faults, f)
	}
	return faults
}
