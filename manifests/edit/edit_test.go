package edit

import (
	"errors"
	"strings"
	"testing"
)

const deployment = `# the shop
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web   # its name
spec:
  template:
    spec:
      containers:
      # in front
      - name: proxy
        image: "proxy:1"  # quoted
      - name: web
        image: web:1
        args: [--level=info, '--port=80']
        env:
        - {name: A, value: "1"}
        - name: B
          value: '2'
`

var containers = Keys("spec", "template", "spec", "containers")

func web(steps ...Step) Path { return containers.With(Element("name", "web")).With(steps...) }

// Each case says which lines of the file change, as "-old" and "+new".
func TestApply(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name  string
		src   string
		edits []Edit
		want  string
	}{
		{"scalar", "", []Edit{{Path: web(Key("image")), Value: "web:2"}}, "-        image: web:1\n+        image: web:2\n"},
		{"quoted", "", []Edit{{Path: containers.With(Element("name", "proxy"), Key("image")), Value: "proxy:2"}},
			"-        image: \"proxy:1\"  # quoted\n+        image: \"proxy:2\"  # quoted\n"},
		{"needs quotes", "", []Edit{{Path: web(Key("image")), Value: "1.20"}}, "-        image: web:1\n+        image: \"1.20\"\n"},
		{"flow list", "", []Edit{{Path: web(Key("args")), Value: []string{"--level=debug", "--port=80", "a, b"}}},
			"-        args: [--level=info, '--port=80']\n+        args: [--level=debug, '--port=80', \"a, b\"]\n"},
		{"flow list shorter", "", []Edit{{Path: web(Key("args")), Value: []string{"--port=80"}}},
			"-        args: [--level=info, '--port=80']\n+        args: ['--port=80']\n"},
		{"flow mapping", "", []Edit{{Path: web(Key("env"), Element("name", "A"), Key("value")), Value: "3"}},
			"-        - {name: A, value: \"1\"}\n+        - {name: A, value: \"3\"}\n"},
		{"element goes", "", []Edit{{Path: web(Key("env"), Element("name", "A")), Remove: true}}, "-        - {name: A, value: \"1\"}\n"},
		{"last element goes", "", []Edit{{Path: web(Key("env"), Element("name", "B")), Remove: true}},
			"-        - name: B\n-          value: '2'\n"},
		{"element comes", "", []Edit{{Path: web(Key("env"), Element("name", "C")), Value: map[string]string{"value": "x\ny\n"}}},
			"+        - name: C\n+          value: |\n+            x\n+            y\n"},
		{"element in the middle", "", []Edit{{Path: web(Key("env")), Value: []map[string]string{
			{"name": "A", "value": "1"}, {"name": "AA", "value": "on"}, {"name": "B", "value": "2"}}}},
			"+        - name: AA\n+          value: \"on\"\n"},
		{"element in front", "", []Edit{{Path: web(Key("env")), Value: []map[string]string{
			{"name": "0", "value": "0"}, {"name": "A", "value": "1"}, {"name": "B", "value": "2"}}}},
			"+        - name: \"0\"\n+          value: \"0\"\n"},
		{"mappings on the way", "", []Edit{{Path: Keys("spec", "strategy", "rollingUpdate", "maxSurge"), Value: 0}},
			"+  strategy:\n+    rollingUpdate:\n+      maxSurge: 0\n"},
		{"list added", "", []Edit{{Path: web(Key("ports"), Element("containerPort", "80"), Key("protocol")), Value: "TCP"}},
			"+        ports:\n+        - containerPort: 80\n+          protocol: TCP\n"},
		{"entry goes", "", []Edit{{Path: web(Key("env")), Remove: true}},
			"-        env:\n-        - {name: A, value: \"1\"}\n-        - name: B\n-          value: '2'\n"},
		{"same", "", []Edit{{Path: web(Key("image")), Value: "web:1"}}, ""},
		{"annotation", "", []Edit{{Path: Keys("metadata", "annotations", "belay.dev/x"), Value: "true"}},
			"+  annotations:\n+    belay.dev/x: \"true\"\n"},
		{"kind of value", "a: 1 # c\nb: 2\n", []Edit{{Path: Keys("a"), Value: []int{1}}}, "-a: 1 # c\n+a:\n+- 1 # c\n"},
		{"kind of value back", "a:\n- 1 # c\nb: 2\n", []Edit{{Path: Keys("a"), Value: "x"}}, "-a:\n-- 1 # c\n+a: x # c\n"},
		{"empty", "a: {}\n", []Edit{{Path: Keys("a", "b"), Value: 1}}, "-a: {}\n+a:\n+  b: 1\n"},
		{"nothing", "a:\nb: 1\n", []Edit{{Path: Keys("a", "c"), Value: 1}}, "+  c: 1\n"},
		{"no final newline", "a: 1\nb: 2", []Edit{{Path: Keys("b"), Value: 3}}, "-b: 2$\n+b: 3$\n"},
		{"no final newline, entry added", "a: 1", []Edit{{Path: Keys("b"), Value: 3}}, "-a: 1$\n+a: 1\n+b: 3$\n"},
		{"no final newline, entry removed", "a: 1\nb: 2", []Edit{{Path: Keys("b"), Remove: true}}, "-a: 1\n-b: 2$\n+a: 1$\n"},
		{"CRLF", "a: 1\r\nb: 2 # c\r\n", []Edit{{Path: Keys("b"), Value: 3}, {Path: Keys("c", "d"), Value: "e"}},
			"-b: 2 # c\r\n+b: 3 # c\r\n+c:\r\n+  d: e\r\n"},
		{"byte order mark", "\ufeffa: 1\nb: 2\n", []Edit{{Path: Keys("a"), Value: 3}}, "-\ufeffa: 1\n+\ufeffa: 3\n"},
		{"second document", "a: 1\n---\n# c\na: 1\n---\na: 1\n", []Edit{{Document: 1, Path: Keys("a"), Value: 3}}, "-a: 1\n+a: 3\n"},
		{"block scalar", "a: |-\n  x\n   y\n\n# c\nb: 1\n", []Edit{{Path: Keys("a"), Value: "x\nz"}}, "-   y\n+  z\n"},
		{"block scalar kept", "a: |+\n  x\n\nb: 1\n", []Edit{{Path: Keys("a"), Value: "q"}}, "-a: |+\n-  x\n-\n+a: |-\n+  q\n"},
		{"block scalar elsewhere", "a: |\n  {{ no: [1\n  &a\nb: 1\n", []Edit{{Path: Keys("b"), Value: 2}}, "-b: 1\n+b: 2\n"},
		{"plain over lines", "a: x\n  y # c\nb: 1\n", []Edit{{Path: Keys("a"), Value: "z"}}, "-a: x\n-  y # c\n+a: z # c\n"},
		{"JSON", `{"a": {"b": [1, 2]}, "c": "d"}`, []Edit{{Path: Keys("a", "b"), Value: []int{1}}, {Path: Keys("c"), Value: "e"}},
			"-{\"a\": {\"b\": [1, 2]}, \"c\": \"d\"}$\n+{\"a\": {\"b\": [1]}, \"c\": \"e\"}$\n"},
		{"JSON over lines", "{\n  \"a\": 1,\n  \"b\": {}\n}\n", []Edit{{Path: Keys("b", "c"), Value: "d"}, {Path: Keys("a"), Remove: true}},
			"-  \"a\": 1,\n-  \"b\": {}\n+  \"b\": {\"c\": \"d\"}\n"},
		{"indented list", "a:\n    b:\n      - x: 1\n        y: 2\n", []Edit{{Path: Keys("a", "c"), Value: map[string]any{"d": []int{1}}}},
			"+    c:\n+        d:\n+          - 1\n"},
		{"first behind the dash", "- x: 1\n  y: 2\n", []Edit{{Path: Path{At(0), Key("x")}, Remove: true}}, "-- x: 1\n-  y: 2\n+- y: 2\n"},
		{"comment above stays", "a: 1\n# of b\nb: 2\n# of c\nc: 3\n", []Edit{{Path: Keys("b"), Remove: true}}, "-b: 2\n"},
		{"reordered", "a:\n- name: x\n- name: z\n", []Edit{{Path: Keys("a"), Value: []map[string]string{{"name": "z"}, {"name": "x"}}}},
			"-- name: x\n-- name: z\n+- name: z\n+- name: x\n"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			src := c.src
			if src == "" {
				src = deployment
			}
			out, err := Apply("f.yaml", []byte(src), c.edits...)
			if err != nil {
				t.Fatal(err)
			}
			if got := changed(src, string(out)); got != c.want {
				t.Errorf("got\n%swant\n%s", got, c.want)
			}
		})
	}
}

