// Package kube gives the app its Kubernetes API. It owns the words with which a write to what Git manages is refused,
// and is a package of its own so that only what serves the API links it. It never serves or stores anything itself.
package kube
