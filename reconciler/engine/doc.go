// Package engine holds the values that cross the seam between the sync loop and what runs: keys, live objects,
// changes, and what an engine cannot honour.
//
// The interface itself is declared by its consumer, package reconciler; the suite that every engine passes is in
// engine/conformance. This package never decides and never does I/O.
package engine
