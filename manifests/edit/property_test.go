package edit

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/belay-dev/belay/manifests"
)

// meaning reads a document with another parser than the one that finds the
// bytes.
func meaning(t *rapid.T, src []byte, doc int) any {
	docs := manifests.Documents(src)
	if doc >= len(docs) {
		t.Fatalf("document %d of %d in\n%s", doc, len(docs), src)
	}
	var v any
	if err := sigsyaml.Unmarshal(docs[doc].Text, &v); err != nil {
		t.Fatalf("%v in\n%s", err, docs[doc].Text)
	}
	return v
}

// put sets, or with remove takes out, what is at a path.
func put(v any, path Path, to any, remove bool) any {
	s := path[0]
	switch v := v.(type) {
	case map[string]any:
		switch {
		case len(path) > 1:
			v[s.key] = put(v[s.key], path[1:], to, remove)
		case remove:
			delete(v, s.key)
		default:
			v[s.key] = to
		}
		return v
	case []any:
		i := s.index
		for j, item := range v {
			if m, ok := item.(map[string]any); ok && s.kind == stepElement && m[s.key] == s.value {
				i = j
			}
		}
		switch {
		case len(path) > 1:
			v[i] = put(v[i], path[1:], to, remove)
		case remove:
			v = append(v[:i:i], v[i+1:]...)
		default:
			v[i] = to
		}
		return v
	case nil:
		return map[string]any{s.key: to}
	}
	return v
}

func plainJSON(t *rapid.T, v any) any {
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var out any
	if err := json.Unmarshal(data, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

var newScalars = []any{
	"web:2", "1.20", 7, true, nil, "", "yes", "12:30", "it's", "a \"b\"", "two\nlines\n", "x: y", "# no", " lead", "é", "a, b", "{x}", "- x",
	"0x1f", "1e3", "~", "null", "\ttab", "*a", "&a", "!x", "|", "%x", "@x", "`x", "2001-01-01",
}

func same(t *rapid.T, f file, out []byte, path Path, to any, remove bool) {
	want := put(meaning(t, []byte(f.src), f.doc), path, to, remove)
	if got := meaning(t, out, f.doc); !reflect.DeepEqual(got, plainJSON(t, want)) {
		t.Fatalf("%s: got %v\nwant %v\nbefore:\n%s\nafter:\n%s", path, got, want, f.src, out)
	}
	for i := range manifests.Documents([]byte(f.src)) {
		if i != f.doc && !reflect.DeepEqual(meaning(t, []byte(f.src), i), meaning(t, out, i)) {
			t.Fatalf("document %d changed\nbefore:\n%s\nafter:\n%s", i, f.src, out)
		}
	}
}

// Setting a scalar changes the bytes of that scalar, and no other.
func TestSetScalar(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		f := randomFile(t)
		var scalars []node
		for _, n := range f.nodes {
			if n.scalar {
				scalars = append(scalars, n)
			}
		}
		if len(scalars) == 0 {
			t.Skip("no scalar")
		}
		n := rapid.SampledFrom(scalars).Draw(t, "node")
		to := rapid.SampledFrom(newScalars).Draw(t, "to")
		out, err := Apply("f.yaml", []byte(f.src), Edit{Document: f.doc, Path: n.path, Value: to})
		if err != nil {
			t.Fatalf("%s = %v: %v\n%s", n.path, to, err, f.src)
		}
		if string(out) == f.src {
			return // said so already
		}
		got := string(out)
		if !strings.HasPrefix(got, f.src[:n.from]) || !strings.HasSuffix(got, f.src[min(n.to, len(f.src)):]) {
			t.Fatalf("%s = %v: bytes outside changed\nbefore:\n%s\nafter:\n%s", n.path, to, f.src, got)
		}
		same(t, f, out, n.path, to, false)
	})
}

