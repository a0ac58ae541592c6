// Package state keeps everything Belay knows: Kubernetes objects (k8s.io/api v1, immutable once stored) and the
// ledger's values (rows, commits, cursors, holds).
//
// It owns transactions, resource versions, watch and durability, and for every writer alike what Kubernetes' API server
// sets and checks from stored objects: uid, timestamps, generation, generated names, ClusterIP, deletion, namespaces and
// quotas. It never interprets a ledger value, never calls a caller's code and never does I/O under its lock.
//
// Memory is the truth for reads. A Commit changes it at once, all writes or none, and tells the watches; the disk
// follows. One goroutine writes whole transactions in the order of their versions, as many together as there are, so
// that the file always holds the state as it was at some version. Nothing that follows from a version may leave the
// process before WaitDurable has returned for it; who only writes to the store again need not wait.
//
// A file can be copied while it is in use (Backup), is copied before it is migrated to another schema, and is refused
// when it is damaged, foreign or of a newer schema. Restore makes a copy the state again: another instance of it, whose
// versions are above all others.
//
// A version is never given out twice: they are reserved on disk in blocks, and a start begins at the end of the block
// of the process before. Older versions are expired then, as they are when the kept history is full: list again.
package state
