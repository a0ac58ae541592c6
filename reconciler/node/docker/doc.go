// Package docker is a driver of reconciler/node over the Docker Engine API, which podman speaks too: a pause container per
// pod that holds the network, IPC and host name, and the pod's containers beside it. Everything that has to be known of a
// pod later is on labels, so that any process, also one with another data directory, finds it.
//
// It owns the client of the engine. It never decides when something runs, never removes an image, and touches nothing in
// the engine that has not its labels.
package docker
