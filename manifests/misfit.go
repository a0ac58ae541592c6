package manifests

import (
	"encoding/base64"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/belay-dev/belay/manifests/schema"
)

var typeInText = regexp.MustCompile(`cannot unmarshal (\w+)`)

// misfit finds the value that a field cannot hold. Kubernetes leaves the
// indices of lists out of the path, and says nothing at all about quantities
// and base64, so the value is looked for.
func misfit(n *yaml.Node, kind string, f schema.Fault) (field string, line int) {
	if f.Field != "" {
		return misfitAt(n, f)
	}
	var wrong func(path string, n *yaml.Node) bool
	switch {
	case strings.HasPrefix(f.Message, "quantities must match"), strings.Contains(f.Message, "unable to parse quantity"):
		wrong = badQuantity
	case strings.Contains(f.Message, "illegal base64") && (kind == "Secret" || kind == "ConfigMap"):
		wrong = badBase64
	default:
		return "", target(n).Line
	}
	if path, at := search(n, "", wrong); at != nil {
		return path, at.Line
	}
	return "", target(n).Line
}

// misfitAt finds the value under a path without indices.
func misfitAt(n *yaml.Node, f schema.Fault) (field string, line int) {
	fits := func(*yaml.Node) bool { return true }
	if m := typeInText.FindStringSubmatch(f.Message); m != nil {
		fits = func(n *yaml.Node) bool { return jsonType(n) == m[1] }
	}
	line, ok := locate(n, f.Field, fits)
	if ok {
		return f.Field, line
	}
	// In a map of strings Kubernetes names the map only.
	var at *yaml.Node
	locate(n, f.Field, func(n *yaml.Node) bool { at = n; return true })
	if at != nil {
		if path, v := search(at, f.Field, func(_ string, n *yaml.Node) bool { return fits(n) }); v != nil {
			return path, v.Line
		}
	}
	return f.Field, line
}

func badQuantity(path string, n *yaml.Node) bool {
	if !strings.Contains(path, "limits.") && !strings.Contains(path, "requests.") && !strings.HasSuffix(path, "sizeLimit") {
		return false
	}
	_, err := resource.ParseQuantity(n.Value)
	return err != nil
}

func badBase64(path string, n *yaml.Node) bool {
	if !strings.HasPrefix(path, "data.") && !strings.HasPrefix(path, "binaryData.") {
		return false
	}
	_, err := base64.StdEncoding.DecodeString(n.Value)
	return err != nil
}

// search returns the first scalar, in the order of the document, that matches.
func search(n *yaml.Node, path string, match func(string, *yaml.Node) bool) (string, *yaml.Node) {
	n = target(n)
	switch n.Kind {
	case yaml.ScalarNode:
		if match(path, n) {
			return path, n
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if p, at := search(n.Content[i+1], join(path, n.Content[i].Value), match); at != nil {
				return p, at
			}
		}
	case yaml.SequenceNode:
		for i, c := range n.Content {
			if p, at := search(c, path+"["+strconv.Itoa(i)+"]", match); at != nil {
				return p, at
			}
		}
	default: // nothing to look into
	}
	return "", nil
}

// jsonType is the type of a value as encoding/json names it.
func jsonType(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "object"
	case yaml.SequenceNode:
		return "array"
	default:
		return scalarType(n)
	}
}

func scalarType(n *yaml.Node) string {
	switch n.ShortTag() {
	case "!!int", "!!float":
		return "number"
	case "!!bool":
		return "bool"
	}
	switch strings.ToLower(n.Value) { // booleans of YAML 1.1, which Kubernetes reads
	case "yes", "no", "on", "off", "y", "n":
		if n.Style == 0 {
			return "bool"
		}
	}
	return "string"
}
