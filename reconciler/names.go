package reconciler

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/belay-dev/belay/state"
)

// Names reports whether a pod uses the ConfigMap or Secret of that name: in a volume, an environment or a pull
// secret.
func Names(pod *corev1.PodSpec, kind state.Kind, name string) bool {
	secret := kind == state.KindSecret
	for _, v := range pod.Volumes {
		if volumeNames(v.VolumeSource, secret, name) {
			return true
		}
	}
	for _, cs := range [][]corev1.Container{pod.InitContainers, pod.Containers} {
		for _, c := range cs {
			if containerNames(c, secret, name) {
				return true
			}
		}
	}
	if secret {
		for _, r := range pod.ImagePullSecrets {
			if r.Name == name {
				return true
			}
		}
	}
	return false
}

func volumeNames(v corev1.VolumeSource, secret bool, name string) bool {
	if secret && v.Secret != nil && v.Secret.SecretName == name || !secret && v.ConfigMap != nil && v.ConfigMap.Name == name {
		return true
	}
	if v.Projected == nil {
		return false
	}
	for _, p := range v.Projected.Sources {
		if secret && p.Secret != nil && p.Secret.Name == name || !secret && p.ConfigMap != nil && p.ConfigMap.Name == name {
			return true
		}
	}
	return false
}

func containerNames(c corev1.Container, secret bool, name string) bool {
	for _, e := range c.EnvFrom {
		if secret && e.SecretRef != nil && e.SecretRef.Name == name || !secret && e.ConfigMapRef != nil && e.ConfigMapRef.Name == name {
			return true
		}
	}
	for _, e := range c.Env {
		if e.ValueFrom != nil && variableNames(e.ValueFrom, secret, name) {
			return true
		}
	}
	return false
}

func variableNames(v *corev1.EnvVarSource, secret bool, name string) bool {
	if secret {
		return v.SecretKeyRef != nil && v.SecretKeyRef.Name == name
	}
	return v.ConfigMapKeyRef != nil && v.ConfigMapKeyRef.Name == name
}
