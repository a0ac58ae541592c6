//go:build deps

package api

// The module graph of k8s.io/kubernetes does not tidy when these are added later (its requirements name
// versions that are no modules), so they are required from the first commit on. The build tag keeps them
// out of the binary until the API server uses them: what is listed here is what it does not use yet.
import (
	_ "k8s.io/kubernetes/pkg/registry/authorization/selfsubjectrulesreview"
)
