// Package embedded is the engine over state and the controllers of this module: what it applies, the Deployment
// controller beside it rolls out.
//
// It owns the transaction that makes a change and its ledger rows durable together. It never decides what to
// apply, and never writes a status.
package embedded
