//go:build deps

package manifests

// Required from the first commit on: see state/api/deps.go. kustomize renders from a Git tree.
import (
	_ "sigs.k8s.io/kustomize/api/krusty"
	_ "sigs.k8s.io/kustomize/kyaml/filesys"
)
