// Package api is the storage of the Kubernetes API over state: what the upstream registries of k8s.io/kubernetes need
// below them, with their types converted to those that the store keeps.
//
// It is the only importer of k8s.io/apiserver and, with manifests/schema, the only one of k8s.io/kubernetes. It owns
// the way of every write of a client: a write to an object that Git manages is handed to the Writer, all others go to
// the store. It never keeps state of its own, never decides what such a write means, and no controller goes through it.
package api
