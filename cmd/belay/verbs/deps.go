//go:build deps

package verbs

// Required from the first commit on: see state/api/deps.go. kubectl's own commands will be mounted as verbs.
import (
	_ "k8s.io/kubectl/pkg/cmd"
	_ "k8s.io/kubectl/pkg/describe"
	_ "k8s.io/kubectl/pkg/polymorphichelpers"
)
