// Package state keeps everything Belay knows: Kubernetes objects (k8s.io/api v1, immutable once stored) and the
// ledger's values (rows, commits, cursors, holds).
//
// It owns transactions, resource versions, watch and durability. It never interprets a ledger value, never calls
// a caller's code and never does I/O under its lock.
package state
