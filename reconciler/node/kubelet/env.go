package kubelet

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
)

// Objects are what pods refer to.
type Objects interface {
	// ConfigMap finds one; false: there is none.
	ConfigMap(namespace, name string) (*corev1.ConfigMap, bool)
	// Secret finds one; false: there is none.
	Secret(namespace, name string) (*corev1.Secret, bool)
}

// environment is what a container finds in its environment: NAME=value, each name once, ordered by name.
type environment struct {
	pod     *corev1.Pod
	c       *corev1.Container
	objects Objects
	values  map[string]string // all
	named   map[string]string // those of env, which later ones may refer to
}

// env resolves a container's environment. The error is the kubelet's message for CreateContainerConfigError.
func env(pod *corev1.Pod, c *corev1.Container, objects Objects) ([]string, error) {
	e := &environment{pod: pod, c: c, objects: objects, values: map[string]string{}, named: map[string]string{}}
	for i := range c.EnvFrom {
		if err := e.from(&c.EnvFrom[i]); err != nil {
			return nil, err
		}
	}
	for i := range c.Env {
		v := &c.Env[i]
		value, ok, err := e.value(v)
		if err != nil {
			return nil, err
		}
		if ok {
			e.values[v.Name], e.named[v.Name] = value, value
		}
	}
	out := make([]string, 0, len(e.values))
	for name, value := range e.values {
		out = append(out, name+"="+value)
	}
	slices.Sort(out)
	return out, nil
}

func optional(b *bool) bool { return b != nil && *b }

func (e *environment) from(s *corev1.EnvFromSource) error {
	all := map[string]string{}
	switch {
	case s.ConfigMapRef != nil:
		m, ok := e.objects.ConfigMap(e.pod.Namespace, s.ConfigMapRef.Name)
		if !ok {
			return missing("configmap", s.ConfigMapRef.Name, s.ConfigMapRef.Optional)
		}
		all = m.Data
	case s.SecretRef != nil:
		m, ok := e.objects.Secret(e.pod.Namespace, s.SecretRef.Name)
		if !ok {
			return missing("secret", s.SecretRef.Name, s.SecretRef.Optional)
		}
		for key, value := range m.Data {
			all[key] = string(value)
		}
	}
	for key, value := range all {
		if name := s.Prefix + key; len(validation.IsRelaxedEnvVarName(name)) == 0 {
			e.values[name] = value
		}
	}
	return nil
}

// missing is nil when the object may be missing.
func missing(kind, name string, may *bool) error {
	if optional(may) {
		return nil
	}
	return fmt.Errorf("%s %q not found", kind, name)
}

func (e *environment) value(v *corev1.EnvVar) (value string, ok bool, err error) {
	switch f := v.ValueFrom; {
	case f == nil:
		return expand(v.Value, e.named), true, nil
	case f.FieldRef != nil:
		value, err = fieldValue(e.pod, f.FieldRef.FieldPath)
		return value, err == nil, err
	case f.ResourceFieldRef != nil:
		value, err = resourceValue(e.pod, e.c, f.ResourceFieldRef)
		return value, err == nil, err
	case f.ConfigMapKeyRef != nil:
		r := f.ConfigMapKeyRef
		m, found := e.objects.ConfigMap(e.pod.Namespace, r.Name)
		if !found {
			return "", false, missing("configmap", r.Name, r.Optional)
		}
		if value, ok = m.Data[r.Key]; !ok && !optional(r.Optional) {
			return "", false, fmt.Errorf("couldn't find key %v in ConfigMap %v/%v", r.Key, e.pod.Namespace, r.Name)
		}
		return value, ok, nil
	case f.SecretKeyRef != nil:
		r := f.SecretKeyRef
		m, found := e.objects.Secret(e.pod.Namespace, r.Name)
		if !found {
			return "", false, missing("secret", r.Name, r.Optional)
		}
		data, has := m.Data[r.Key]
		if !has && !optional(r.Optional) {
			return "", false, fmt.Errorf("couldn't find key %v in Secret %v/%v", r.Key, e.pod.Namespace, r.Name)
		}
		return string(data), has, nil
	}
	return "", false, fmt.Errorf("value of %s has no source that is known", v.Name)
}

