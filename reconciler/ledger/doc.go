// Package ledger has the rules about the ledger's values: how the outcome of a row may go on, what a whole commit comes
// to, which templates are stable, and what IDs follow from.
//
// It owns no value and stores none; it never decides what to do.
package ledger
