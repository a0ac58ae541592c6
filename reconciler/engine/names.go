package engine

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/belay-dev/belay/state"
)

// ConfigKeys lists the ConfigMaps and Secrets that a pod of a namespace uses, each once, sorted.
func ConfigKeys(namespace string, pod *corev1.PodSpec) []Key {
	k := keyring{namespace: namespace}
	for _, v := range pod.Volumes {
		k.volume(v.VolumeSource)
	}
	for _, cs := range [][]corev1.Container{pod.InitContainers, pod.Containers} {
		for _, c := range cs {
			k.container(c)
		}
	}
	for _, r := range pod.ImagePullSecrets {
		k.secret(r.Name)
	}
	slices.SortFunc(k.keys, func(a, b Key) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name)) })
	return slices.Compact(k.keys)
}

// keyring collects what a pod names.
type keyring struct {
	namespace string
	keys      []Key
}

func (k *keyring) configMap(name string) { k.add(state.KindConfigMap, name) }
func (k *keyring) secret(name string)    { k.add(state.KindSecret, name) }

func (k *keyring) add(kind state.Kind, name string) {
	if name != "" {
		k.keys = append(k.keys, Key{Kind: kind, Namespace: k.namespace, Name: name})
	}
}

func (k *keyring) volume(v corev1.VolumeSource) {
	if v.Secret != nil {
		k.secret(v.Secret.SecretName)
	}
	if v.ConfigMap != nil {
		k.configMap(v.ConfigMap.Name)
	}
	if v.Projected == nil {
		return
	}
	for _, p := range v.Projected.Sources {
		if p.Secret != nil {
			k.secret(p.Secret.Name)
		}
		if p.ConfigMap != nil {
			k.configMap(p.ConfigMap.Name)
		}
	}
}

func (k *keyring) container(c corev1.Container) {
	for _, e := range c.EnvFrom {
		if e.SecretRef != nil {
			k.secret(e.SecretRef.Name)
		}
		if e.ConfigMapRef != nil {
			k.configMap(e.ConfigMapRef.Name)
		}
	}
	for _, e := range c.Env {
		if v := e.ValueFrom; v != nil && v.SecretKeyRef != nil {
			k.secret(v.SecretKeyRef.Name)
		} else if v != nil && v.ConfigMapKeyRef != nil {
			k.configMap(v.ConfigMapKeyRef.Name)
		}
	}
}
