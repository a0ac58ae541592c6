// Package reconciler moves what runs to what Git wants: it records the commits of each source as ledger rows and
// plans, for every object, the one action that comes next.
//
//	poll ─▶ steps ─▶ deltas ─▶ Record ─▶ rows, templates, inventory, cursor   (one transaction)
//	                                        │
//	          live objects, rows, limits ─▶ Plan ─▶ actions, held ─▶ Engine ─▶ live objects ─▶ (again)
//
// Record and Plan are pure: the same input gives the same output, the time goes in, nothing is edited. The loop
// beside them is the only writer of rows and of the spec of managed objects.
//
// The package never knows Git, HTTP or kustomize, and never writes the status of an object.
package reconciler