// changed lists the lines that differ between the first and the last that do;
// "$" marks the end of a file without a newline.
func changed(before, after string) string {
	lines := func(s string) []string {
		if !strings.HasSuffix(s, "\n") {
			s += "$\n"
		}
		return strings.SplitAfter(s, "\n")
	}
	b, a := lines(before), lines(after)
	for len(b) > 0 && len(a) > 0 && b[0] == a[0] {
		b, a = b[1:], a[1:]
	}
	for len(b) > 0 && len(a) > 0 && b[len(b)-1] == a[len(a)-1] {
		b, a = b[:len(b)-1], a[:len(a)-1]
	}
	var out strings.Builder
	for _, l := range b {
		out.WriteString("-" + l)
	}
	for _, l := range a {
		out.WriteString("+" + l)
	}
	return out.String()
}

func TestApplyRefuses(t *testing.T) {
	t.Parallel()
	set := func(path ...string) Edit { return Edit{Path: Keys(path...), Value: "new"} }
	cases := []struct {
		name   string
		src    string
		edit   Edit
		reason Reason
		line   int
	}{
		{"anchor", "a: &x 1\nb: 2\n", set("b"), Anchors, 1},
		{"alias", "a: 1\n---\nb: &x 1\nc: *x\n", Edit{Document: 1, Path: Keys("c"), Value: 2}, Anchors, 3},
		{"merge key", "a:\n  <<: {x: 1}\nb: 1\n", set("b"), Anchors, 2},
		{"anchor in another document", "a: &x 1\n---\nb: 1\n", Edit{Document: 5, Path: Keys("b"), Value: 1}, NotThere, 0},
		{"duplicate key", "a: 1\nb: 2\na: 3\n", set("b"), Duplicate, 3},
		{"template", "a: '{{ .Values.a }}'\n", set("a"), Template, 1},
		{"variable", "x: 1\na: web:${TAG}\n", set("a"), Template, 2},
		{"template for a parser", "a: {{ .Values.a }}\n", set("a"), Template, 0},
		{"tag", "a: !!str 1\n", set("a"), Tag, 1},
		{"lone CR", "a: 1\rb: 2\n", set("a"), LineBreaks, 1},
		{"next line", "a: 1\nb: \"x\u0085y\"\n", set("a"), LineBreaks, 2},
		{"not UTF-8", "a: \xff\n", set("a"), Encoding, 0},
		{"syntax", "a: [1\n", set("a"), Syntax, 1},
		{"no mapping", "x\n", set("a"), WrongShape, 1},
		{"through a scalar", "a: 1\n", set("a", "b"), WrongShape, 0},
		{"not there", "a: 1\n", Edit{Path: Keys("b"), Remove: true}, NotThere, 0},
		{"element twice", "a:\n- name: x\n- name: x\n", Edit{Path: Path{Key("a"), Element("name", "x"), Key("b")}, Value: 1}, Ambiguous, 0},
		{"question mark", "? a\n: 1\nb: 2\n", Edit{Path: Keys("a"), Remove: true}, SelfCheck, 0},
		{"complex key", "{a: 1}: 1\nb: 2\n", set("c"), Syntax, 0},
		{"value below a question mark", "? a\n: 1\nb: 2\n", set("a"), ComplexKey, 1},
		{"comment behind the first", "- x: 1\n  # c\n  y: 2\n", Edit{Path: Path{At(0), Key("x")}, Remove: true}, Layout, 1},
		{"nothing left", "# c\na: 1\n", Edit{Path: Keys("a"), Remove: true}, Layout, 2},
		{"tab", "a:\n  b: 1\n\tc: 1\n", set("a", "b"), Syntax, 2},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			out, err := Apply("f.yaml", []byte(c.src), c.edit)
			var r *Refusal
			if !errors.As(err, &r) {
				t.Fatalf("got %v and\n%s", err, out)
			}
			if r.Reason != c.reason || r.Line != c.line || r.File != "f.yaml" {
				t.Errorf("got %v, want %s at line %d", r, c.reason, c.line)
			}
		})
	}
}

// Whatever the bytes: no panic, and a result that says what was asked.
func FuzzApply(f *testing.F) {
	for _, src := range []string{deployment, "a: 1", "a:\r\n- b: |\r\n    x\r\n", "{a: [1, {b: 2}]}", "a: x\n  y\n", "- - a: 1\n  - b\n"} {
		f.Add(src, "a", "b", "web:2", false)
		f.Add(src, "spec", "", "1.2", true)
	}
	f.Fuzz(func(t *testing.T, src, key, below, to string, remove bool) {
		if len(src) > 4096 {
			return
		}
		path := Keys(key)
		if below != "" {
			path = Keys(key, below)
		}
		out, err := Apply("f.yaml", []byte(src), Edit{Path: path, Value: to, Remove: remove})
		if err != nil {
			var r *Refusal
			if !errors.As(err, &r) {
				t.Fatalf("no refusal: %v", err)
			}
			return
		}
		if remove || string(out) == src {
			return
		}
		again, err := Apply("f.yaml", out, Edit{Path: path, Value: to})
		if err != nil || string(again) != string(out) {
			t.Fatalf("said again: %v\n%q\n%q", err, out, again)
		}
	})
}
