// Package replicaset is the ReplicaSet controller: it keeps as many pods as a ReplicaSet asks for and counts them.
//
// Plan decides: a function of a ReplicaSet, the pods that are its or nobody's, and the time. New wraps it into a
// controller over state.
//
//	ReplicaSet ──▶ claim pods ──▶ count active ─┬─ too few ──▶ create the missing, 500 at most ─┐
//	pods, now                                   ├─ too many ─▶ rank, delete the surplus ────────┤
//	                                            └─ enough ──────────────────────────────────────┤
//	                                                                                            ▼
//	           one transaction; when it is refused: batches of 1, 2, 4, … until one fails ─▶ status, Events
//
// Status counts the pods as they were read: what a sync makes or deletes shows in the next one, which its own writes
// cause. A pod that is being deleted counts no more, so its successor does not wait for it.
//
// The package never decides how many pods there should be, never starts a container and never reads a clock in a
// decision.
package replicaset
