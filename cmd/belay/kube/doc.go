// Package kube gives the app its Kubernetes API, and the API its callers and its Writer in the app's words. It is a package
// of its own so that only what serves the API links it. It never serves, stores or decides anything itself.
package kube
