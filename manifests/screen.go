package manifests

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
	"sigs.k8s.io/kustomize/api/types"
	sigsyaml "sigs.k8s.io/yaml"
)

// What kustomize takes for a remote address: it would run git or fetch it. The
// first must match at the start, so that inline YAML may mention addresses.
var (
	remoteStart = regexp.MustCompile(`(?i)^\s*(git::|[a-z][a-z0-9-]*@|github\.com[/:]|https?:|[a-z][a-z0-9+.-]*://)`)
	remotePart  = regexp.MustCompile(`(?i)://|[?&]ref=|(^|/)_git/|git::`)
)

func remoteAddress(s string) bool {
	return remoteStart.MatchString(s) || remotePart.MatchString(s)
}

// screening is the check of one kustomization before kustomize reads it.
type screening struct {
	fs   *treeFS
	file string
	dir  string
	node *yaml.Node
	bad  *Problem
}

// screen refuses what a kustomization must not use: remote resources, plugins,
// functions, helm charts, and what changes kustomize's schema for the whole
// process. It reads the kustomization exactly as kustomize does, so that no
// spelling escapes it.
func (f *treeFS) screen(p string, data []byte) *Problem {
	docs, err := nodes(data)
	s := &screening{fs: f, file: p, dir: parentOf(p)}
	if len(docs) > 0 {
		s.node = docs[0]
	}
	if err != nil {
		text, line := syntaxError(err, 0)
		return &Problem{Reason: Syntax, File: p, Line: line, Message: text}
	}
	var k types.Kustomization
	if err := k.Unmarshal(data); err != nil {
		return s.malformed(err)
	}
	s.schema(&k)
	k.FixKustomization()
	s.helm(&k)
	s.resources(&k)
	s.patches(&k)
	s.generators(&k)
	for _, list := range []struct {
		key    string
		values []string
	}{{"generators", k.Generators}, {"transformers", k.Transformers}, {"validators", k.Validators}} {
		for _, v := range list.values {
			s.plugin(list.key, v)
		}
	}
	return s.bad
}

var keyInText = regexp.MustCompile(`unknown field "([^"]+)"|field Kustomization\.(\S+) of type`)

func (s *screening) malformed(err error) *Problem {
	p := &Problem{Reason: KustomizeFailed, File: s.file, Line: 1, Message: err.Error()}
	m := keyInText.FindStringSubmatch(p.Message)
	if m == nil {
		return p
	}
	p.Field = m[1] + m[2]
	p.Reason = WrongType
	if m[1] != "" {
		p.Reason = UnknownField
		if n := findKey(s.node, m[1]); n != nil {
			p.Line = n.Line
		}
		return p
	}
	p.Line = lineOf(s.node, p.Field)
	return p
}

// findKey returns the first key of a name anywhere in a document.
func findKey(n *yaml.Node, name string) *yaml.Node {
	if n == nil {
		return nil
	}
	for i, c := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 0 && c.Value == name {
			return c
		}
		if k := findKey(c, name); k != nil {
			return k
		}
	}
	return nil
}

// refuse keeps the first refusal; the line is that of the value, or of the key.
func (s *screening) refuse(reason Reason, key, value, message string) {
	if s.bad != nil {
		return
	}
	line := 0
	if s.node != nil && len(s.node.Content) == 1 {
		k, v := foldedChild(s.node.Content[0], key)
		if k != nil {
			line = k.Line
			if _, at := search(v, "", func(_ string, n *yaml.Node) bool { return value != "" && n.Value == value }); at != nil {
				line = at.Line
			}
		}
	}
	s.bad = &Problem{Reason: reason, File: s.file, Line: line, Field: key, Message: message}
}

// foldedChild is child without regard to case, as kustomize reads its keys.
func foldedChild(n *yaml.Node, key string) (k, v *yaml.Node) {
	n = target(n)
	if n == nil || n.Kind != yaml.MappingNode {
		return nil, nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if strings.EqualFold(n.Content[i].Value, key) {
			return n.Content[i], n.Content[i+1]
		}
	}
	return nil, nil
}

const vendorAdvice = "copy it into the repository and name that path"

func (s *screening) remote(key, value string) bool {
	if !remoteAddress(value) {
		return false
	}
	s.refuse(RemoteRefused, key, value, fmt.Sprintf("remote address %q is not fetched: %s", value, vendorAdvice))
	return true
}

