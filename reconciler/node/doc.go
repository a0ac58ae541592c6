// Package node is the one node that Belay's pods run on: it assigns pods to itself, has a PodRunner run them, and
// writes what becomes of them into their status and into Events, in the kubelet's and the scheduler's words.
//
// It owns pod status and the end of a graceful deletion: it removes the object of a pod that has stopped. It never
// creates a pod, never deletes one that nobody asked to delete, and never runs anything itself: drivers below this
// package do.
package node
