// Package conformance is the suite that every driver of containers passes: what node.Runtime promises, tried on an engine.
//
// It owns what the drivers have in common and never knows one of them. Nothing in it depends on how fast an engine is: it
// waits for what has to happen.
package conformance
