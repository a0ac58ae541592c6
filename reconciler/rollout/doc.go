// Package rollout is the Deployment controller: it brings the ReplicaSets of a Deployment, one step at a time, to the
// Deployment's pod template and size, exactly as Kubernetes does.
//
// Plan decides. It is a function of a Deployment, its ReplicaSets, their pods and the time; it edits none of them and
// returns actions with their reasons, why it did no more, and when to look again. New wraps it into a controller over
// state: one Plan is one sync, and all writes of a sync are one transaction.
//
//	              ┌─────────────── one sync ────────────────────────────────────────────────────┐
//	Deployment ──▶│ claim ─▶ find new, old ─▶ pause book-keeping                                │
//	ReplicaSets   │            │                                                                │
//	pods (for     │            ├─ deleting ──────▶ annotations ─▶ counters                      │
//	 Recreate)    │            ├─ paused ────────▶ annotations ─▶ resize ─▶ prune ─▶ counters   │
//	now           │            ├─ rollback asked ▶ take the old template back                   │
//	              │            ├─ size changed ──▶ resize all in proportion ─▶ counters         │
//	              │            ├─ Recreate ──────▶ old to 0 ─▶ wait for pods ─▶ new to replicas │
//	              │            └─ RollingUpdate ─▶ new up, else old down, else prune            │
//	              │                                             └─▶ counters, conditions, clock │
//	              └───────────────────────┬─────────────────────────────────────────────────────┘
//	                                      ▼
//	                    actions (one transaction), Events, wakeAt
//
// A sync scales in one direction only: the new ReplicaSet up or the old ones down, never both. What it wrote causes
// the next one.
//
// The package never makes a pod, never decides about Git, commits or holds, and never reads a clock in a decision.
package rollout
