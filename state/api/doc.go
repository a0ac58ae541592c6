// Package api serves the Kubernetes API over state, with the upstream registries of k8s.io/kubernetes: their
// strategies, validation, defaults and tables, over a storage of its own.
//
// It is the only importer of k8s.io/apiserver and, with manifests/schema, the only one of k8s.io/kubernetes. It owns
// who may do what (the files tokens and tls of the data directory), and the way of every write of a client: a write to
// an object that Git manages is handed to the Writer, all others go to the store. It never keeps state of its own,
// never decides what such a write means, and no controller goes through it.
package api