// Removing an entry removes its whole lines, and no others.
func TestRemoveEntry(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		f := randomFile(t)
		n := rapid.SampledFrom(f.nodes).Draw(t, "node")
		out, err := Apply("f.yaml", []byte(f.src), Edit{Document: f.doc, Path: n.path, Remove: true})
		var refused *Refusal
		if errors.As(err, &refused) && refused.Reason == Layout && (n.first || n.only && len(n.path) == 1) {
			return // nothing takes the place behind the dash, or nothing would be left
		}
		if err != nil {
			t.Fatalf("%s: %v\n%s", n.path, err, f.src)
		}
		same(t, f, out, n.path, nil, true)
		if n.flow || n.only || n.first {
			return
		}
		// A scalar of two elements and the like leaves equal lines: compare what is left, not where.
		want := f.src[:n.line] + f.src[min(n.next, len(f.src)):]
		if n.next > len(f.src) {
			want = strings.TrimSuffix(want, f.text.eol)
		}
		if got := string(out); got != want && !n.repeated(f) {
			t.Fatalf("%s: got\n%q\nwant\n%q\nbefore\n%s", n.path, got, want, f.src)
		}
	})
}

// repeated tells whether n is an element without a merge key: which lines go
// then depends on the neighbours that are equal, and elements may change places
// entry by entry.
func (n node) repeated(file) bool { return !n.key && n.path[len(n.path)-1].kind == stepAt }

// Adding an entry adds whole lines in one place.
func TestAddEntry(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		f := randomFile(t)
		places := []node{{path: nil}}
		for _, n := range f.nodes {
			if n.mapping {
				places = append(places, n)
			}
		}
		n := rapid.SampledFrom(places).Draw(t, "node")
		to := rapid.SampledFrom([]any{
			"x", 5, map[string]any{"a": "b", "c": []any{1, "2"}}, []any{map[string]any{"name": "x", "value": "y\nz"}}, []any{}, map[string]any{},
			map[string]any{"deep": map[string]any{"list": []any{[]any{"a"}}}},
		}).Draw(t, "to")
		path := n.path.With(Key("added"))
		out, err := Apply("f.yaml", []byte(f.src), Edit{Document: f.doc, Path: path, Value: to})
		if err != nil {
			t.Fatalf("%s = %v: %v\n%s", path, to, err, f.src)
		}
		same(t, f, out, path, to, false)
		left := withoutRun(string(out), len(out)-len(f.src), f.src)
		if !left {
			t.Fatalf("%s: more than one run of bytes was added\nbefore:\n%s\nafter:\n%s", path, f.src, out)
		}
		back, err := Apply("f.yaml", out, Edit{Document: f.doc, Path: path, Remove: true})
		if err != nil || string(back) != f.src {
			t.Fatalf("%s: taken out again (%v):\n%q\nwant\n%q", path, err, back, f.src)
		}
	})
}

// withoutRun tells whether s without one run of n bytes is want.
func withoutRun(s string, n int, want string) bool {
	for i := 0; n > 0 && i+n <= len(s); i++ {
		if s[:i]+s[i+n:] == want {
			return true
		}
	}
	return false
}

// An edit and the edit back give the file that was.
func TestThereAndBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		f := randomFile(t)
		n := rapid.SampledFrom(f.nodes).Draw(t, "node")
		if !n.scalar || strings.HasPrefix(f.src[n.from:], "|") || strings.HasPrefix(f.src[n.from:], ">") {
			t.Skip("not a scalar of one line")
		}
		was := meaning(t, []byte(f.src), f.doc)
		for _, s := range n.path {
			switch v := was.(type) {
			case map[string]any:
				was = v[s.key]
			case []any:
				i := s.index
				for j, item := range v {
					if m, ok := item.(map[string]any); ok && s.kind == stepElement && m[s.key] == s.value {
						i = j
					}
				}
				was = v[i]
			}
		}
		text, isString := was.(string)
		if !isString || text == "" {
			t.Skip("numbers have several spellings")
		}
		there, err := Apply("f.yaml", []byte(f.src), Edit{Document: f.doc, Path: n.path, Value: text + "x"})
		if err != nil {
			t.Fatalf("%v\n%s", err, f.src)
		}
		back, err := Apply("f.yaml", there, Edit{Document: f.doc, Path: n.path, Value: text})
		if err != nil {
			t.Fatalf("%v\n%s", err, there)
		}
		if string(back) != f.src && !strings.ContainsAny(f.src[n.from:n.to], `'"\#`) && !strings.Contains(text, " ") {
			t.Fatalf("%s: got\n%s\nwant\n%s", n.path, back, f.src)
		}
	})
}
