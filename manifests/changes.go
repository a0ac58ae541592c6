package manifests

import (
	"reflect"
	"sort"
	"strings"

	"github.com/rogpeppe/go-internal/diff"
	corev1 "k8s.io/api/core/v1"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/belay-dev/belay/manifests/schema"
)

// Op says how an object changed.
type Op string

// The ways an object changes.
const (
	Added   Op = "added"
	Changed Op = "changed"
	Removed Op = "removed"
)

// ObjectChange is one object that differs before and after. Fields is empty
// for an object that was added or removed.
type ObjectChange struct {
	ID     ID            `json:"object"`
	Op     Op            `json:"op"`
	App    string        `json:"app,omitempty"`
	Root   string        `json:"root,omitempty"`
	File   string        `json:"file,omitempty"`
	Line   int           `json:"line,omitempty"`
	Fields []FieldChange `json:"fields,omitempty"`

	before, after schema.Object
}

// Changes lists the objects that an update adds, changes and removes, sorted by
// id. An object that only moved to another root or file is not listed.
func (u Update) Changes() []ObjectChange {
	before, after := map[ID]Object{}, map[ID]Object{}
	for _, r := range u.Roots {
		for _, o := range r.Before {
			before[o.ID] = o
		}
		for _, o := range r.Objects {
			after[o.ID] = o
		}
	}
	out := make([]ObjectChange, 0, len(after))
	for id, is := range after {
		if was, both := before[id]; !both {
			out = append(out, change(Added, is, nil, is.Object))
		} else if was.Digest != is.Digest {
			c := change(Changed, is, was.Object, is.Object)
			c.Fields = Diff(was.Object, is.Object)
			out = append(out, c)
		}
	}
	for id, was := range before {
		if _, both := after[id]; !both {
			out = append(out, change(Removed, was, was.Object, nil))
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].ID.Less(out[j].ID) })
	return out
}

func change(op Op, o Object, before, after schema.Object) ObjectChange {
	return ObjectChange{
		ID: o.ID, Op: op, App: o.App, Root: clean(o.Root), File: clean(o.File), Line: o.Line, before: before, after: after,
	}
}

// Patch is the change as a unified diff of the two objects' YAML. Values of
// Secrets are replaced by a mark that differs where they do.
func (c ObjectChange) Patch() string {
	name := strings.ReplaceAll(c.ID.String(), " ", "/")
	return Patch(name, c.before, c.after)
}

// Patch compares two objects, either of which may be nil, as a unified diff of
// their YAML.
func Patch(name string, before, after schema.Object) string {
	b, a := yamlOf(before, nil), yamlOf(after, before)
	return string(diff.Diff("a/"+name, []byte(b), "b/"+name, []byte(a)))
}

func yamlOf(o, former schema.Object) string {
	if o == nil || reflect.ValueOf(o).IsNil() {
		return ""
	}
	if secret, ok := o.(*corev1.Secret); ok {
		was, _ := former.(*corev1.Secret)
		o = masked(secret, was)
	}
	data, err := sigsyaml.Marshal(plainValue(o))
	if err != nil {
		return ""
	}
	return string(data)
}

// masked is a Secret with its values replaced: those that differ from a former
// Secret get another mark.
func masked(s, former *corev1.Secret) *corev1.Secret {
	out := s.DeepCopy()
	out.StringData = map[string]string{}
	for key, value := range s.Data {
		out.StringData[key] = Hidden
		if former != nil {
			if was, ok := former.Data[key]; ok && string(was) != string(value) {
				out.StringData[key] = "(hidden, changed)"
			}
		}
	}
	out.Data = nil
	return out
}
