package edit

import (
	"errors"
	"testing"
	"testing/fstest"

	"github.com/belay-dev/belay/manifests"
)

// Whatever a kustomization says: no panic, a refusal or files that are text of the tree with edits.
func FuzzPropose(f *testing.F) {
	manifest := "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {template: {spec: {containers: [{name: web, image: web}]}}}\n"
	for _, k := range []string{
		"resources: [d.yaml]\nimages: [{name: web, newTag: \"1\"}]\n",
		"resources: [d.yaml, ., ..]\npatches:\n- target: {kind: Deployment}\n  patch: |-\n    - {op: replace, path: /spec/template/spec/containers/0/image, value: web:1}\n",
		"resources: [d.yaml]\npatchesStrategicMerge:\n- d.yaml\nreplicas: [{name: web, count: 1}]\n",
		"resources: {a: b}\nimages: x\npatches: [1, {path: [x]}]\nconfigMapGenerator: [{name: }]\n",
		"namePrefix: [a]\nimages: [{name: [x]}]\nreplicas: [3]\n",
	} {
		f.Add(k, manifest)
	}
	f.Fuzz(func(t *testing.T, kustomization, manifest string) {
		if len(kustomization) > 4096 || len(manifest) > 4096 {
			return
		}
		tree := manifests.DirTree(fstest.MapFS{
			"a/kustomization.yaml": {Data: []byte(kustomization)}, "a/d.yaml": {Data: []byte(manifest)},
		})
		o := manifests.Object{ID: manifests.ID{Kind: "Deployment", Namespace: "default", Name: "web"}, Root: "a", File: "a/d.yaml"}
		image := func(s string) map[string]any {
			return map[string]any{"spec": map[string]any{"replicas": 1, "template": map[string]any{"spec": map[string]any{
				"containers": []any{map[string]any{"name": "web", "image": s}}}}}}
		}
		for _, w := range []Wish{
			{Tree: tree, Object: o, Kind: manifests.Kustomize, Have: image("web:1"), Want: image("web:2")},
			{Tree: tree, Object: o, Kind: manifests.Kustomize, Have: image("web:1"), Want: map[string]any{}, Then: tree},
			{Tree: tree, Object: o, Kind: manifests.Plain, Have: map[string]any{}, Want: image("web:2"), Then: tree},
		} {
			list, err := Propose(w)
			var r *Refusal
			if err != nil && !errors.As(err, &r) {
				t.Fatalf("no refusal: %v", err)
			}
			for _, p := range list {
				for name := range p.Files {
					if name != "a/kustomization.yaml" && name != "a/d.yaml" {
						t.Fatalf("%s is written", name)
					}
				}
			}
		}
		if _, err := PutBack(manifests.DirTree(fstest.MapFS{"a/kustomization.yaml": {Data: []byte(kustomization)}}), tree, o, manifests.Kustomize); err != nil {
			var r *Refusal
			if !errors.As(err, &r) {
				t.Fatalf("no refusal: %v", err)
			}
		}
	})
}