// local checks a path that must lead to something in the tree.
func (s *screening) local(key, value string) (found, bool) {
	if s.bad != nil || s.remote(key, value) {
		return found{}, false
	}
	if path.IsAbs(value) {
		s.refuse(KustomizeFailed, key, value, fmt.Sprintf("%q is an absolute path: paths are relative to the kustomization", value))
		return found{}, false
	}
	to, err := s.fs.resolve(path.Join(s.dir, value))
	switch {
	case err == nil && to.entry != nil && to.entry.mode&fs.ModeIrregular != 0:
		s.refuse(Submodule, key, value, fmt.Sprintf("%q is a Git submodule, whose files are not read", value))
		return found{}, false
	case err == nil:
		return to, true
	}
	if lookup := s.fs.lookupError(path.Join(s.dir, value), err); s.fs.refusal == nil {
		_ = lookup // not there: said below, with the line
		s.refuse(KustomizeFailed, key, value, fmt.Sprintf("%q does not exist in the repository", value))
		return found{}, false
	}
	refusal := *s.fs.refusal
	s.fs.refusal = nil
	s.refuse(refusal.Reason, key, value, fmt.Sprintf("%q %s", value, refusal.Message))
	return found{}, false
}

func (s *screening) schema(k *types.Kustomization) {
	if len(k.OpenAPI) > 0 {
		s.refuse(SchemaRefused, "openapi", "", "openapi is refused: it changes how every other kustomization is merged")
	}
	if len(k.Crds) > 0 {
		s.refuse(SchemaRefused, "crds", "", "crds is refused: it changes how every other kustomization is merged; name the references in configurations")
	}
}

func (s *screening) helm(k *types.Kustomization) {
	if len(k.HelmCharts) == 0 {
		return
	}
	key := "helmCharts"
	if s.node != nil && len(s.node.Content) == 1 {
		if found, _ := foldedChild(s.node.Content[0], key); found == nil {
			key = "helmChartInflationGenerator"
		}
	}
	s.refuse(PluginRefused, key, "", "helm charts are not rendered: commit the output of helm template")
}

func (s *screening) resources(k *types.Kustomization) {
	for _, v := range k.Resources { // bases are in it by now
		key := "resources"
		if s.node != nil && len(s.node.Content) == 1 {
			if _, list := foldedChild(s.node.Content[0], key); !holds(list, v) {
				key = "bases"
			}
		}
		s.local(key, v)
	}
	for _, v := range k.Components {
		s.local("components", v)
	}
	for _, v := range k.Configurations {
		s.local("configurations", v)
	}
	for _, r := range k.Replacements {
		if r.Path != "" {
			s.local("replacements", r.Path)
		}
	}
}

func holds(n *yaml.Node, value string) bool {
	if n == nil {
		return false
	}
	_, at := search(n, "", func(_ string, n *yaml.Node) bool { return n.Value == value })
	return at != nil
}

func (s *screening) patches(k *types.Kustomization) {
	//nolint:staticcheck // deprecated for writers; repositories have it, and it must be screened
	strategic, json6902 := k.PatchesStrategicMerge, k.PatchesJson6902
	for _, p := range strategic {
		if inline(string(p)) {
			s.inlineRemote("patchesStrategicMerge", string(p))
			continue
		}
		s.local("patchesStrategicMerge", string(p))
	}
	for _, list := range []struct {
		key     string
		patches []types.Patch
	}{{"patches", k.Patches}, {"patchesJson6902", json6902}} {
		for _, p := range list.patches {
			if p.Path != "" {
				s.local(list.key, p.Path)
			}
		}
	}
}

func (s *screening) generators(k *types.Kustomization) {
	sources := func(key string, from types.KvPairSources) {
		for _, v := range from.FileSources {
			if strings.Count(v, "=") == 1 {
				_, v, _ = strings.Cut(v, "=")
			}
			if strings.Contains(v, "=") || v == "" {
				s.remote(key, v) // for kustomize to refuse
				continue
			}
			s.local(key, v)
		}
		for _, v := range from.EnvSources {
			s.local(key, v)
		}
	}
	for _, g := range k.ConfigMapGenerator {
		sources("configMapGenerator", g.KvPairSources)
	}
	for _, g := range k.SecretGenerator {
		sources("secretGenerator", g.KvPairSources)
	}
}

// inline tells whether a value is YAML itself rather than a path to it.
func inline(v string) bool {
	docs, err := nodes([]byte(v))
	if err != nil {
		return strings.Contains(v, "\n")
	}
	for _, d := range docs {
		if len(d.Content) == 1 && target(d.Content[0]).Kind == yaml.MappingNode {
			return true
		}
	}
	return false
}

