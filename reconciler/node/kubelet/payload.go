package kubelet

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// file is one file of a volume that is made from objects.
type file struct {
	data []byte
	mode int32
}

// payload is what a configMap, secret, downwardAPI or projected volume holds, by path; made is false for the other
// kinds. The error is the kubelet's message for FailedMount.
func payload(pod *corev1.Pod, v *corev1.Volume, objects Objects) (files map[string]file, made bool, err error) {
	p := projection{pod: pod, objects: objects, files: map[string]file{}}
	switch {
	case v.ConfigMap != nil:
		s := v.ConfigMap
		err = p.configMap(s.Name, s.Items, s.Optional, mode(s.DefaultMode))
	case v.Secret != nil:
		s := v.Secret
		err = p.secret(s.SecretName, s.Items, s.Optional, mode(s.DefaultMode))
	case v.DownwardAPI != nil:
		err = p.downward(v.DownwardAPI.Items, mode(v.DownwardAPI.DefaultMode))
	case v.Projected != nil:
		err = p.projected(v.Projected)
	default:
		return nil, false, nil
	}
	return p.files, true, err
}

func mode(m *int32) int32 {
	if m == nil {
		return 0o644
	}
	return *m
}

type projection struct {
	pod     *corev1.Pod
	objects Objects
	files   map[string]file
}

func (p *projection) configMap(name string, items []corev1.KeyToPath, may *bool, mode int32) error {
	m, ok := p.objects.ConfigMap(p.pod.Namespace, name)
	if !ok {
		return missing("configmap", name, may)
	}
	all := maps.Clone(m.BinaryData)
	if all == nil {
		all = map[string][]byte{}
	}
	for key, value := range m.Data {
		all[key] = []byte(value)
	}
	return p.items("configmap", all, items, optional(may), mode)
}

func (p *projection) secret(name string, items []corev1.KeyToPath, may *bool, mode int32) error {
	m, ok := p.objects.Secret(p.pod.Namespace, name)
	if !ok {
		return missing("secret", name, may)
	}
	return p.items("secret", m.Data, items, optional(may), mode)
}

// items puts the keys that are named, or all, where they belong.
func (p *projection) items(kind string, all map[string][]byte, items []corev1.KeyToPath, may bool, mode int32) error {
	if len(items) == 0 {
		for _, key := range slices.Sorted(maps.Keys(all)) {
			p.files[key] = file{all[key], mode}
		}
		return nil
	}
	for _, item := range items {
		data, ok := all[item.Key]
		if !ok {
			if may {
				continue
			}
			return fmt.Errorf("%s references non-existent %s key: %s", kind, kind, item.Key)
		}
		p.files[item.Path] = file{data, orMode(item.Mode, mode)}
	}
	return nil
}

func orMode(own *int32, def int32) int32 {
	if own != nil {
		return *own
	}
	return def
}

func (p *projection) downward(items []corev1.DownwardAPIVolumeFile, mode int32) error {
	for _, item := range items {
		var text string
		var err error
		switch {
		case item.FieldRef != nil:
			text, err = fieldValue(p.pod, item.FieldRef.FieldPath)
		case item.ResourceFieldRef != nil:
			text, err = resourceValue(p.pod, nil, item.ResourceFieldRef)
		}
		if err != nil {
			return err
		}
		p.files[item.Path] = file{[]byte(text), orMode(item.Mode, mode)}
	}
	return nil
}

func (p *projection) projected(s *corev1.ProjectedVolumeSource) error {
	for _, source := range s.Sources {
		var err error
		switch {
		case source.ConfigMap != nil:
			err = p.configMap(source.ConfigMap.Name, source.ConfigMap.Items, source.ConfigMap.Optional, mode(s.DefaultMode))
		case source.Secret != nil:
			err = p.secret(source.Secret.Name, source.Secret.Items, source.Secret.Optional, mode(s.DefaultMode))
		case source.DownwardAPI != nil:
			err = p.downward(source.DownwardAPI.Items, mode(s.DefaultMode))
		}
		if err != nil {
			return err
		}
	}
	return nil
}
