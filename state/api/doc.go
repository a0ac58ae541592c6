// Package api will serve the Kubernetes API over state, with the upstream registries of k8s.io/kubernetes.
//
// It is the only importer of k8s.io/apiserver and, with manifests/schema, the only one of k8s.io/kubernetes.
// It never keeps state of its own. Today it holds the module requirements alone (deps.go).
package api
