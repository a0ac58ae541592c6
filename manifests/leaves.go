package manifests

import (
	"encoding/json"
	"maps"
	"reflect"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Leaves flattens a pod template: path to value as JSON. Maps are taken apart by key, lists by the merge key that
// Kubernetes gives them, as in the paths of Diff; a list without one, or in which an element has none, is one value. What
// is not set is not there.
func Leaves(t *corev1.PodTemplateSpec) map[string]string {
	out := map[string]string{}
	data, err := json.Marshal(t)
	if err != nil {
		return out
	}
	var v map[string]any
	if json.Unmarshal(data, &v) != nil {
		return out
	}
	if meta, ok := v["metadata"].(map[string]any); ok {
		delete(meta, "creationTimestamp")
	}
	leaves(out, "", reflect.TypeFor[corev1.PodTemplateSpec](), "", v)
	return out
}

func leaves(out map[string]string, path string, typ reflect.Type, mergeKey string, v any) {
	for typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	if m, ok := v.(map[string]any); ok && len(m) > 0 {
		if typ.Kind() == reflect.Struct {
			structLeaves(out, path, typ, m)
			return
		}
		for key, value := range m {
			leaves(out, path+mapKey(path, key), elemOf(typ), "", value)
		}
		return
	}
	if mergeKey != "" {
		if index, keys, ok := keyed(v, mergeKey); ok && len(keys) > 0 {
			for key, element := range index {
				if m, ok := element.(map[string]any); ok && len(m) > 1 { // the path says what the merge key is
					m = maps.Clone(m)
					delete(m, mergeKey)
					element = m
				}
				leaves(out, path+"["+key+"]", elemOf(typ), "", element)
			}
			return
		}
	}
	if path == "" || v == nil {
		return
	}
	data, err := json.Marshal(v)
	if err == nil {
		out[path] = string(data)
	}
}

// structLeaves flattens the fields of a struct, embedded ones as if they were its own.
func structLeaves(out map[string]string, path string, typ reflect.Type, m map[string]any) {
	for i := range typ.NumField() {
		f := typ.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" && (f.Anonymous || strings.Contains(options, "inline")) {
			t := f.Type
			if t.Kind() == reflect.Pointer {
				t = t.Elem()
			}
			if t.Kind() == reflect.Struct {
				structLeaves(out, path, t, m)
			}
			continue
		}
		if value, ok := m[name]; ok && name != "-" {
			leaves(out, join(path, name), f.Type, f.Tag.Get("patchMergeKey"), value)
		}
	}
}
