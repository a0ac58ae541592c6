package schema

import (
	"fmt"
	"sort"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/api/pod"
	"k8s.io/kubernetes/pkg/apis/apps"
	kappsv1 "k8s.io/kubernetes/pkg/apis/apps/v1"
	appsvalidation "k8s.io/kubernetes/pkg/apis/apps/validation"
	"k8s.io/kubernetes/pkg/apis/core"
	kcorev1 "k8s.io/kubernetes/pkg/apis/core/v1"
	corevalidation "k8s.io/kubernetes/pkg/apis/core/validation"
)

// Complete takes a decoded object with its namespace set and returns it as an
// API server would hold it after a create: status and the metadata that only a
// server sets are dropped, defaults are filled in, deprecated aliases and
// stringData are folded, and the whole is validated. With any fault the object
// is nil. The argument must not be used afterwards.
func Complete(obj Object) (Object, []Fault) {
	dropServerFields(obj)
	var out Object
	var errs field.ErrorList
	var err error
	switch o := obj.(type) {
	case *appsv1.Deployment:
		out, errs, err = completeDeployment(o)
	case *corev1.Service:
		out, errs, err = completeService(o)
	case *corev1.ConfigMap:
		out, errs, err = completeConfigMap(o)
	case *corev1.Secret:
		out, errs, err = completeSecret(o)
	case *corev1.Namespace:
		out, errs, err = completeNamespace(o)
	default:
		err = fmt.Errorf("no defaults known for %T", obj)
	}
	if err != nil {
		return nil, []Fault{{Kind: Invalid, Message: err.Error()}}
	}
	if len(errs) > 0 {
		return nil, invalid(errs)
	}
	return out, nil
}

func dropServerFields(obj Object) {
	obj.SetUID("")
	obj.SetResourceVersion("")
	obj.SetGeneration(0)
	obj.SetSelfLink("")
	obj.SetCreationTimestamp(metav1.Time{})
	obj.SetDeletionTimestamp(nil)
	obj.SetDeletionGracePeriodSeconds(nil)
	obj.SetManagedFields(nil)
}

func completeDeployment(in *appsv1.Deployment) (Object, field.ErrorList, error) {
	kappsv1.SetObjectDefaults_Deployment(in)
	internal := new(apps.Deployment)
	if err := kappsv1.Convert_v1_Deployment_To_apps_Deployment(in, internal, nil); err != nil {
		return nil, nil, err
	}
	internal.Status = apps.DeploymentStatus{}
	pod.DropDisabledTemplateFields(&internal.Spec.Template, nil)
	options := pod.GetValidationOptionsFromPodTemplate(&internal.Spec.Template, nil)
	if errs := appsvalidation.ValidateDeployment(internal, options); len(errs) > 0 {
		return nil, errs, nil
	}
	out := new(appsv1.Deployment)
	if err := kappsv1.Convert_apps_Deployment_To_v1_Deployment(internal, out, nil); err != nil {
		return nil, nil, err
	}
	kappsv1.SetObjectDefaults_Deployment(out)
	return out, nil, nil
}

// validateFamilies refuses what the API server of a cluster refuses whose Services have IPv4 alone, when it gives addresses.
func validateFamilies(spec *corev1.ServiceSpec) field.ErrorList {
	if spec.Type == corev1.ServiceTypeExternalName || spec.ClusterIP == corev1.ClusterIPNone && len(spec.Selector) == 0 {
		return nil
	}
	var errs field.ErrorList
	if p := spec.IPFamilyPolicy; p != nil && *p == corev1.IPFamilyPolicyRequireDualStack {
		errs = append(errs, field.Invalid(field.NewPath("spec", "ipFamilyPolicy"), *p, "this cluster is not configured for dual-stack services"))
	}
	for i, family := range spec.IPFamilies {
		if family == corev1.IPv6Protocol {
			errs = append(errs, field.Invalid(field.NewPath("spec", "ipFamilies").Index(i), family, "not configured on this cluster"))
		}
	}
	return errs
}

func completeService(in *corev1.Service) (Object, field.ErrorList, error) {
	kcorev1.SetObjectDefaults_Service(in)
	if in.Spec.ClusterIP != "" && len(in.Spec.ClusterIPs) == 0 {
		in.Spec.ClusterIPs = []string{in.Spec.ClusterIP} // as the API server does before it looks: manifests name the one
	}
	internal := new(core.Service)
	if err := kcorev1.Convert_v1_Service_To_core_Service(in, internal, nil); err != nil {
		return nil, nil, err
	}
	internal.Status = core.ServiceStatus{}
	errs := append(corevalidation.ValidateServiceCreate(internal), validateFamilies(&in.Spec)...)
	if in.Namespace == metav1.NamespaceDefault && in.Name == "kubernetes" {
		errs = append(errs, field.Forbidden(field.NewPath("metadata", "name"), "it is the Service of the Kubernetes API itself"))
	}
	if len(errs) > 0 {
		return nil, errs, nil
	}
	out := new(corev1.Service)
	if err := kcorev1.Convert_core_Service_To_v1_Service(internal, out, nil); err != nil {
		return nil, nil, err
	}
	kcorev1.SetObjectDefaults_Service(out)
	return out, nil, nil
}

func completeConfigMap(in *corev1.ConfigMap) (Object, field.ErrorList, error) {
	kcorev1.SetObjectDefaults_ConfigMap(in)
	internal := new(core.ConfigMap)
	if err := kcorev1.Convert_v1_ConfigMap_To_core_ConfigMap(in, internal, nil); err != nil {
		return nil, nil, err
	}
	return in, corevalidation.ValidateConfigMap(internal), nil
}

