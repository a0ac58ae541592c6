// Package manifests turns the file tree of one commit into the Kubernetes
// objects it declares: it finds the roots of every app, renders each of them
// (kustomize or plain YAML), decodes and validates the objects as Kubernetes
// does, and keeps the results so that the next commit costs what it changed.
//
// What goes wrong is a Problem with a reason, a file and a line. A root with a
// problem that blocks keeps its last good objects and is stale; it never reads
// as if its objects were gone.
//
// The package sees a tree only through the Tree interface and keeps results
// only through Blobs: it does no input or output of its own, knows nothing of
// Git, of what runs, or of the clock's time of day.
package manifests
