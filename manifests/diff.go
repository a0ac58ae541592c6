package manifests

import (
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/belay-dev/belay/manifests/schema"
)

// FieldChange is one field that differs between two objects. Path names the
// elements of a list by Kubernetes' merge key: containers[web].image. Before
// and After are JSON values, nil where the field is absent; a value of a Secret
// is Hidden.
type FieldChange struct {
	Path   string `json:"path"`
	Before any    `json:"before,omitempty"`
	After  any    `json:"after,omitempty"`
}

// Hidden stands for every value of a Secret.
const Hidden = "(hidden)"

// String is the change in one line: path: web:1 → web:2.
func (c FieldChange) String() string {
	return fmt.Sprintf("%s: %s → %s", clean(c.Path), display(c.Before), display(c.After))
}

const longValue = 200

func display(v any) string {
	switch v := v.(type) {
	case nil:
		return "(none)"
	case string:
		if n := strings.Count(v, "\n"); n > 0 && n < len(v) {
			return fmt.Sprintf("(%d lines, %d bytes)", n+1, len(v))
		}
		if len(v) > longValue {
			return fmt.Sprintf("(%d bytes)", len(v))
		}
		if v == "" {
			return `""`
		}
		return clean(v)
	default:
		data, err := json.Marshal(v)
		if err != nil {
			return fmt.Sprint(v)
		}
		if len(data) > longValue {
			return fmt.Sprintf("(%d bytes)", len(data))
		}
		return clean(string(data))
	}
}

// Diff compares two objects of one kind field by field, in the order of the
// kind's fields. Either may be nil: then every field of the other is listed.
// What only a server sets (status, resource version and the like) is left out.
// Lists with a merge key are compared element by element, other lists as one
// value; elements in another order are a change of the list itself.
func Diff(before, after schema.Object) []FieldChange {
	d := differ{}
	var typ reflect.Type
	for _, o := range []schema.Object{before, after} {
		if o != nil && !reflect.ValueOf(o).IsNil() {
			typ = reflect.TypeOf(o).Elem()
		}
	}
	if typ == nil {
		return nil
	}
	d.secret = typ.Name() == "Secret"
	d.walk("", typ, "", plainValue(before), plainValue(after))
	return d.out
}

func plainValue(o schema.Object) any {
	if o == nil || reflect.ValueOf(o).IsNil() {
		return nil
	}
	data, err := json.Marshal(o)
	if err != nil {
		return nil
	}
	var v map[string]any
	if json.Unmarshal(data, &v) != nil {
		return nil
	}
	for _, key := range []string{"status", "kind", "apiVersion"} {
		delete(v, key)
	}
	if meta, ok := v["metadata"].(map[string]any); ok {
		for _, key := range []string{
			"uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp",
			"deletionGracePeriodSeconds", "selfLink", "managedFields",
		} {
			delete(meta, key)
		}
	}
	return v
}

type differ struct {
	secret bool
	out    []FieldChange
}

func (d *differ) add(path string, before, after any) {
	if d.secret && (strings.HasPrefix(path, "data") || strings.HasPrefix(path, "stringData")) {
		before, after = hide(before), hide(after)
	}
	d.out = append(d.out, FieldChange{Path: path, Before: before, After: after})
}

func hide(v any) any {
	if v == nil {
		return nil
	}
	return Hidden
}

// walk compares two values of a type. mergeKey is that of the field.
func (d *differ) walk(path string, typ reflect.Type, mergeKey string, before, after any) {
	if reflect.DeepEqual(before, after) {
		return
	}
	for typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	bm, bIsMap := before.(map[string]any)
	am, aIsMap := after.(map[string]any)
	if (bIsMap || before == nil) && (aIsMap || after == nil) && (len(bm) > 0 || len(am) > 0) {
		if typ.Kind() == reflect.Struct {
			d.fields(path, typ, bm, am)
			return
		}
		for _, key := range unionKeys(bm, am) {
			d.walk(path+mapKey(path, key), elemOf(typ), "", bm[key], am[key])
		}
		return
	}
	if mergeKey != "" && d.list(path, typ, mergeKey, before, after) {
		return
	}
	d.add(path, before, after)
}

func elemOf(typ reflect.Type) reflect.Type {
	if typ.Kind() == reflect.Map || typ.Kind() == reflect.Slice {
		return typ.Elem()
	}
	return typ
}

// fields compares the fields of a struct, embedded ones as if they were its own.
func (d *differ) fields(path string, typ reflect.Type, before, after map[string]any) {
	for i := range typ.NumField() {
		f := typ.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" && (f.Anonymous || strings.Contains(options, "inline")) {
			t := f.Type
			if t.Kind() == reflect.Pointer {
				t = t.Elem()
			}
			if t.Kind() == reflect.Struct {
				d.fields(path, t, before, after)
			}
			continue
		}
		if name == "" || name == "-" {
			continue
		}
		d.walk(join(path, name), f.Type, f.Tag.Get("patchMergeKey"), before[name], after[name])
	}
}

func unionKeys(a, b map[string]any) []string {
	keys := make([]string, 0, len(a)+len(b))
	for k := range a {
		keys = append(keys, k)
	}
	for k := range b {
		if _, both := a[k]; !both {
			keys = append(keys, k)
		}
	}
	sort.Strings(keys)
	return keys
}

var simpleKey = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

func mapKey(path, key string) string {
	if !simpleKey.MatchString(key) {
		return "[" + key + "]"
	}
	if path == "" {
		return key
	}
	return "." + key
}

// list compares two lists by their merge key. It gives up when an element has
// no key, or two have the same.
func (d *differ) list(path string, typ reflect.Type, mergeKey string, before, after any) bool {
	b, bKeys, ok := keyed(before, mergeKey)
	if !ok {
		return false
	}
	a, aKeys, ok := keyed(after, mergeKey)
	if !ok || len(bKeys) == 0 && len(aKeys) == 0 {
		return false
	}
	common := func(keys []string, other map[string]any) (out []any) {
		for _, k := range keys {
			if _, both := other[k]; both {
				out = append(out, k)
			}
		}
		return out
	}
	if was, is := common(bKeys, a), common(aKeys, b); !slices.Equal(was, is) {
		d.add(path, was, is)
	}
	for _, key := range bKeys {
		d.walk(path+"["+key+"]", elemOf(typ), "", b[key], a[key])
	}
	for _, key := range aKeys {
		if _, both := b[key]; !both {
			d.walk(path+"["+key+"]", elemOf(typ), "", nil, a[key])
		}
	}
	return true
}

// keyed indexes a list of mappings by their merge key. Ports that share a
// number are told apart by protocol.
func keyed(v any, mergeKey string) (index map[string]any, keys []string, ok bool) {
	if v == nil {
		return nil, nil, true
	}
	items, isList := v.([]any)
	if !isList {
		return nil, nil, false
	}
	for _, protocol := range []bool{false, true} {
		index, keys, ok = map[string]any{}, nil, true
		for _, item := range items {
			m, isMap := item.(map[string]any)
			if !isMap || m[mergeKey] == nil {
				return nil, nil, false
			}
			key := scalarText(m[mergeKey])
			if p, has := m["protocol"]; protocol && has {
				key += "/" + scalarText(p)
			}
			if _, twice := index[key]; twice {
				ok = false
			}
			index[key] = item
			keys = append(keys, key)
		}
		if ok {
			return index, keys, true
		}
	}
	return nil, nil, false
}

func scalarText(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return fmt.Sprint(v)
}