func completeSecret(in *corev1.Secret) (Object, field.ErrorList, error) {
	kcorev1.SetObjectDefaults_Secret(in)
	internal := new(core.Secret)
	if err := kcorev1.Convert_v1_Secret_To_core_Secret(in, internal, nil); err != nil {
		return nil, nil, err
	}
	if errs := corevalidation.ValidateSecret(internal); len(errs) > 0 {
		return nil, errs, nil
	}
	out := new(corev1.Secret)
	if err := kcorev1.Convert_core_Secret_To_v1_Secret(internal, out, nil); err != nil {
		return nil, nil, err
	}
	return out, nil, nil
}

func completeNamespace(in *corev1.Namespace) (Object, field.ErrorList, error) {
	in.Status = corev1.NamespaceStatus{}
	kcorev1.SetObjectDefaults_Namespace(in)
	internal := new(core.Namespace)
	if err := kcorev1.Convert_v1_Namespace_To_core_Namespace(in, internal, nil); err != nil {
		return nil, nil, err
	}
	return in, corevalidation.ValidateNamespace(internal), nil
}

// ValidateUpdate tells whether an object may become another one of the same
// kind, namespace and name: the checks that Kubernetes makes against the stored
// object, such as a Deployment's immutable selector. Neither argument is
// changed. Kinds without such a check pass.
func ValidateUpdate(next, prev Object) []Fault {
	var errs field.ErrorList
	switch n := next.(type) {
	case *appsv1.Deployment:
		p, ok := prev.(*appsv1.Deployment)
		if !ok {
			return nil
		}
		nextInternal, prevInternal := new(apps.Deployment), new(apps.Deployment)
		if err := convertBoth(
			kappsv1.Convert_v1_Deployment_To_apps_Deployment(n.DeepCopy(), nextInternal, nil),
			kappsv1.Convert_v1_Deployment_To_apps_Deployment(p.DeepCopy(), prevInternal, nil)); err != nil {
			return []Fault{{Kind: Invalid, Message: err.Error()}}
		}
		keepServerFields(nextInternal, prevInternal)
		nextInternal.Status = prevInternal.Status
		options := pod.GetValidationOptionsFromPodTemplate(&nextInternal.Spec.Template, &prevInternal.Spec.Template)
		errs = appsvalidation.ValidateDeploymentUpdate(nextInternal, prevInternal, options)
	case *corev1.ConfigMap:
		p, ok := prev.(*corev1.ConfigMap)
		if !ok {
			return nil
		}
		nextInternal, prevInternal := new(core.ConfigMap), new(core.ConfigMap)
		if err := convertBoth(
			kcorev1.Convert_v1_ConfigMap_To_core_ConfigMap(n.DeepCopy(), nextInternal, nil),
			kcorev1.Convert_v1_ConfigMap_To_core_ConfigMap(p.DeepCopy(), prevInternal, nil)); err != nil {
			return []Fault{{Kind: Invalid, Message: err.Error()}}
		}
		keepServerFields(nextInternal, prevInternal)
		errs = corevalidation.ValidateConfigMapUpdate(nextInternal, prevInternal)
	case *corev1.Secret:
		p, ok := prev.(*corev1.Secret)
		if !ok {
			return nil
		}
		nextInternal, prevInternal := new(core.Secret), new(core.Secret)
		if err := convertBoth(
			kcorev1.Convert_v1_Secret_To_core_Secret(n.DeepCopy(), nextInternal, nil),
			kcorev1.Convert_v1_Secret_To_core_Secret(p.DeepCopy(), prevInternal, nil)); err != nil {
			return []Fault{{Kind: Invalid, Message: err.Error()}}
		}
		keepServerFields(nextInternal, prevInternal)
		errs = corevalidation.ValidateSecretUpdate(nextInternal, prevInternal)
	}
	return invalid(errs)
}

func convertBoth(next, prev error) error {
	if next != nil {
		return next
	}
	return prev
}

// keepServerFields gives the new object what a server would have kept from the
// stored one, so that only the manifest's own changes are judged.
func keepServerFields(next, prev metav1.Object) {
	version := prev.GetResourceVersion()
	if version == "" {
		version = "1"
	}
	next.SetResourceVersion(version)
	prev.SetResourceVersion(version)
	next.SetUID(prev.GetUID())
	next.SetGeneration(prev.GetGeneration())
	next.SetCreationTimestamp(prev.GetCreationTimestamp())
	next.SetDeletionTimestamp(prev.GetDeletionTimestamp())
	next.SetDeletionGracePeriodSeconds(prev.GetDeletionGracePeriodSeconds())
}

// invalid keeps Kubernetes' order, except that neighbours which differ in the
// key of one map only are sorted (Kubernetes ranges over maps), and drops
// repetitions.
func invalid(errs field.ErrorList) []Fault {
	var faults []Fault
	seen := map[Fault]bool{}
	for _, e := range errs {
		f := Fault{Kind: Invalid, Field: e.Field, Message: e.ErrorBody()}
		if e.Detail == "field is immutable" {
			f.Kind = Immutable
		}
		if !seen[f] {
			seen[f] = true
			faults = append(faults, f)
		}
	}
	for start := 0; start < len(faults); {
		end := start + 1
		for end < len(faults) && parent(faults[end].Field) == parent(faults[start].Field) {
			end++
		}
		run := faults[start:end]
		sort.Slice(run, func(i, j int) bool {
			if run[i].Field != run[j].Field {
				return run[i].Field < run[j].Field
			}
			return run[i].Message < run[j].Message
		})
		start = end
	}
	return faults
}

// parent cuts the map key or index off the end of a path.
func parent(path string) string {
	if strings.HasSuffix(path, "]") {
		return path[:strings.LastIndexByte(path, '[')]
	}
	return path
}