// inlineRemote refuses inline YAML that kustomize would also try as an address.
func (s *screening) inlineRemote(key, v string) {
	if remoteStart.MatchString(v) {
		s.refuse(RemoteRefused, key, v, "an inline value that reads as a remote address is refused")
	}
}

// plugin checks the configuration of a generator, transformer or validator: it
// must be one that is built in, given inline or in a file.
func (s *screening) plugin(key, v string) {
	if inline(v) {
		s.inlineRemote(key, v)
		if bad := s.fs.screenConfig(s.file, []byte(v), true); bad != nil {
			s.refuse(bad.Reason, key, v, bad.Message)
		}
		return
	}
	to, ok := s.local(key, v)
	if !ok {
		return
	}
	if to.dir != nil {
		s.refuse(PluginRefused, key, v, fmt.Sprintf("%q is a directory: name the files of built-in %s", v, key))
		return
	}
	data, _, err := s.fs.read(to.real)
	if err != nil {
		return // kustomize meets the same error
	}
	if bad := s.fs.screenConfig(to.real, data, true); bad != nil && s.bad == nil {
		s.bad = bad
	}
}

// screenConfig checks a file that may configure generators or transformers.
// When it must (every: the kustomization names it as such), what is not built
// in is a plugin.
func (f *treeFS) screenConfig(p string, data []byte, every bool) *Problem {
	docs, err := nodes(data)
	if err != nil {
		return nil // kustomize refuses what is no YAML
	}
	for i, doc := range split(data) {
		raw, err := sigsyaml.YAMLToJSON(doc.data)
		if err != nil {
			continue
		}
		var v any
		if json.Unmarshal(raw, &v) != nil {
			continue
		}
		var node *yaml.Node
		if i < len(docs) {
			node = docs[i]
		}
		if bad := screenValue(v, every); bad != nil {
			bad.File, bad.Line = p, doc.before+1
			if bad.Field != "" && node != nil {
				if k := findKey(node, bad.Field); k != nil {
					bad.Line = k.Line
				}
			}
			return bad
		}
	}
	return nil
}

func screenValue(v any, every bool) *Problem {
	m, ok := v.(map[string]any)
	if !ok {
		return nil
	}
	apiVersion, _ := m["apiVersion"].(string)
	kind, _ := m["kind"].(string)
	if items, isList := m["items"].([]any); isList && strings.HasSuffix(kind, "List") {
		for _, item := range items {
			if bad := screenValue(item, every); bad != nil {
				return bad
			}
		}
		return nil
	}
	meta, _ := m["metadata"].(map[string]any)
	annotations, _ := meta["annotations"].(map[string]any)
	for _, name := range []string{"config.kubernetes.io/function", "config.k8s.io/function"} {
		if _, is := annotations[name]; is && every {
			return &Problem{Reason: PluginRefused, Field: name, Message: fmt.Sprintf("%s is a function in a container or program: functions are not run", kind)}
		}
	}
	switch {
	case apiVersion != "builtin" && every:
		return &Problem{Reason: PluginRefused, Field: "apiVersion", Message: fmt.Sprintf("%s of %s is a plugin: only built-in ones (apiVersion: builtin) are run", kind, apiVersion)}
	case apiVersion != "builtin":
		return nil
	case kind == "HelmChartInflationGenerator":
		return &Problem{Reason: PluginRefused, Field: "kind", Message: "helm charts are not rendered: commit the output of helm template"}
	}
	return remoteValue(m)
}

var pathKeys = map[string]bool{"path": true, "paths": true, "files": true, "file": true, "envs": true, "env": true, "url": true, "repo": true}

// remoteValue finds a remote address under a key that holds paths.
func remoteValue(v any) *Problem {
	switch v := v.(type) {
	case map[string]any:
		for _, key := range unionKeys(v, nil) {
			if pathKeys[strings.ToLower(key)] {
				for _, text := range texts(v[key]) {
					if _, after, ok := strings.Cut(text, "="); ok && strings.EqualFold(key, "files") {
						text = after
					}
					if remoteAddress(text) && !inline(text) || remoteStart.MatchString(text) {
						return &Problem{Reason: RemoteRefused, Field: key, Message: fmt.Sprintf("remote address %q is not fetched: %s", text, vendorAdvice)}
					}
				}
			}
			if bad := remoteValue(v[key]); bad != nil {
				return bad
			}
		}
	case []any:
		for _, item := range v {
			if bad := remoteValue(item); bad != nil {
				return bad
			}
		}
	}
	return nil
}

func texts(v any) []string {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		var out []string
		for _, item := range v {
			if s, ok := item.(string); ok {
				out = append(out, s)
			}
		}
		return out
	}
	return nil
}
