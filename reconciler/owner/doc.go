// Package owner says which objects belong to a controller: what it owns, what it takes over because nobody does,
// and what it lets go because its selector no longer matches.
//
// It owns the rules of adoption and release and an index of the objects nobody controls. It never writes an object
// and never reads a store.
package owner
