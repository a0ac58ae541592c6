package manifests

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/belay-dev/belay/manifests/schema"
)

// App is a path of a source. Objects without a namespace go to Namespace. The
// order of apps in the configuration decides who owns an object that two of
// them declare.
type App struct {
	Source, Name, Path, Namespace string
}

// ID names an object. Namespace is empty for kinds that have none.
type ID struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
}

// String is "Deployment default/web", or "Namespace shop".
func (id ID) String() string {
	if id.Namespace == "" {
		return id.Kind + " " + id.Name
	}
	return id.Kind + " " + id.Namespace + "/" + id.Name
}

// Less orders by kind, namespace and name.
func (id ID) Less(o ID) bool {
	switch {
	case id.Kind != o.Kind:
		return id.Kind < o.Kind
	case id.Namespace != o.Namespace:
		return id.Namespace < o.Namespace
	default:
		return id.Name < o.Name
	}
}

// Object is one object as the tree declares it: typed, defaulted, validated.
// Object is a k8s.io/api v1 pointer with an empty TypeMeta that is shared by
// everybody: it must never be changed. File and Line are where it is declared;
// of a kustomize root, File is its kustomization file and Line is 0.
type Object struct {
	ID     ID
	Object schema.Object
	App    string
	Root   string
	File   string
	Line   int
	Digest string // sha256 of the object's JSON
	// NoReplicas says of a Deployment that its manifest leaves spec.replicas out:
	// the scale is somebody else's, and Object's is only the default.
	NoReplicas bool

	position     int // among the objects of its root
	selectorLine int // of a Deployment's spec.selector
}

// same tells whether two objects mean the same to whoever applies them.
func (o Object) same(p Object) bool {
	return o.ID == p.ID && o.Digest == p.Digest && o.NoReplicas == p.NoReplicas && o.App == p.App && o.Root == p.Root
}

func digest(obj schema.Object) (string, error) {
	data, err := json.Marshal(obj)
	if err != nil {
		return "", fmt.Errorf("digest of %T: %w", obj, err)
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), nil
}

// RootKind is how a root is rendered.
type RootKind string

// The kinds of root.
const (
	Plain     RootKind = "Plain"     // the YAML and JSON files directly in one directory
	Kustomize RootKind = "Kustomize" // a directory with a kustomization
)

// RootResult is what one root gives. Objects are those that it owns, sorted by
// id; Before are those at the previous state, so that the two can be compared.
// Commit is where Objects were rendered. A stale root could not be rendered at
// the newest commit (Problems say why): Objects are then its last good ones,
// and what is missing from them is not gone. A Gone root is no longer part of
// its app, and has no Objects.
type RootResult struct {
	App         string
	Path        string
	Kind        RootKind
	Commit      string
	Objects     []Object
	Before      []Object
	Problems    []Problem
	Stale       bool
	Gone        bool
	KindChanged bool // plain became kustomize or the reverse
}

// Update is what one Sync or Preview changed: only roots whose result differs,
// in the order of apps and paths. Rendered counts the roots that were rendered
// to find out. Stale are the roots that had to be looked at anew and could not
// be rendered, whether that is news or not. Problems are all that exist at the
// new state.
type Update struct {
	Commit   string
	Roots    []RootResult
	Stale    []RootResult
	Rendered int
	Problems []Problem
}

// ValidateUpdate tells whether the object prev may become next: the problems
// that Kubernetes would report against the stored object, with the file and
// line of next. A changed Deployment selector is SelectorImmutable.
func ValidateUpdate(prev, next Object) []Problem {
	var out []Problem
	for _, f := range schema.ValidateUpdate(next.Object, prev.Object) {
		p := Problem{
			Reason: Invalid, App: next.App, Root: clean(next.Root), File: clean(next.File), Line: next.Line,
			Field: f.Field, Message: f.Message, ID: next.ID,
		}
		if f.Kind == schema.Immutable {
			p.Reason = ImmutableField
			if next.ID.Kind == "Deployment" && f.Field == "spec.selector" {
				p.Reason = SelectorImmutable
				if next.selectorLine > 0 {
					p.Line = next.selectorLine
				}
			}
		}
		out = append(out, p)
	}
	return out
}
