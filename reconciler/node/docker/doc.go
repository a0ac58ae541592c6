// Package docker will run pods on a Docker engine, as a driver of reconciler/node.
//
// It owns the Docker Engine API client and never decides when a pod runs. Today it holds the module
// requirement alone (deps.go).
package docker
