package schema

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	apischema "k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
	kjson "sigs.k8s.io/json"
)

// Object is a pointer to one of the k8s.io/api v1 types that Belay runs.
type Object interface {
	metav1.Object
	runtime.Object
}

// FaultKind says what is wrong with an object.
type FaultKind string

// The kinds of fault, from unreadable to forbidden.
const (
	WrongType    FaultKind = "WrongType"    // a value that the field cannot hold
	UnknownField FaultKind = "UnknownField" // a field that the kind does not have; case counts
	DuplicateKey FaultKind = "DuplicateKey" // one key twice in one mapping
	Invalid      FaultKind = "Invalid"      // Kubernetes' validation refuses the value
	Immutable    FaultKind = "Immutable"    // the value may not change on an update
	Warned       FaultKind = "Warned"       // Kubernetes takes the value, with a warning
)

// Fault is one thing wrong with an object. Field is the path of the field as
// Kubernetes writes it, empty when Kubernetes names none; Message is
// Kubernetes' own text without the field before it.
type Fault struct {
	Kind    FaultKind
	Field   string
	Message string
}

// Support says what Belay can do with a kind.
type Support int

// What Belay can do with a kind.
const (
	Supported   Support = iota // one of the typed kinds
	Unsupported                // exists elsewhere: another kind of Kubernetes, or a custom resource
	Unknown                    // Kubernetes' own group, but no such kind is served in this version
)

var typed = map[apischema.GroupVersionKind]func() Object{
	appsv1.SchemeGroupVersion.WithKind("Deployment"): func() Object { return new(appsv1.Deployment) },
	corev1.SchemeGroupVersion.WithKind("Service"):    func() Object { return new(corev1.Service) },
	corev1.SchemeGroupVersion.WithKind("ConfigMap"):  func() Object { return new(corev1.ConfigMap) },
	corev1.SchemeGroupVersion.WithKind("Secret"):     func() Object { return new(corev1.Secret) },
	corev1.SchemeGroupVersion.WithKind("Namespace"):  func() Object { return new(corev1.Namespace) },
}

// groups in which the typed kinds once lived under versions that are no longer
// served.
var formerGroups = map[string]bool{"": true, "apps": true, "extensions": true}

// Lookup tells whether Belay runs a kind. A kind of Kubernetes' own groups that
// is not served (misspelt, or in a removed version) is Unknown: to take it for
// an object that Belay merely does not run would read as if the real one had
// been removed.
func Lookup(apiVersion, kind string) Support {
	gv, err := apischema.ParseGroupVersion(apiVersion)
	if err != nil {
		return Unknown
	}
	gvk := gv.WithKind(kind)
	if _, ok := typed[gvk]; ok {
		return Supported
	}
	if formerGroups[gv.Group] {
		for known := range typed {
			if known.Kind == kind {
				return Unknown
			}
		}
	}
	if scheme.Scheme.IsGroupRegistered(gv.Group) && !scheme.Scheme.Recognizes(gvk) {
		return Unknown
	}
	return Unsupported
}

// Namespaced tells whether objects of a typed kind live in a namespace.
func Namespaced(kind string) bool { return kind != "Namespace" }

// NoMatch is Kubernetes' text for a kind that is not served.
func NoMatch(apiVersion, kind string) string {
	return fmt.Sprintf("no matches for kind %q in version %q", kind, apiVersion)
}

// Decode reads the JSON of one object of a Supported kind. Field names are
// matched with their case; unknown fields and keys given twice are faults. With
// any fault the object is nil. The object's TypeMeta is left empty.
func Decode(apiVersion, kind string, data []byte) (Object, []Fault) {
	gv, err := apischema.ParseGroupVersion(apiVersion)
	if err != nil {
		return nil, []Fault{{Kind: WrongType, Field: "apiVersion", Message: err.Error()}}
	}
	create, ok := typed[gv.WithKind(kind)]
	if !ok {
		return nil, []Fault{{Kind: WrongType, Field: "kind", Message: NoMatch(apiVersion, kind)}}
	}
	obj := create()
	strict, err := kjson.UnmarshalStrict(data, obj)
	if err != nil {
		return nil, []Fault{wrongType(err)}
	}
	if len(strict) > 0 {
		faults := make([]Fault, 0, len(strict))
		for _, e := range strict {
			faults = append(faults, strictFault(e))
		}
		return nil, faults
	}
	obj.GetObjectKind().SetGroupVersionKind(apischema.GroupVersionKind{})
	return obj, nil
}

var fieldInText = regexp.MustCompile(`Go struct field \w+\.(\S+) of type`)

func wrongType(err error) Fault {
	f := Fault{Kind: WrongType, Message: err.Error()}
	if m := fieldInText.FindStringSubmatch(f.Message); m != nil {
		f.Field = m[1]
	}
	return f
}

func strictFault(err error) Fault {
	f := Fault{Kind: UnknownField, Message: err.Error()}
	if strings.HasPrefix(f.Message, "duplicate field") {
		f.Kind = DuplicateKey
	}
	var at kjson.FieldError
	if errors.As(err, &at) {
		f.Field = at.FieldPath()
	}
	return f
}

// Restore reads the JSON of an object that Complete returned before: nothing is
// defaulted or checked again.
func Restore(kind string, data []byte) (Object, error) {
	for gvk, create := range typed {
		if gvk.Kind == kind {
			obj := create()
			if err := kjson.UnmarshalCaseSensitivePreserveInts(data, obj); err != nil {
				return nil, fmt.Errorf("restore %s: %w", kind, err)
			}
			return obj, nil
		}
	}
	return nil, fmt.Errorf("restore %s: no such kind", kind)
}
