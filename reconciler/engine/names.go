package engine

import (
	"cmp"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/belay-dev/belay/state"
)

// ConfigUse is one place where a pod names a ConfigMap or Secret.
type ConfigUse struct {
	Key      Key
	Field    string // path of the name below the pod's spec, as validation errors write it
	Optional bool   // the pod does without
}

// ConfigKeys lists the ConfigMaps and Secrets that a pod of a namespace uses, each once, sorted.
func ConfigKeys(namespace string, pod *corev1.PodSpec) []Key {
	var keys []Key
	for _, u := range ConfigUses(namespace, pod) {
		keys = append(keys, u.Key)
	}
	slices.SortFunc(keys, func(a, b Key) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name)) })
	return slices.Compact(keys)
}

// ConfigUses lists every place where a pod of a namespace names a ConfigMap or Secret.
func ConfigUses(namespace string, pod *corev1.PodSpec) []ConfigUse {
	k := keyring{namespace: namespace}
	for i, v := range pod.Volumes {
		k.volume(fmt.Sprintf("volumes[%d]", i), v.VolumeSource)
	}
	for i, c := range pod.InitContainers {
		k.container(fmt.Sprintf("initContainers[%d]", i), c)
	}
	for i, c := range pod.Containers {
		k.container(fmt.Sprintf("containers[%d]", i), c)
	}
	for i, r := range pod.ImagePullSecrets {
		k.add(state.KindSecret, r.Name, fmt.Sprintf("imagePullSecrets[%d].name", i), always) // the pull may do without
	}
	return k.uses
}

// keyring collects what a pod names.
type keyring struct {
	namespace string
	uses      []ConfigUse
}

var always = new(true)

func (k *keyring) add(kind state.Kind, name, field string, optional *bool) {
	if name != "" {
		k.uses = append(k.uses, ConfigUse{
			Key: Key{Kind: kind, Namespace: k.namespace, Name: name}, Field: field, Optional: optional != nil && *optional,
		})
	}
}

func (k *keyring) volume(at string, v corev1.VolumeSource) {
	if s := v.Secret; s != nil {
		k.add(state.KindSecret, s.SecretName, at+".secret.secretName", s.Optional)
	}
	if c := v.ConfigMap; c != nil {
		k.add(state.KindConfigMap, c.Name, at+".configMap.name", c.Optional)
	}
	if v.Projected == nil {
		return
	}
	for i, p := range v.Projected.Sources {
		at := fmt.Sprintf("%s.projected.sources[%d]", at, i)
		if s := p.Secret; s != nil {
			k.add(state.KindSecret, s.Name, at+".secret.name", s.Optional)
		}
		if c := p.ConfigMap; c != nil {
			k.add(state.KindConfigMap, c.Name, at+".configMap.name", c.Optional)
		}
	}
}

func (k *keyring) container(at string, c corev1.Container) {
	for i, e := range c.EnvFrom {
		if s := e.SecretRef; s != nil {
			k.add(state.KindSecret, s.Name, fmt.Sprintf("%s.envFrom[%d].secretRef.name", at, i), s.Optional)
		}
		if m := e.ConfigMapRef; m != nil {
			k.add(state.KindConfigMap, m.Name, fmt.Sprintf("%s.envFrom[%d].configMapRef.name", at, i), m.Optional)
		}
	}
	for i, e := range c.Env {
		if v := e.ValueFrom; v != nil && v.SecretKeyRef != nil {
			k.add(state.KindSecret, v.SecretKeyRef.Name, fmt.Sprintf("%s.env[%d].valueFrom.secretKeyRef.name", at, i), v.SecretKeyRef.Optional)
		} else if v != nil && v.ConfigMapKeyRef != nil {
			k.add(state.KindConfigMap, v.ConfigMapKeyRef.Name, fmt.Sprintf("%s.env[%d].valueFrom.configMapKeyRef.name", at, i), v.ConfigMapKeyRef.Optional)
		}
	}
}