// fieldValue is a field of the pod as the downward API gives it.
func fieldValue(pod *corev1.Pod, path string) (string, error) {
	if key, ok := subscript(path, "metadata.labels"); ok {
		return pod.Labels[key], nil
	}
	if key, ok := subscript(path, "metadata.annotations"); ok {
		return pod.Annotations[key], nil
	}
	switch path {
	case "metadata.name":
		return pod.Name, nil
	case "metadata.namespace":
		return pod.Namespace, nil
	case "metadata.uid":
		return string(pod.UID), nil
	case "metadata.labels":
		return lines(pod.Labels), nil
	case "metadata.annotations":
		return lines(pod.Annotations), nil
	case "spec.nodeName":
		return pod.Spec.NodeName, nil
	case "spec.serviceAccountName":
		return pod.Spec.ServiceAccountName, nil
	case "status.hostIP", "status.hostIPs":
		return hostIP, nil
	case "status.podIP", "status.podIPs":
		return pod.Status.PodIP, nil
	}
	return "", fmt.Errorf("unsupported fieldPath: %v", path)
}

func subscript(path, of string) (string, bool) {
	rest, ok := strings.CutPrefix(path, of+"['")
	key, end := strings.CutSuffix(rest, "']")
	return key, ok && end
}

// lines is a map as a file of the downward API.
func lines(m map[string]string) string {
	var all []string
	for key, value := range m {
		all = append(all, key+"="+strconv.Quote(value))
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}

// resourceValue is a request or limit of a container, in units of a divisor, rounded up.
func resourceValue(pod *corev1.Pod, c *corev1.Container, ref *corev1.ResourceFieldSelector) (string, error) {
	if ref.ContainerName != "" {
		if c = find(pod, ref.ContainerName); c == nil {
			return "", fmt.Errorf("container %s not found", ref.ContainerName)
		}
	}
	if c == nil {
		return "", errors.New("containerName is missing")
	}
	kind, what, _ := strings.Cut(ref.Resource, ".")
	list := c.Resources.Limits
	if kind == "requests" {
		list = c.Resources.Requests
	}
	q := list[corev1.ResourceName(what)]
	divisor := ref.Divisor
	if divisor.IsZero() {
		divisor = resource.MustParse("1")
	}
	if what == string(corev1.ResourceCPU) {
		return strconv.FormatInt(ceil(q.MilliValue(), divisor.MilliValue()), 10), nil
	}
	return strconv.FormatInt(ceil(q.Value(), divisor.Value()), 10), nil
}

func ceil(n, by int64) int64 {
	if by <= 0 {
		return n
	}
	return (n + by - 1) / by
}

// expand puts values in place of $(NAME). $$ is a dollar sign, and what has no value stays as it is written.
func expand(text string, values map[string]string) string {
	if !strings.Contains(text, "$") {
		return text
	}
	var out strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != '$' || i+1 == len(text) {
			out.WriteByte(text[i])
			continue
		}
		if text[i+1] == '$' {
			out.WriteByte('$')
			i++
			continue
		}
		end := strings.IndexByte(text[i:], ')')
		if text[i+1] != '(' || end < 0 {
			out.WriteByte('$')
			continue
		}
		if value, ok := values[text[i+2:i+end]]; ok {
			out.WriteString(value)
		} else {
			out.WriteString(text[i : i+end+1])
		}
		i += end
	}
	return out.String()
}

// expandAll expands each word with NAME=value pairs.
func expandAll(words, pairs []string) []string {
	values := map[string]string{}
	for _, pair := range pairs {
		name, value, _ := strings.Cut(pair, "=")
		values[name] = value
	}
	var out []string
	for _, word := range words {
		out = append(out, expand(word, values))
	}
	return out
}
